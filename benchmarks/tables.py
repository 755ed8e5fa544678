"""Write the tables of benchmarks/README.md and of the README of the project from results/*.json: `python -m benchmarks.tables`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS

README = Path(__file__).parent / "README.md"
FRONT = README.parents[1] / "README.md"
CHOSEN = {  # rows of benchmarks.datomic on the page of the project
    "q4": "query: join of four attributes, 1,001 rows",
    "q5": "query: join by value, 20,000 rows",
    "avg-by-name": "query: average of 20,000 values in ten groups",
    "rules-wide-5x3": "query: recursive rule, 1,641 pairs",
    "point": "query: one attribute of an entity, by an identity",
    "add-1": "transaction: one datom",
    "add-5": "transaction: new entity with five attributes and an identity",
    "upsert": "transaction: upsert of five attributes",
    "lookup-ref": "transaction: one datom of an entity given as a lookup ref",
    "add-all": "transaction: 20,000 entities with five attributes",
    "pull": "pull of five attributes",
    "pull-many": "pull of five attributes of 1,000 entities",
    "entity": "one attribute of an entity",
    "pull-as-of": "pull of one attribute, as of an earlier t",
    "history-entity": "history of one attribute of an entity, 19 datoms",
    "as-of-aggregate": "query: sum over 10,000 entities, as of the middle of 100,000 versions",
    "history-aggregate": "query: count over the history of 10,000 entities",
    "durable-local": "transaction: durable upsert of five attributes, on disk",
}


def table(run: dict[str, Any]) -> str:
    """Return one run as a table below a line about the machine; if there are several peers, each has a column."""
    others = list(dict.fromkeys(peer for row in run["rows"] for peer in row.get("peers", ())))
    chosen = any(row["baseline_name"] in row.get("peers", ()) for row in run["rows"])
    lines = [
        f"`{run['command']}` · CPython {run['python']}, {run['machine']}, {run['cores']} cores, load {run['load']:.1f}",
        "",
        line("what", "ours", "best of the others" if chosen else "baseline", "ratio", "goal", *others),
        line("---", *["---:"] * 3, "---", *["---:"] * len(others)),
    ]
    for row in run["rows"]:
        baseline = "" if row["baseline"] is None else f"{row['baseline']:,.2f} {row['baseline_name']}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        cells = [cell(row.get("peers", {}).get(peer, "")) for peer in others]
        lines.append(line(row["name"], f"{row['ours']:,.2f} {row['unit']}", baseline, ratio, row["aim"], *cells))
    return "\n".join(lines)


def line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def cell(value: float | str) -> str:
    """Return a number as text, or the reason why there is none."""
    return value if isinstance(value, str) else f"{value:,.2f}"


def performance(run: dict[str, Any]) -> str:
    """Return the rows of the page of the project: this store beside Datomic."""
    lines = [line("operation", "factstore", "Datomic", "ratio"), line("---", *["---:"] * 3)]
    rows = {row["part"]: row for row in run["rows"]}
    for part, title in CHOSEN.items():
        row = rows[part]
        figures = (f"{significant(value)} {row['unit']}" for value in (row["ours"], row["baseline"]))
        lines.append(line(title, *figures, f"{row['ratio']:.2g}"))
    return "\n".join(lines)


def significant(value: float) -> str:
    """Return a number with three significant digits and without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def replaced(text: str, name: str, content: str) -> tuple[str, int]:
    """Put content between the two comments of a name, and return how often that was possible."""
    made = f"<!-- {name} -->\n{content}\n<!-- end -->"
    return re.subn(rf"<!-- {name} -->.*?<!-- end -->", lambda _: made, text, flags=re.DOTALL)


def main() -> None:
    front = FRONT.read_text(encoding="utf-8")
    run = json.loads((RESULTS / "datomic.json").read_text(encoding="utf-8"))
    FRONT.write_text(replaced(front, "performance", performance(run))[0], encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    for path in sorted(RESULTS.glob("*.json")):
        made = table(json.loads(path.read_text(encoding="utf-8")))
        text, count = replaced(text, path.stem, made)
        if not count:
            text += f"\n## {path.stem.capitalize()}\n\n<!-- {path.stem} -->\n{made}\n<!-- end -->\n"
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
