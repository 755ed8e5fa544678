"""An executor of processes of which each can be ended by itself.

The executor of the standard library breaks as a whole when one of its processes dies, and cannot stop what runs. Here a process that
dies takes only its own call with it, and cancelling a call that runs ends its process.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_END: Final = b""


class ProcessDied(Exception):
    """The process that ran a call ended before it had an answer: killed, out of memory, or crashed."""


class ProcessExecutor(Executor):
    """Runs calls in up to so many processes, each fed by a thread of its own.

    Args:
        processes: how many calls may run at a time.
    """

    def __init__(self, processes: int) -> None:
        # Not fork: the worker has threads, and an open LMDB environment must not be inherited.
        self._context = multiprocessing.get_context("spawn")
        self._calls: SimpleQueue[tuple[ProcessFuture[Any], bytes] | None] = SimpleQueue()
        self._slots = [_Slot(self._context, self._calls, f"overseer-process-{n}") for n in range(processes)]

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function in a process; all of it must be picklable."""
        future: ProcessFuture[T] = ProcessFuture()
        try:
            call = pickle.dumps((fn, args, kwargs))
        except Exception as error:
            future.set_exception(error)
            return future
        self._calls.put((future, call))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes once they have answered what they were asked; with `cancel_futures`, at once."""
        if cancel_futures:
            self._cancel_all()
        for _ in self._slots:
            self._calls.put(None)
        if wait:
            for slot in self._slots:
                slot.thread.join()

    def _cancel_all(self) -> None:
        with suppress(Empty):
            while (call := self._calls.get_nowait()) is not None:
                call[0].cancel()
        for slot in self._slots:
            slot.cancel()


class ProcessFuture(Future[T]):
    """A future whose `cancel` ends the process, if the call runs already."""

    def __init__(self) -> None:
        super().__init__()
        self.end: Callable[[], None] | None = None
        self.ended = False

    def cancel(self) -> bool:
        """Keep the call from running; one that runs is ended, and its future gives ProcessDied."""
        if super().cancel():
            return True
        self.ended = True
        if self.end is not None:
            self.end()
        return False


class _Slot:
    """One process, and the thread that feeds it; the process is started when it is first needed, and again when it has died."""

    def __init__(self, context: BaseContext, calls: SimpleQueue[tuple[ProcessFuture[Any], bytes] | None], name: str) -> None:
        self._context = context
        self._calls = calls
        self._process: Any = None
        self._pipe: Connection | None = None
        self._lock = Lock()
        self._current: ProcessFuture[Any] | None = None
        self.thread = Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            future, arguments = call
            if future.set_running_or_notify_cancel():
                self._answer(future, arguments)
        if self._pipe is not None:
            with suppress(OSError):  # it has died meanwhile
                self._pipe.send_bytes(_END)
            self._process.join()
            self._pipe.close()

    def cancel(self) -> None:
        """End the call under way, if there is one."""
        current = self._current
        if current is not None:
            current.cancel()

    def _answer(self, future: ProcessFuture[Any], arguments: bytes) -> None:
        try:
            pipe = self._ready_pipe(future)
            pipe.send_bytes(arguments)
            worked, value = pickle.loads(pipe.recv_bytes())
        except (EOFError, OSError) as error:
            worked, value = False, self._death(error)
        except Exception as error:
            worked, value = False, error
        with self._lock:
            self._current = None
        if worked:
            future.set_result(value)
        else:
            future.set_exception(value)

    def _death(self, error: Exception) -> Exception:
        """Clear away a process that gave no answer, and return what there is to be said of it."""
        if self._pipe is None:
            return ProcessDied(f"no process could be started for it: {error}")
        self._process.kill()  # it may live, and have closed its pipe
        self._process.join()
        self._pipe.close()
        self._pipe = None
        return ProcessDied(f"the process that ran it ended with exit code {self._process.exitcode}")

    def _start(self) -> Connection:
        ours, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs,), name=self.thread.name, daemon=True)  # type: ignore[attr-defined]
        try:
            self._process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def _ready_pipe(self, future: ProcessFuture[Any]) -> Connection:
        if self._pipe is not None and not self._process.is_alive():
            self._pipe.close()
            self._pipe = None
        if self._pipe is None:
            self._pipe = self._start()
        with self._lock:
            self._current = future
        future.end = partial(self._kill, future)
        if future.ended:  # cancelled before there was anything to end
            future.end()
        return self._pipe

    def _kill(self, future: ProcessFuture[Any]) -> None:
        """End the process, if it still runs that call and not the next."""
        with self._lock:
            if self._current is future:
                self._process.kill()


def _serve(pipe: Connection) -> None:
    """Answer calls until told to end, or until the worker is gone."""
    # Signals are sent to the whole group of a terminal; the worker decides what becomes of its handlers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Thread(target=_end_with_worker, name="overseer-orphan", daemon=True).start()
    try:
        while (call := pipe.recv_bytes()) != _END:
            pipe.send_bytes(_answer_to(call))
    except (EOFError, ConnectionError):
        os._exit(0)


def _end_with_worker() -> None:
    """End this process when its worker is gone, in the middle of whatever it runs: others will be given the job."""
    worker = multiprocessing.parent_process()
    assert worker is not None, "it was started by a worker"
    worker.join()
    os._exit(1)


def _answer_to(call: bytes) -> bytes:
    try:
        function, arguments, words = pickle.loads(call)
        return pickle.dumps((True, function(*arguments, **words)))
    except BaseException as error:
        return _packed(error)


def _packed(error: BaseException) -> bytes:
    try:
        packed = pickle.dumps((False, error))
        pickle.loads(packed)
    except Exception:
        return pickle.dumps((False, RuntimeError(f"{type(error).__qualname__}: {error}")))
    return packed
