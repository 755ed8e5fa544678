"""A real transactor for tests: a process that is started, stopped and killed, or threads of this process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import Final

from factstore.transactor.service import Options, serve

LONG: Final = 60.0


class Transactor:
    """A process of `factstore transactor`."""

    def __init__(self, uri: str, *arguments: str, inside: Sequence[str] = ()) -> None:
        """Start it.

        Args:
            inside: a command that runs a program within another network.
        """
        command = [*inside, sys.executable, "-m", "factstore", "transactor", uri, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self.errors = ""
        self._leads = Event()
        self._waits = Event()
        self._tries = Event()
        self._readers = [Thread(target=self._read, daemon=True), Thread(target=self._read_errors, daemon=True)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.strip())
            if " waits: " in line:
                self._waits.set()
            elif " leads " in line and " term " in line:
                self._leads.set()
        for told in (self._leads, self._waits):  # it has ended
            told.set()

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors += line
            if "trying again for " in line:
                self._tries.set()
        self._tries.set()  # it has ended

    def wait_until_it_leads(self) -> None:
        assert self._leads.wait(LONG) and self.process.poll() is None, (self.lines, self.errors)

    def wait_until_it_waits(self) -> None:
        assert self._waits.wait(LONG) and self.process.poll() is None, (self.lines, self.errors)

    def wait_until_it_tries_again(self) -> None:
        """Wait until it has reached no server when it opened the store."""
        assert self._tries.wait(LONG) and self.process.poll() is None, (self.lines, self.errors)

    def send(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self.process.kill()
        self.process.wait(LONG)

    def end(self) -> int:
        """End it properly, and return its exit code."""
        if self.process.poll() is None:
            self.send(signal.SIGCONT)
            self.process.terminate()
        code = self.process.wait(LONG)
        for reader in self._readers:
            reader.join(LONG)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return code


@contextmanager
def transactor(uri: str, *arguments: str) -> Iterator[Transactor]:
    """Run a transactor that leads."""
    started = Transactor(uri, *arguments)
    try:
        started.wait_until_it_leads()
        yield started
    finally:
        started.end()


@contextmanager
def transactor_that_waits(uri: str, *arguments: str) -> Iterator[Transactor]:
    """Run a transactor beside one that leads."""
    started = Transactor(uri, *arguments)
    try:
        started.wait_until_it_waits()
        yield started
    finally:
        started.end()


@contextmanager
def transactor_here(uri: str, options: Options = Options()) -> Iterator[None]:  # noqa: B008 -- immutable
    """Run a transactor in threads of this process, so that it has the functions that the tests register."""
    leads, loops = Event(), []

    async def run() -> None:
        ends = asyncio.Event()
        loops.append((asyncio.get_running_loop(), ends))
        try:
            await serve(uri, options, lambda sentence: leads.set() if "leads" in sentence else None, ends)
        finally:
            leads.set()

    thread = Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert leads.wait(LONG) and thread.is_alive()
        yield
    finally:
        loop, ends = loops[0]
        loop.call_soon_threadsafe(ends.set)
        thread.join(LONG)
        assert not thread.is_alive()
