"""factstore: an immutable fact store. Every fact is kept with the moment it became true, and a database is a value.

Names are loaded when they are first used, so that importing this package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

# The public modules, and the public names by module. `make docs` writes __init__.pyi from the two tables.
_MODULES: Final = ("builder", "drawing", "dumps", "edn", "errors", "maintain", "notebook", "rendering")
_NAMES: Final = {
    "factstore.commit.background": "PendingReport",
    "factstore.connection.asynchronous": "AsyncConnection aconnect",
    "factstore.connection.connection": "Connection connect",
    "factstore.connection.excise": "Excision",
    "factstore.connection.load": "Into LoadReport",
    "factstore.connection.reports": "TxReports",
    "factstore.connection.steps": "Transaction",
    "factstore.connection.tx_range": "Log LoggedTransaction",
    "factstore.datom": "Datom",
    "factstore.db.database": "Database",
    "factstore.db.datoms": "Datoms",
    "factstore.errors": """CasFailed DatabaseError FactStoreError Interrupted PullError QueryError QueryStopped
        ReadError SchemaError StorageError StoreBusy TransactError UniqueConflict UnknownOutcome""",
    "factstore.ids": "part resolve_tempid squuid t_to_tx tempid tx_to_t",
    "factstore.notebook": "load_ipython_extension",
    "factstore.query": "AnswerCache Explanation RowSeq Rows explain q qseq rows",
    "factstore.query.objects": "find get",
    "factstore.reads.diff": "Difference diff",
    "factstore.reads.entity": "Entity entity",
    "factstore.reads.entity_history": "EntityEvent EntityHistory entity_history",
    "factstore.reads.pull": "pull pull_many",
    "factstore.reads.pull.along": "index_pull",
    "factstore.reads.revert": "revert",
    "factstore.registry": "register",
    "factstore.schema.class_fields": "Attr",
    "factstore.schema.declare_classes": "schema_of",
    "factstore.transact": "Cancelled TxReport cancel set_exactly tx_clock tx_instant with_",
    "factstore.upkeep.migrate": "Migrated Migration MigrationReport migrate migrations_in",
    "factstore.upkeep.transaction_files": "Committed transact_file",
    "factstore.values.moments": "duration moment timeout_of",
    "factstore.values.quoting": "quoted",
    "factstore.values.types": "Keyword Symbol Uri",
}
_HOMES: Final = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted([*_MODULES, *_HOMES])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value = import_module(f"factstore.{name}")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'factstore' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
