"""A small process that forks on request: a fork of the tests' own process copies the page tables of a million objects."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]


class Forks:
    """Calls functions in processes of their own, one after the other."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.forks"]
        self._server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()

    def run(self, function: Callable[..., object], *arguments: Any) -> int:
        """Call a function of a module in a new process; return its exit code: 1 after an exception, or a signal as a negative number."""
        assert self._server.stdin
        assert self._server.stdout
        pickle.dump((function, arguments), self._server.stdin)
        self._server.stdin.flush()
        code: int = pickle.load(self._server.stdout)
        return code


def serve() -> None:
    """Fork for each request of standard input, and answer with the exit code, until the input ends."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a function prints is no answer
    while requests.peek(1):
        function, arguments = pickle.load(requests)
        child = os.fork()
        if not child:
            _call(function, arguments)
        pickle.dump(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), answers)
        answers.flush()


def _call(function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    code = 1
    try:
        function(*arguments)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve()
