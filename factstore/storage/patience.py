"""Waiting for a server of a store that cannot be reached, as in a failover."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event
from time import monotonic
from typing import Final, TypeVar

from factstore.errors import Unavailable

logger = logging.getLogger("factstore")

T = TypeVar("T")

FAILOVER_SECONDS: Final = 60.0  # a failover ends within this time
_RETRY_SECONDS: Final = 0.2  # there is no event for a server that becomes reachable


class Patience:
    """How long one call waits for a server that cannot be reached."""

    def __init__(self, seconds: float, ended: Event) -> None:
        """Begin the time.

        Args:
            ended: ends every wait when it is set.
        """
        self._deadline = monotonic() + seconds
        self._ended = ended

    def wait(self) -> bool:
        """Wait for a moment; return False if the time is over, or the event is set."""
        left = self._deadline - monotonic()
        return left > 0 and not self._ended.wait(min(left, _RETRY_SECONDS))

    def reached(self, call: Callable[[], T], *, warns: bool = False) -> T:
        """Return the result of a call, which is repeated while it reaches no server.

        Args:
            warns: the first time, log what is waited for.
        Raises: Unavailable, when the time is over, or for an error that no wait cures.
        """
        while True:
            try:
                return call()
            except Unavailable as error:
                if not error.data.get("temporary"):
                    raise
                if warns:
                    logger.warning("trying again for %.0f s: %s", self._deadline - monotonic(), error.message)
                    warns = False
                if not self.wait():
                    raise


def opened_in_failover(call: Callable[[], T]) -> T:
    """Return the result of a call that opens a store for a process that keeps running: it waits for a server.

    Raises: Unavailable, when no server can be reached for a minute, or at once for an error that no wait cures.
    """
    return Patience(FAILOVER_SECONDS, Event()).reached(call, warns=True)
