"""The clock of a connection, and the warning for a store whose newest instant is ahead of it.

Instants of transactions never decrease: the instant is the time of the connection's clock, or that of the newest
transaction if it is later. So if the clock of one process is an hour ahead, all processes write the same instant for an
hour. Only instants are affected: code that decides by time reads the clock (`Connection.now`, `tx_clock`), never the
newest instant.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from time import time_ns
from typing import Final

from factstore.errors import DatabaseError
from factstore.values.quoting import quoted
from factstore.values.types import instant_to_micros

logger = logging.getLogger("factstore")

_TOLERATED: Final = 1_000_000  # microseconds by which clocks of processes may differ without a warning


def machine_clock() -> int:
    """Return the microseconds since 1970."""
    return time_ns() // 1000


def in_micros(clock: Callable[[], datetime]) -> Callable[[], int]:
    """Return a clock of microseconds since 1970 that reads a clock of aware datetimes.

    Raises: DatabaseError(:db.error/invalid-clock), now and at each later call, if the clock returns anything else.
    """

    def micros() -> int:
        now = clock() if callable(clock) else clock
        if not isinstance(now, datetime) or now.tzinfo is None:
            raise DatabaseError(
                ":db.error/invalid-clock", f"expected a clock that returns aware datetimes, got {quoted(now)}", got=now
            )
        return instant_to_micros(now)

    micros()
    return micros


class Ahead:
    """Warns, once per occurrence, that the newest instant of a store is ahead of the clock.

    Args:
        store: its description, for the log message.
    """

    def __init__(self, store: str) -> None:
        self._store = store
        self._until = 0  # no second warning until the clock has reached this

    def look(self, instant: int, now: int) -> None:
        """Warn if an instant is ahead of the clock; both are in microseconds since 1970."""
        if instant - now <= _TOLERATED or now < self._until:
            return
        self._until = instant
        logger.warning(
            "the newest transaction of %s is ahead of this process's clock by %s: this clock is wrong, or that of the"
            " writer was. Until the clock has caught up, new transactions get the same instant; due times and leases"
            " use the clock",
            self._store,
            timedelta(microseconds=instant - now),
        )
