"""Ports of this machine for servers that tests start, stop and start again."""

from __future__ import annotations

import random
import socket
from typing import Final

_FIRST: Final = 20_000  # the system takes ports from 32,768 on for connections, so that a stopped server could lose its own
_LAST: Final = 32_000
_RANDOM: Final = random.SystemRandom()  # pytest-randomly gives all processes the same seed


def free_port() -> int:
    """Return a port that is free now, and that no connection takes while its server is stopped."""
    while True:
        port = _RANDOM.randrange(_FIRST, _LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
