"""factstore: an immutable fact store. Every fact is kept with the moment it became true, and a database is a value.

Names are loaded when they are first used, so that importing this package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from factstore import builder, edn, errors
    from factstore.arithmetic import part, resolve_tempid, t_to_tx, tempid, tx_to_t
    from factstore.conn import Connection, Log, LoggedTransaction, connect
    from factstore.datom import Datom
    from factstore.datoms import Datoms
    from factstore.db import Database
    from factstore.declarations import schema_of
    from factstore.differences import Difference, diff
    from factstore.entities import Entity, entity
    from factstore.errors import (
        CasFailed,
        DatabaseError,
        FactStoreError,
        Interrupted,
        PullError,
        QueryError,
        QueryStopped,
        ReadError,
        SchemaError,
        StorageError,
        StoreBusy,
        TransactError,
        UniqueConflict,
        UnknownOutcome,
    )
    from factstore.excision import Excision
    from factstore.fields import Attr
    from factstore.interactive import Transaction
    from factstore.load import Into, LoadReport
    from factstore.migrations import Migrated, Migration, MigrationReport, migrate, migrations_in
    from factstore.pulls import pull, pull_many
    from factstore.pulls.along import index_pull
    from factstore.query import AnswerCache, Explanation, Rows, RowSeq, explain, q, qseq, rows
    from factstore.quoting import quoted
    from factstore.registry import register
    from factstore.reports import TxReports
    from factstore.squuids import squuid
    from factstore.timeline import EntityEvent, EntityHistory, entity_history
    from factstore.transact import TxReport, set_exactly, tx_clock, tx_instant, with_
    from factstore.transaction_files import Committed, transact_file
    from factstore.values import Keyword, Symbol, Uri

_HOMES: Final = {
    "builder": "factstore.builder",
    "edn": "factstore.edn",
    "errors": "factstore.errors",
    **dict.fromkeys(("part", "resolve_tempid", "t_to_tx", "tempid", "tx_to_t"), "factstore.arithmetic"),
    **dict.fromkeys(("Connection", "Log", "LoggedTransaction", "connect"), "factstore.conn"),
    "Datom": "factstore.datom",
    "Datoms": "factstore.datoms",
    "Database": "factstore.db",
    "schema_of": "factstore.declarations",
    **dict.fromkeys(("Difference", "diff"), "factstore.differences"),
    **dict.fromkeys(("Entity", "entity"), "factstore.entities"),
    **dict.fromkeys(
        (
            *(
                "CasFailed",
                "DatabaseError",
                "FactStoreError",
                "Interrupted",
                "PullError",
                "QueryError",
                "QueryStopped",
                "ReadError",
                "SchemaError",
            ),
            *("StorageError", "StoreBusy", "TransactError", "UniqueConflict", "UnknownOutcome"),
        ),
        "factstore.errors",
    ),
    "Excision": "factstore.excision",
    "Attr": "factstore.fields",
    "Transaction": "factstore.interactive",
    **dict.fromkeys(("Into", "LoadReport"), "factstore.load"),
    **dict.fromkeys(("Migrated", "Migration", "MigrationReport", "migrate", "migrations_in"), "factstore.migrations"),
    **dict.fromkeys(("pull", "pull_many"), "factstore.pulls"),
    "index_pull": "factstore.pulls.along",
    **dict.fromkeys(("AnswerCache", "Explanation", "RowSeq", "Rows", "explain", "q", "qseq", "rows"), "factstore.query"),
    "quoted": "factstore.quoting",
    "register": "factstore.registry",
    "TxReports": "factstore.reports",
    "squuid": "factstore.squuids",
    **dict.fromkeys(("EntityEvent", "EntityHistory", "entity_history"), "factstore.timeline"),
    **dict.fromkeys(("TxReport", "set_exactly", "tx_clock", "tx_instant", "with_"), "factstore.transact"),
    **dict.fromkeys(("Committed", "transact_file"), "factstore.transaction_files"),
    **dict.fromkeys(("Keyword", "Symbol", "Uri"), "factstore.values"),
}

__all__ = [
    "AnswerCache",
    "Attr",
    "CasFailed",
    "Committed",
    "Connection",
    "Database",
    "DatabaseError",
    "Datom",
    "Datoms",
    "Difference",
    "Entity",
    "EntityEvent",
    "EntityHistory",
    "Excision",
    "Explanation",
    "FactStoreError",
    "Interrupted",
    "Into",
    "Keyword",
    "LoadReport",
    "Log",
    "LoggedTransaction",
    "Migrated",
    "Migration",
    "MigrationReport",
    "PullError",
    "QueryError",
    "QueryStopped",
    "ReadError",
    "RowSeq",
    "Rows",
    "SchemaError",
    "StorageError",
    "StoreBusy",
    "Symbol",
    "TransactError",
    "Transaction",
    "TxReport",
    "TxReports",
    "UniqueConflict",
    "UnknownOutcome",
    "Uri",
    "builder",
    "connect",
    "diff",
    "edn",
    "entity",
    "entity_history",
    "errors",
    "explain",
    "index_pull",
    "migrate",
    "migrations_in",
    "part",
    "pull",
    "pull_many",
    "q",
    "qseq",
    "quoted",
    "register",
    "resolve_tempid",
    "rows",
    "schema_of",
    "set_exactly",
    "squuid",
    "t_to_tx",
    "tempid",
    "transact_file",
    "tx_clock",
    "tx_instant",
    "tx_to_t",
    "with_",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'factstore' has no attribute {name!r}")
    module = import_module(home)
    found = module if home.rpartition(".")[2] == name and name in ("builder", "edn", "errors") else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
