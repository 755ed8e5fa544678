"""A terminal for tests: a program in it, what is typed, and its screen as text."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pexpect
import pyte

from tests.architecture.source import ROOT

WAIT = 60  # seconds until a screen that never comes fails the test


class Terminal:
    def __init__(self, *command: str, columns: int, rows: int, **environment: str) -> None:
        # Parallel tests have a $COLUMNS of their own.
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._screen.write_process_input = lambda answer: self.child.send(answer)  # where the cursor is
        self.child = pexpect.spawn(
            sys.executable, ["-m", *command], dimensions=(rows, columns), timeout=WAIT, cwd=ROOT,
            env={**inherited, "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", **environment},
        )  # fmt: skip

    @property
    def lines(self) -> list[str]:
        """The lines of the screen; a wide character takes two columns."""
        return [line.rstrip() for line in self._screen.display]

    def type(self, text: str) -> None:
        self.child.send(text)

    def wait(self, what: str, *, times: int = 1) -> list[str]:
        """Read until the screen shows a text; return its lines."""
        while sum(line.count(what) for line in self.lines) < times:
            try:
                self._stream.feed(self.child.read_nonblocking(1 << 16, WAIT))
            except (pexpect.EOF, pexpect.TIMEOUT) as end:
                raise AssertionError(f"{type(end).__name__} before {what!r}:\n" + "\n".join(self.lines)) from None
        return self.lines

    def ends(self) -> int:
        """Read until the program ends; return its exit code."""
        self.child.expect(pexpect.EOF)
        self._stream.feed(self.child.before or b"")
        self.child.close()
        return self.child.exitstatus

    def colors(self) -> set[str]:
        """The colours of all characters on the screen."""
        return {char.fg for line in self._screen.buffer.values() for char in line.values()}


@contextmanager
def terminal(*command: str, columns: int = 80, rows: int = 24, **environment: str) -> Iterator[Terminal]:
    opened = Terminal(*command, columns=columns, rows=rows, **environment)
    try:
        yield opened
    finally:
        if opened.child.isalive():
            opened.child.kill(signal.SIGKILL)
            opened.child.wait()
        opened.child.close()
