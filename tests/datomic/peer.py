"""A process that answers cases with Datomic; see peer.clj."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks import java
from factstore import Keyword, edn

LIBRARY: Final = "com.datomic:peer:1.0.7277"
OPTIONS: Final = ("-Xmx1500m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class Peer:
    """Datomic in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def answers(self, steps: list[Mapping[str, Any]]) -> list[list[Any]]:
        """Return the answers of Datomic to the steps of a case."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(edn.write({Keyword(":steps"): steps}).replace("\n", " ") + "\n")
        self._process.stdin.flush()
        found: list[list[Any]] = edn.read(self._process.stdout.readline())
        return found


@contextmanager
def peer(*, fetch: bool = True) -> Iterator[Peer]:
    """Start Datomic. Raises: java.Unavailable without Java, or if Maven cannot, or with `fetch=False` need not, fetch Datomic."""
    if not fetch and not java.is_fetched(LIBRARY):
        raise java.Unavailable(f"{LIBRARY} was not fetched before")
    command = java.command(Path(__file__).parent / "peer.clj", LIBRARY, *OPTIONS)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield Peer(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
