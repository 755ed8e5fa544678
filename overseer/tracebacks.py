"""Tracebacks as texts that are kept with a job: bounded, with the user's frames, and without the frames of libraries.

Owns the text of an error, and knows neither jobs nor stores. Law: the text has at most `MAX_TRACEBACK` characters, and
ends with the error that was raised last.
"""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Final

MAX_TRACEBACK: Final = 8_000  # characters
_MAX_LINE: Final = 300  # characters of a line of source, and of a message
_FIRST: Final = 5  # frames of an error that are kept when there are many: these first ones, and the last ones
_LAST: Final = 15
_HERE: Final = str(Path(__file__).parent) + os.sep


def traceback_text(error: BaseException) -> str:
    """Return the traceback of an error and of its causes, as it is kept with a job.

    Consecutive frames of installed packages and of Python are one line; frames of the worker are left out.
    """
    try:
        whole = traceback.TracebackException.from_exception(error)
    except Exception as broken:  # from the exception's own code
        return f"{type(error).__name__} (its traceback is unavailable: {type(broken).__name__})"
    texts, left = list[str](), MAX_TRACEBACK
    for text in _errors(whole):  # the last error first: it is the one that must fit
        text = text if len(text) <= left else "…" + text[len(text) - max(0, left - 1) :]
        texts.append(text)
        left -= len(text)
        if left <= 1:
            break
    return "".join(reversed(texts)).encode("utf-8", "replace").decode()


def _errors(whole: traceback.TracebackException) -> Iterator[str]:
    """Yield the text of an error, and then of each earlier one."""
    link = ""
    one: traceback.TracebackException | None = whole
    seen = set[int]()
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        said = "".join(one.format_exception_only())
        message = said if len(said) <= 4 * _MAX_LINE else said[: 4 * _MAX_LINE] + "…\n"
        yield "".join([*_frames(one.stack), message, link])
        if one.__cause__ is not None:
            link, one = "\nThe above exception was the direct cause of the following exception:\n\n", one.__cause__
        elif one.__context__ is not None and not one.__suppress_context__:
            link = "\nDuring handling of the above exception, another exception occurred:\n\n"
            one = one.__context__
        else:
            one = None


def _frames(stack: Sequence[traceback.FrameSummary]) -> Iterator[str]:
    frames = [frame for frame in stack if not frame.filename.startswith(_HERE)]
    omitted = len(frames) - _FIRST - _LAST
    if omitted <= 0:
        yield from _folded(frames)
        return
    yield from _folded(frames[:_FIRST])
    yield f"  … {omitted:,} frames are left out\n"
    yield from _folded(frames[-_LAST:])


def _folded(frames: Sequence[traceback.FrameSummary]) -> Iterator[str]:
    for package, group in groupby(frames, key=lambda frame: _package(frame.filename)):
        run = list(group)
        if package is not None:
            yield f"  … {len(run)} frame{'s' if len(run) > 1 else ''} in {package}\n"
            continue
        for frame in run:
            yield f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}\n'
            if frame.line:
                yield f"    {frame.line[:_MAX_LINE]}\n"


@cache
def _package(filename: str) -> str | None:
    """Return the name of the package that a file belongs to; None for a file of the user."""
    for root in _roots():
        if filename.startswith(root):
            return Path(filename[len(root) :]).parts[0].removesuffix(".py")
    parts = Path(filename).parts
    for folder in ("site-packages", "dist-packages"):
        if folder in parts[:-1]:
            return parts[parts.index(folder) + 1].removesuffix(".py")
    return "Python" if filename.startswith("<frozen ") else None


@cache
def _roots() -> tuple[str, ...]:
    """Return the folders of packages, inner folders first: site-packages is inside that of the standard library."""
    paths = {sysconfig.get_paths()[name] for name in ("purelib", "platlib", "stdlib", "platstdlib")}
    return tuple(path + os.sep for path in sorted(paths, key=len, reverse=True))
