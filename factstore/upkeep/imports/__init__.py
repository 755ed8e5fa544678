"""Imports: files of other programs become facts, under a schema that is guessed from their values.

    CSV, NDJSON, Parquet, SQLite, EDN ──► sources.py: tables of rows ──► guess.py: types ──► plan.py: declarations
    DataScript (pr-str db)            ──► datascript.py ───────────────────────────────────►          and loads

Law: the plan of an import reads the file and writes nothing; carried out, it declares exactly what it shows.
"""

from factstore.upkeep.imports.plan import Options, Plan, Step, carry_out, plan

__all__ = ["Options", "Plan", "Step", "carry_out", "plan"]
