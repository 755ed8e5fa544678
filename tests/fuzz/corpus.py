"""The corpus: inputs that together reach much of the code behind a target, one per line of a text file."""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Iterable
from types import FrameType
from typing import Any, Final

from tests.fuzz.engines import outcome, quiet
from tests.fuzz.paths import FOUND, inputs_of, path_of

MOST_INPUTS: Final = 40  # of a target
MOST_CANDIDATES: Final = 200  # the shortest; to trace an input takes a hundred times as long as to run it
_PACKAGES: Final = ("/factstore/", "/overseer/")


def minimise(name: str) -> None:
    """Replace the corpus of a target by few of all known inputs: first the short ones, each with a line that none before it reaches."""
    quiet()
    found = [path.read_bytes() for path in sorted((FOUND / name / "new").glob("*"))]
    known = sorted({*inputs_of(name), *found}, key=lambda data: (len(data), data))[:MOST_CANDIDATES]
    kept, seen = [], set[tuple[str, int]]()
    for data in known:
        lines = lines_of(name, data)
        if lines - seen and len(kept) < MOST_INPUTS:
            kept.append(data)
            seen |= lines
    path_of(name).parent.mkdir(exist_ok=True)
    path_of(name).write_text("".join(f"{line}\n" for line in _texts(kept)), encoding="ascii")
    print(f"{name}: {len(kept)} of {len(known)} inputs reach {len(seen)} lines", flush=True)


def _texts(inputs: Iterable[bytes]) -> list[str]:
    return [b64encode(data).decode() for data in inputs]


def lines_of(name: str, data: bytes) -> set[tuple[str, int]]:
    """Return the lines of both packages that an input reaches in this thread."""
    seen = set[tuple[str, int]]()

    def line(frame: FrameType, event: str, _arg: Any) -> Any:
        seen.add((frame.f_code.co_filename, frame.f_lineno))
        return line

    def call(frame: FrameType, _event: str, _arg: Any) -> Any:
        path = frame.f_code.co_filename
        return line if any(package in path for package in _PACKAGES) and "/tests/" not in path else None

    sys.settrace(call)
    try:
        outcome(name, data)
    finally:
        sys.settrace(None)
    return seen
