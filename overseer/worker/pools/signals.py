"""Signals: which exceptions a signal handler raised, and which signal handlers a forked process has.

Law: `KeyboardInterrupt` and `SystemExit` end a worker only if a signal handler raised them on the main thread.
Otherwise they are errors of the job, like every exception.
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
_OF_TERMINALS: Final = (signal.SIGINT, signal.SIGHUP)  # sent to all processes in the foreground of a terminal


def is_from_signal(error: BaseException) -> bool:
    """Return whether a signal handler of this process raised an exception in order to end the process."""
    if not isinstance(error, _ENDS) or threading.current_thread() is not threading.main_thread():
        return False
    codes = {code for number in signal.valid_signals() if (code := _code_of(signal.getsignal(number))) is not None}
    return any(frame.f_code in codes for frame, _ in traceback.walk_tb(error.__traceback__))


def _code_of(handle: Any) -> CodeType | None:
    """Return the code of a signal handler; None if it is not written in Python."""
    while isinstance(handle, functools.partial):
        handle = handle.func
    handle = getattr(handle, "__func__", handle)
    code = getattr(handle, "__code__", None) or getattr(vars(type(handle)).get("__call__"), "__code__", None)
    return code if isinstance(code, CodeType) else None


@contextmanager
def interruptible(stop: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Let Ctrl-C call `stop` and raise `KeyboardInterrupt`; the worker then ends even if a handler catches that.

    Without this, nothing shows that a `KeyboardInterrupt` came from Python's own signal handler. Signal handlers of the
    program are left alone, and so are other threads than the main thread.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        stop()
        raise KeyboardInterrupt

    on_main = threading.current_thread() is threading.main_thread()
    if not on_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    try:
        signal.signal(signal.SIGINT, interrupt)
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)


_before: Final[dict[signal.Signals, Any]] = {}  # the signal handlers of this process before a worker changed them
_handles: Final[list[Handle]] = []  # the signal handlers of workers
_mask = threading.local()


@contextmanager
def handle_here(handle: Handle, *numbers: signal.Signals) -> Iterator[None]:
    """Handle signals in this process for a block; processes that are forked from it have the previous handlers.

    Signals are blocked during a fork. Otherwise a signal to the child could be lost before the child has its handlers:
    Python forgets in a child which signals have arrived. A blocked signal waits.
    """
    if not _before and hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_restore)
    previous = {number: signal.getsignal(number) or signal.SIG_DFL for number in numbers}
    _handles.append(handle)
    try:
        for number, before in previous.items():
            _before.setdefault(number, before)
            signal.signal(number, handle)
        yield
    finally:
        for number, before in previous.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, before)
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


@contextmanager
def spared() -> Iterator[None]:
    """Keep the signals of the terminal from a process that this thread starts, until it calls `forget_handlers`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_TERMINALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def forget_handlers() -> None:
    """Restore the default signal handlers; called in a child process of a worker, in a process group of its own."""
    signal.set_wakeup_fd(-1)
    for number in _OF_TERMINALS:
        before = signal.signal(number, signal.SIG_IGN)  # one that was sent to the group of the worker is discarded
        signal.signal(number, signal.SIG_DFL if before is None else before)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _OF_TERMINALS)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
