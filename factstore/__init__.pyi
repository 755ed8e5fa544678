# Made by `make docs` from the tables in __init__.py; do not edit.

from factstore import builder as builder
from factstore import drawing as drawing
from factstore import dumps as dumps
from factstore import edn as edn
from factstore import errors as errors
from factstore import maintain as maintain
from factstore import notebook as notebook
from factstore import rendering as rendering
from factstore.commit.background import PendingReport as PendingReport
from factstore.connection.asynchronous import AsyncConnection as AsyncConnection
from factstore.connection.asynchronous import aconnect as aconnect
from factstore.connection.connection import Connection as Connection
from factstore.connection.connection import connect as connect
from factstore.connection.excise import Excision as Excision
from factstore.connection.load import Into as Into
from factstore.connection.load import LoadReport as LoadReport
from factstore.connection.reports import TxReports as TxReports
from factstore.connection.steps import Transaction as Transaction
from factstore.connection.tx_range import Log as Log
from factstore.connection.tx_range import LoggedTransaction as LoggedTransaction
from factstore.datom import Datom as Datom
from factstore.db.database import Database as Database
from factstore.db.datoms import Datoms as Datoms
from factstore.errors import CasFailed as CasFailed
from factstore.errors import DatabaseError as DatabaseError
from factstore.errors import FactStoreError as FactStoreError
from factstore.errors import Interrupted as Interrupted
from factstore.errors import PullError as PullError
from factstore.errors import QueryError as QueryError
from factstore.errors import QueryStopped as QueryStopped
from factstore.errors import ReadError as ReadError
from factstore.errors import SchemaError as SchemaError
from factstore.errors import StorageError as StorageError
from factstore.errors import StoreBusy as StoreBusy
from factstore.errors import TransactError as TransactError
from factstore.errors import UniqueConflict as UniqueConflict
from factstore.errors import UnknownOutcome as UnknownOutcome
from factstore.ids import part as part
from factstore.ids import resolve_tempid as resolve_tempid
from factstore.ids import squuid as squuid
from factstore.ids import t_to_tx as t_to_tx
from factstore.ids import tempid as tempid
from factstore.ids import tx_to_t as tx_to_t
from factstore.notebook import load_ipython_extension as load_ipython_extension
from factstore.query import AnswerCache as AnswerCache
from factstore.query import Explanation as Explanation
from factstore.query import RowSeq as RowSeq
from factstore.query import Rows as Rows
from factstore.query import explain as explain
from factstore.query import q as q
from factstore.query import qseq as qseq
from factstore.query import rows as rows
from factstore.query.objects import find as find
from factstore.query.objects import get as get
from factstore.reads.diff import Difference as Difference
from factstore.reads.diff import diff as diff
from factstore.reads.entity import Entity as Entity
from factstore.reads.entity import entity as entity
from factstore.reads.entity_history import EntityEvent as EntityEvent
from factstore.reads.entity_history import EntityHistory as EntityHistory
from factstore.reads.entity_history import entity_history as entity_history
from factstore.reads.pull import pull as pull
from factstore.reads.pull import pull_many as pull_many
from factstore.reads.pull.along import index_pull as index_pull
from factstore.reads.revert import revert as revert
from factstore.registry import register as register
from factstore.schema.class_fields import Attr as Attr
from factstore.schema.declare_classes import schema_of as schema_of
from factstore.transact import Cancelled as Cancelled
from factstore.transact import TxReport as TxReport
from factstore.transact import cancel as cancel
from factstore.transact import set_exactly as set_exactly
from factstore.transact import tx_clock as tx_clock
from factstore.transact import tx_instant as tx_instant
from factstore.transact import with_ as with_
from factstore.upkeep.migrate import Migrated as Migrated
from factstore.upkeep.migrate import Migration as Migration
from factstore.upkeep.migrate import MigrationReport as MigrationReport
from factstore.upkeep.migrate import migrate as migrate
from factstore.upkeep.migrate import migrations_in as migrations_in
from factstore.upkeep.transaction_files import Committed as Committed
from factstore.upkeep.transaction_files import transact_file as transact_file
from factstore.values.moments import duration as duration
from factstore.values.moments import moment as moment
from factstore.values.moments import timeout_of as timeout_of
from factstore.values.quoting import quoted as quoted
from factstore.values.types import Keyword as Keyword
from factstore.values.types import Symbol as Symbol
from factstore.values.types import Uri as Uri

__all__ = [
    "AnswerCache",
    "AsyncConnection",
    "Attr",
    "Cancelled",
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
    "PendingReport",
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
    "aconnect",
    "builder",
    "cancel",
    "connect",
    "diff",
    "drawing",
    "dumps",
    "duration",
    "edn",
    "entity",
    "entity_history",
    "errors",
    "explain",
    "find",
    "get",
    "index_pull",
    "load_ipython_extension",
    "maintain",
    "migrate",
    "migrations_in",
    "moment",
    "notebook",
    "part",
    "pull",
    "pull_many",
    "q",
    "qseq",
    "quoted",
    "register",
    "rendering",
    "resolve_tempid",
    "revert",
    "rows",
    "schema_of",
    "set_exactly",
    "squuid",
    "t_to_tx",
    "tempid",
    "timeout_of",
    "transact_file",
    "tx_clock",
    "tx_instant",
    "tx_to_t",
    "with_",
]
