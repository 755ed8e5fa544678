"""The guard of a running query: its deadline, its maximum number of rows, and its cancellation.

It is checked between the steps of a query, the blocks of a large step, the rounds of a rule, and the calls of a
function that is not built in. Between two checks, at most one numpy operation on a block runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from typing import Any, Final, Protocol

from factstore.errors import QueryError, QueryStopped
from factstore.values.moments import Duration, seconds_of
from factstore.values.quoting import quoted

_MAX_SECONDS: Final = 1e15  # Python's clocks are exact up to this number


class CancelFlag(Protocol):
    """A flag that stops a query: `threading.Event`, or an object with the same method."""

    def is_set(self) -> bool:
        """Tell whether the query must stop."""


class Guard:
    """The limits of a query."""

    __slots__ = ("cancel", "deadline", "max_rows", "timeout")

    def __init__(
        self, timeout: float | None, max_rows: int | None, cancel: CancelFlag | None, outer: Guard | None = None
    ) -> None:
        self.timeout, self.max_rows, self.cancel = timeout, max_rows, cancel
        self.deadline = None if timeout is None else time.monotonic() + timeout
        if outer is not None:  # the guard of the enclosing query
            self.cancel, self.max_rows = outer.cancel, outer.max_rows
            if outer.deadline is not None and (self.deadline is None or outer.deadline < self.deadline):
                self.deadline, self.timeout = outer.deadline, outer.timeout

    def check(self, rows: int = 0, what: str = "a step") -> None:
        """Raise QueryStopped when a limit is exceeded.

        Args:
            rows: the number of rows of `what`.
        """
        if self.cancel is not None and self.cancel.is_set():
            raise QueryStopped(":db.error/query-cancelled", "the query was cancelled")
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise QueryStopped(
                ":db.error/query-timeout",
                f"the query did not end within its timeout of {self.timeout:g} s",
                timeout=self.timeout,
            )
        if self.max_rows is not None and rows > self.max_rows:
            raise QueryStopped(
                ":db.error/query-too-large",
                f"{what} of the query has {rows} rows or more, and max_rows is {self.max_rows}",
                rows=rows,
                max_rows=self.max_rows,
            )

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that checks the guard before each call."""

        def checked(*args: Any) -> Any:
            self.check()
            return function(*args)

        return checked


def guard_of(
    milliseconds: int | None,
    timeout: Duration | None,
    max_rows: int | None,
    cancel: CancelFlag | None,
    outer: Guard | None = None,
) -> Guard | None:
    """Return the guard of a query; None when it has no limits.

    Args:
        milliseconds: the `:timeout` of the query; the shorter of it and `timeout` applies.
    Raises: QueryError(:db.error/invalid-inputs).
    """
    if milliseconds is None and timeout is None and max_rows is None and cancel is None:
        return outer
    limit: float | None = seconds_of(timeout)
    _check_limits(limit, max_rows, cancel)
    if milliseconds is not None:
        own = min(milliseconds, _MAX_SECONDS) / 1e3
        limit = own if limit is None else min(limit, own)
    return Guard(limit, max_rows, cancel, outer)


def _check_limits(timeout: float | None, max_rows: int | None, cancel: CancelFlag | None) -> None:
    if timeout is not None and (
        isinstance(timeout, bool)
        or not isinstance(timeout, int | float)
        or not (0 <= timeout <= _MAX_SECONDS or timeout == inf)
    ):
        raise QueryError(
            ":db.error/invalid-inputs",
            f'timeout is a number of seconds from 0, or a duration such as "30s", got {quoted(timeout)}',
            timeout=timeout,
        )
    if max_rows is not None and (type(max_rows) is not int or max_rows < 0):
        raise QueryError(
            ":db.error/invalid-inputs", f"max_rows is a whole number from 0, got {quoted(max_rows)}", max_rows=max_rows
        )
    if cancel is not None and not callable(getattr(cancel, "is_set", None)):
        raise QueryError(
            ":db.error/invalid-inputs",
            f"cancel has a method is_set, like threading.Event, got {quoted(cancel)}",
            cancel=cancel,
        )
