"""Files of transactions: schemas and data as EDN text, in the forms that are usual for Datomic.

    file        = transaction | [transaction …] | transaction …
    transaction = [form …]                   form = map | [operation …]

Law: transactions are committed one by one in the order of the file; the first one that is rejected ends the load, and
the error names its position.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from factstore import edn
from factstore.errors import DatabaseError, ReadError, TransactError
from factstore.rendering import shown_as_record
from factstore.transact.forms import tags
from factstore.upkeep.dump_files import os_errors_as_unavailable, path_of
from factstore.values.quoting import described, quoted

if TYPE_CHECKING:
    from factstore.connection.connection import Connection

Progress = Callable[[int, int], object]  # called with the number of committed transactions and the number of all
_FORM: Final = re.compile(r"tx-data\[(\d+)\]")


@shown_as_record
class Committed(NamedTuple):
    """The result of loading a file."""

    transactions: int
    datoms: int


class _Located(NamedTuple):
    """A transaction, and its path in the file; see `edn.place_of`."""

    forms: list[Any]
    path: tuple[int, ...]


def transact_file(conn: Connection, path: str | os.PathLike[str], *, progress: Progress | None = None) -> Committed:
    """Commit the transactions of a file of EDN, in order.

    Args:
        path: a file in UTF-8 with one transaction, a vector of transactions, or several of these one after the other.
        progress: called after each transaction with the number of committed transactions and the number of all.
    Raises: Unavailable for a file that cannot be read, ReadError for text that is not EDN,
        TransactError(:db.error/invalid-tx-data) for values that are not transactions, and nothing is committed; the
        TransactError of the first transaction that is rejected, and those before it stay. Each error has the position
        as `file`, `line` and `column`.
    """
    if not callable(getattr(conn, "transact", None)):
        why = f"transact_file writes to a connection, got {described(conn)}"
        raise DatabaseError(":db.error/not-a-connection", why, got=conn)
    text = _text(path_of(path))
    transactions = _transactions(text, os.fspath(path))
    datoms = 0
    for committed, transaction in enumerate(transactions):
        try:
            datoms += conn.transact(transaction.forms).size
        except TransactError as error:
            raise _with_position(
                error, text, os.fspath(path), transaction.path, committed, len(transactions)
            ) from error
        if progress is not None:
            progress(committed + 1, len(transactions))
    return Committed(len(transactions), datoms)


def _text(path: Path) -> str:
    with os_errors_as_unavailable(path):
        content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        got = content[error.start : error.start + 1]
        message = f"{path}, line {line}, column {column}: expected text in UTF-8, got {got!r}"
        raise ReadError(":db.error/invalid-edn", message, file=os.fspath(path), line=line, column=column) from error


def _transactions(text: str, name: str) -> list[_Located]:
    try:
        values = edn.read_all(text, tags=tags())
    except ReadError as error:
        raise ReadError(error.code, f"{name}: {error.message}", **{**error.data, "file": name}) from error
    transactions: list[_Located] = []
    for i, value in enumerate(values):
        if isinstance(value, list | tuple) and value and all(_is_transaction(part) for part in value):
            transactions += [_Located(list(part), (i, j)) for j, part in enumerate(value)]
        elif _is_transaction(value):
            transactions.append(_Located(list(value), (i,)))
        else:
            raise _no_transaction(value, text, name, i)
    return transactions


def _is_transaction(value: Any) -> bool:
    return isinstance(value, list | tuple) and not _is_form(value) and all(map(_is_form, value))


def _is_form(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list | tuple) and bool(value) and isinstance(value[0], str))


def _no_transaction(value: Any, text: str, name: str, i: int) -> TransactError:
    path: tuple[int, ...] = (i,)
    if isinstance(value, list | tuple):
        is_wanted = _is_transaction if any(map(_is_transaction, value)) else _is_form
        at = next(j for j, part in enumerate(value) if not is_wanted(part))
        path, value = (i, at), value[at]
    line, column = edn.place_of(text, path) or (1, 1)
    wanted = "a transaction, which is a vector of maps and [operation …], or a vector of transactions"
    message = f"{name}, line {line}, column {column}: expected {wanted}, got {quoted(value)}"
    return TransactError(":db.error/invalid-tx-data", message, file=name, line=line, column=column, got=value)


def _with_position(
    error: TransactError, text: str, name: str, path: tuple[int, ...], committed: int, whole: int
) -> TransactError:
    """Return the error of a transaction with its position in the file, or that of the form that the error names."""
    form = _FORM.match(str(error.data.get("path", "")))
    position = edn.place_of(text, (*path, int(form[1]))) if form else None
    line, column = position or edn.place_of(text, path) or (1, 1)
    stays = f"; {committed:,} transaction{'s' * (committed != 1)} before it stay" if committed else ""
    where = f"{name}, line {line}, column {column}, transaction {committed + 1:,} of {whole:,}"
    data = {**error.data, "file": name, "line": line, "column": column, "transaction": committed + 1}
    return type(error)(error.code, f"{where}: {error.message}{stays}", **data)
