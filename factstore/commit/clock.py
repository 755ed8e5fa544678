"""The clock of a connection, and what is said when the store's newest instant is ahead of it.

Instants of transactions never go back: a transaction has the time of its connection's clock, or the instant of the newest transaction
where that is later. So one process with a clock an hour ahead makes the instants of all others stand still for an hour. Nothing but
instants does: whatever decides by time asks the clock (`Connection.now`, `tx_clock`), never the newest instant.
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

_TOLERATED: Final = 1_000_000  # microseconds by which clocks of processes may differ without a word


def machine_clock() -> int:
    """Return the microseconds since 1970."""
    return time_ns() // 1000


def in_micros(clock: Callable[[], datetime]) -> Callable[[], int]:
    """Return a clock of aware datetimes as one of microseconds since 1970.

    Raises: DatabaseError(:db.error/invalid-clock), here and whenever it is asked, for what tells anything else.
    """

    def micros() -> int:
        now = clock() if callable(clock) else clock
        if not isinstance(now, datetime) or now.tzinfo is None:
            raise DatabaseError(
                ":db.error/invalid-clock", f"expected a clock to tell aware datetimes, it told {quoted(now)}", got=now
            )
        return instant_to_micros(now)

    micros()
    return micros


class Ahead:
    """Warns, once for each time that it happens, that the newest instant of a store is ahead of the clock.

    Args:
        store: its description, for the log.
    """

    def __init__(self, store: str) -> None:
        self._store = store
        self._until = 0  # until the clock is there, it has been said

    def look(self, instant: int, now: int) -> None:
        """Warn if an instant is ahead of the clock; both in microseconds since 1970."""
        if instant - now <= _TOLERATED or now < self._until:
            return
        self._until = instant
        logger.warning(
            "the newest transaction of %s is ahead of this process's clock by %s: a clock was wrong there or is wrong here. "
            "Until the clock has caught up, transactions have the instant of that one; due times and leases go by the clock",
            self._store,
            timedelta(microseconds=instant - now),
        )
