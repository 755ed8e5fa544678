"""Signals and handlers: which exceptions were raised by a signal, and what a process that a handler starts inherits of them.

Law: `KeyboardInterrupt` and `SystemExit` end a worker only when a signal handler raised them, on the main thread. Raised by anything else
they are errors of the job, as every exception is.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any, Final

Handle = Callable[[int, FrameType | None], Any]

_ENDS: Final = (KeyboardInterrupt, SystemExit)


def is_from_signal(error: BaseException) -> bool:
    """Tell whether an exception was raised by a signal handler of this process, in order to end it."""
    if not isinstance(error, _ENDS) or threading.current_thread() is not threading.main_thread():
        return False
    codes = {code for number in signal.valid_signals() if (code := _code_of(signal.getsignal(number))) is not None}
    return any(frame.f_code in codes for frame, _ in traceback.walk_tb(error.__traceback__))


def _code_of(handle: Any) -> CodeType | None:
    """Return the code of a signal handler that is written in Python."""
    while isinstance(handle, functools.partial):
        handle = handle.func
    handle = getattr(handle, "__func__", handle)
    code = getattr(handle, "__code__", None) or getattr(vars(type(handle)).get("__call__"), "__code__", None)
    return code if isinstance(code, CodeType) else None


@contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C raise `KeyboardInterrupt` from a function that `is_from_signal` knows, and call `stop` even where a handler catches it.

    A signal handler of the program's own is left as it is, and so is every thread but the main one.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        stop()
        raise KeyboardInterrupt

    on_main = threading.current_thread() is threading.main_thread()
    if not on_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)


_before: Final[dict[signal.Signals, Any]] = {}  # what signals did in this process before a worker handled them
_handles: Final[list[Handle]] = []  # those of workers
_mask = threading.local()


@contextmanager
def handle_here(handle: Handle, *numbers: signal.Signals) -> Iterator[None]:
    """Handle signals in this process for a block, and not in processes forked from it: there they do what they did before.

    Around a fork the signals are blocked. One that is sent to the child before it has its own handlers would be lost: Python
    forgets in a child what has arrived and was not handled. Blocked, it waits.
    """
    if not _before and hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_restore)
    _handles.append(handle)
    previous = {number: signal.signal(number, handle) for number in numbers}
    for number, before in previous.items():
        _before.setdefault(number, signal.SIG_DFL if before is None else before)
    try:
        yield
    finally:
        for number, before in previous.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, signal.SIG_DFL if before is None else before)
        _handles.remove(handle)


def _block() -> None:
    _mask.of_thread = signal.pthread_sigmask(signal.SIG_BLOCK, _before)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.of_thread)


def _restore() -> None:
    for number, previous in _before.items():
        if signal.getsignal(number) in _handles:
            signal.signal(number, previous)
    _unblock()


def forget_handlers() -> None:
    """Let all signals do what they do in a new process; called in a child process of a worker."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
