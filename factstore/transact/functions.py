"""Transaction functions: registered callables that are called by name, with the database before and their arguments.

They return forms, which may call further functions; they see nothing of the transaction they are part of. Law: a call
leaves nothing behind but the forms it returned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final, TypeAlias

from factstore.db.database import Database
from factstore.errors import DatabaseError, TransactError
from factstore.transact.forms import read_text, shown
from factstore.values.quoting import quoted
from factstore.values.types import micros_to_instant

Functions: TypeAlias = Callable[[str], Callable[..., Any] | None]

MAX_DEPTH: Final = 100  # calls within calls; no use of composition comes near, an endless one gets there at once
_CANCELLABLE: Final = ("incorrect", "conflict")

_times: ContextVar[tuple[int, int]] = ContextVar(
    "times"
)  # instant and clock, in microseconds; set while a transaction is prepared


@contextmanager
def at_instant(instant: int, clock: int) -> Iterator[None]:
    """Let the functions that are called in a block know the instant of their transaction and the clock, in microseconds."""
    token = _times.set((instant, clock))
    try:
        yield
    finally:
        _times.reset(token)


def tx_instant() -> datetime:
    """Return the instant of the transaction that is being prepared: for transaction functions.

    It is the value of `:db/txInstant`, unless the transaction sets that itself: the clock of the connection, or the instant of
    the newest transaction where that is later. While the newest instant is ahead of the clock, it stands still: a function
    that decides how much time has passed asks `tx_clock`.

    Raises: DatabaseError(:db.error/no-transaction) anywhere but in a transaction function.
    """
    return micros_to_instant(_asked("tx_instant")[0])


def tx_clock() -> datetime:
    """Return the time by the connection's clock at the transaction that is being prepared: for transaction functions.

    An instant that another process, or a clock set back, left ahead in the store does not hold it up, as it holds up `tx_instant`.

    Raises: DatabaseError(:db.error/no-transaction) anywhere but in a transaction function.
    """
    return micros_to_instant(_asked("tx_clock")[1])


def _asked(name: str) -> tuple[int, int]:
    times = _times.get(None)
    if times is None:
        raise DatabaseError(
            ":db.error/no-transaction", f"{name} is for transaction functions: no transaction is being prepared"
        )
    return times


class Cancelled(TransactError):
    """A transaction function refused the transaction; `data` is what it had to say."""

    @property
    def category(self) -> str:
        """The anomaly category the function chose."""
        return str(self.data["category"])

    def to_dict(self) -> dict[str, Any]:
        """Return code, category, message and data as one plain dict."""
        return {"code": self.code, "message": self.message, **self.data}


def cancel(message: str, *, category: str = "incorrect", **data: Any) -> None:
    """Refuse the transaction from within a transaction function or a predicate.

    Args:
        category: "incorrect" when the caller must change something, "conflict" when trying again may help.
        data: whatever the caller should know; it arrives as the error's data.
    Raises: Cancelled(:db.error/cancelled), always.
    Source: Datomic API, cancel.
    """
    if category not in _CANCELLABLE:
        raise ValueError(f"a transaction is cancelled as {' or '.join(_CANCELLABLE)}, not as {quoted(category)}")
    raise Cancelled(":db.error/cancelled", message, category=category, **data)


def forms_of(db: Database, name: str, function: Callable[..., Any], arguments: Sequence[Any]) -> Sequence[Any]:
    """Return the forms that a call of a transaction function stands for.

    Raises: what the function raised, if that is a TransactError (see `cancel`); TransactError(:db.error/tx-function-failed)
    for anything else it raised, and for a result that is no list of forms.
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
