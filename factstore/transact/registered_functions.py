"""Transaction functions: registered callables that forms call by name, with the database before and the arguments.

They return forms, which may call further functions. They do not see the transaction that they are part of.
Law: the only effect of a call is the forms that it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar, copy_context
from datetime import datetime
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

from factstore.db.database import Database
from factstore.errors import DatabaseError, TransactError
from factstore.transact.forms import read_text, shown
from factstore.values.quoting import quoted
from factstore.values.types import micros_to_instant

T = TypeVar("T")
Functions: TypeAlias = Callable[[str], Callable[..., Any] | None]

MAX_DEPTH: Final = 100  # calls within calls; only endless recursion reaches it
MAX_INNER_CALLS: Final = 100_000  # calls that functions return in one transaction; about a second
_CANCELLABLE: Final = ("incorrect", "conflict")

# Instant and clock in microseconds, while the functions of a transaction are called.
_times: ContextVar[tuple[int, int]] = ContextVar("times")


def called_at(instant: int, clock: int, function: Callable[..., T], *args: Any, **options: Any) -> T:
    """Call a function for which `tx_instant` and `tx_clock` return these times, in microseconds.

    The call has a context of its own, so an interrupt at any step cannot leave the times set.
    """
    context = copy_context()
    context.run(_times.set, (instant, clock))
    return context.run(function, *args, **options)


def tx_instant() -> datetime:
    """Return the instant of the transaction that is being prepared: for transaction functions.

    Unless the transaction sets `:db/txInstant` itself, this is its value: the clock of the connection, or the instant
    of the newest transaction if that is later. In that case it does not advance with the clock, so a function that
    measures elapsed time must use `tx_clock`.

    Raises: DatabaseError(:db.error/no-transaction) outside of a transaction function.
    """
    return micros_to_instant(_prepared_at("tx_instant")[0])


def tx_clock() -> datetime:
    """Return the clock of the connection for the transaction that is being prepared: for transaction functions.

    Unlike `tx_instant`, it does not stand still if another process, or a clock that was set back, has left a later
    instant in the store.

    Raises: DatabaseError(:db.error/no-transaction) outside of a transaction function.
    """
    return micros_to_instant(_prepared_at("tx_clock")[1])


def _prepared_at(name: str) -> tuple[int, int]:
    times = _times.get(None)
    if times is None:
        raise DatabaseError(
            ":db.error/no-transaction", f"{name} is for transaction functions: no transaction is being prepared"
        )
    return times


class Cancelled(TransactError):
    """A transaction function rejected the transaction; `data` is the data that it passed."""

    @property
    def category(self) -> str:
        """The anomaly category the function chose."""
        return str(self.data["category"])

    def to_dict(self) -> dict[str, Any]:
        """Return code, category, message and data as one plain dict."""
        return {"code": self.code, "message": self.message, **self.data}


def cancel(message: str, *, category: str = "incorrect", **data: Any) -> NoReturn:
    """Reject the transaction from within a transaction function or a predicate.

    Args:
        category: "incorrect" if the caller must change the transaction, "conflict" if a retry may succeed.
        data: the data of the error.
    Raises: Cancelled(:db.error/cancelled), always.
    Source: Datomic API, cancel.

    >>> from factstore import Cancelled, connect
    >>> def positive(db):
    ...     cancel("the stock is 0", category="conflict", sku="A-1")
    >>> with connect("memory:") as conn:
    ...     try:
    ...         conn.transact([[":db/require", positive]])
    ...     except Cancelled as error:
    ...         (error.category, error.data["sku"])
    ('conflict', 'A-1')
    """
    if category not in _CANCELLABLE:
        raise ValueError(f"a transaction is cancelled as {' or '.join(_CANCELLABLE)}, not as {quoted(category)}")
    raise Cancelled(":db.error/cancelled", message, category=category, **data)


def forms_of(db: Database, name: str, function: Callable[..., Any], arguments: Sequence[Any]) -> Sequence[Any]:
    """Return the forms that a transaction function returns.

    Raises: the error of the function if it is a TransactError (see `cancel`);
        TransactError(:db.error/tx-function-failed) for other exceptions, and for a result that is not a list of forms.
    """
    try:
        result = function(db, *arguments)
    except TransactError:
        raise
    except Exception as error:
        raise _failed(name, f"raised {type(error).__name__}: {error}", arguments) from error
    if result is None:
        return ()
    forms = read_text(result) if isinstance(result, str) else result
    if isinstance(forms, str | bytes | Mapping) or not isinstance(forms, Iterable):
        raise _failed(name, f"returned {shown(forms)}, expected a list of forms", arguments)
    return list(forms)


def _failed(name: str, what: str, arguments: Sequence[Any]) -> TransactError:
    return TransactError(
        ":db.error/tx-function-failed",
        f"the transaction function {name} {what}",
        function=name,
        arguments=tuple(arguments),
    )
