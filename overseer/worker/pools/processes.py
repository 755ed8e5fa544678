"""An executor whose processes can be ended one by one.

If a process of the standard library's executor dies, the whole executor breaks; and it cannot stop a running call.
Here only the call of a dead process fails, and cancelling a running call ends its process, with all processes that it
has started.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.context import BaseContext
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

from factstore.concurrency.limits import explained, started
from overseer.worker.pools.channel import Channel, Gone
from overseer.worker.pools.child import ANSWER, BEGAN, CALL, CALL_AND_TELL, END, LogLevels, log_here, serve
from overseer.worker.pools.signals import spared

P = ParamSpec("P")
T = TypeVar("T")

_GRACE: Final = 5.0  # seconds: how long a process may take to end before it is killed


class ProcessDied(Exception):
    """The process of a call ended before it answered: it was killed, was out of memory, or crashed.

    Args:
        exitcode: of the process; a negative number is the signal that killed it. None if there was no process.
    """

    def __init__(self, message: str, exitcode: int | None = None) -> None:
        super().__init__(message)
        self.exitcode = exitcode


class ProcessExecutor(Executor):
    """Runs calls in processes, each with a thread of its own.

    Args:
        processes: the number of calls that may run at a time.
        start_method: how processes are started: "spawn", "fork" or "forkserver", as in `multiprocessing`.
    """

    def __init__(self, processes: int, *, start_method: str = "spawn") -> None:
        self._calls: SimpleQueue[tuple[ProcessFuture[Any], bytes] | None] = SimpleQueue()
        context = multiprocessing.get_context(start_method)
        self._slots: list[_ProcessSlot] = []
        try:
            for n in range(processes):
                self._slots.append(_ProcessSlot(context, self._calls, f"overseer-process-{n}"))
        except BaseException:
            self.shutdown(wait=False)
            raise

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function in a process. The function and its arguments must be picklable."""
        return self.start(None, False, fn, *args, **kwargs)

    def start(
        self, began: Callable[[], None] | None, exactly: bool, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """Call a function in a process as `submit` does.

        Args:
            began: is called when the function begins.
            exactly: the process reports the beginning, which costs a message; otherwise it is the time of sending.
        """
        future: ProcessFuture[T] = ProcessFuture(began, exactly=exactly)
        try:
            call = pickle.dumps((fn, args, kwargs))
        except Exception as error:
            future.set_exception(error)
            return future
        self._calls.put((future, call))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes after their calls; with `cancel_futures`, at once."""
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
    """A future whose `cancel` ends the process if the call is running."""

    def __init__(self, began: Callable[[], None] | None = None, *, exactly: bool = False) -> None:
        super().__init__()
        self.exactly = exactly
        self._began = began
        self.has_begun = False
        self.end: Callable[[], None] | None = None
        self.ended = False

    def begin(self) -> None:
        """Note that the function begins."""
        self.has_begun = True
        if self._began is not None:
            self._began()

    def cancel(self) -> bool:
        """Prevent the call from running. If it is running, end its process; the result is then ProcessDied."""
        if super().cancel():
            return True
        self.ended = True
        if self.end is not None:
            self.end()
        return False


class _Child(NamedTuple):
    """A process, and the channel to it."""

    process: Any  # multiprocessing has a class of processes for each start method
    channel: Channel

    def kill(self) -> None:
        """End the process, and the processes in its group if it has one already."""
        if self.process.exitcode is None:
            with suppress(ProcessLookupError, PermissionError):
                if hasattr(os, "killpg"):
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()

    def wait(self, seconds: float) -> bool:
        """Wait until the process has ended, and return whether it has.

        `join` with a timeout waits for the end of a pipe, which a child of the process may hold open.
        """
        deadline = time.monotonic() + seconds
        while self.process.is_alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True


class _ProcessSlot:
    """A process and its thread. The process starts when it is first needed, and again after it has died."""

    def __init__(
        self, context: BaseContext, calls: SimpleQueue[tuple[ProcessFuture[Any], bytes] | None], name: str
    ) -> None:
        self._context = context
        self._calls = calls
        self._child: _Child | None = None
        self._lock = Lock()
        self._current: ProcessFuture[Any] | None = None
        self.thread = Thread(target=self._run, name=name, daemon=True)
        started(self.thread)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            future, arguments = call
            if future.set_running_or_notify_cancel():
                self._answer(future, arguments)
        if self._child is not None:
            with suppress(Gone):  # the process has died meanwhile
                self._child.channel.send(END)
            self._child.wait(_GRACE)
            self._remove(self._child)

    def cancel(self) -> None:
        """End the running call, if there is one."""
        current = self._current
        if current is not None:
            current.cancel()

    def _answer(self, future: ProcessFuture[Any], arguments: bytes) -> None:
        worked, value = self._outcome(future, arguments)
        if isinstance(value, ProcessDied) and not future.has_begun and not future.ended:
            # Another cause may have ended the process right before the call.
            worked, value = self._outcome(future, arguments)
        with self._lock:
            self._current = None
        if worked:
            future.set_result(value)
        else:
            future.set_exception(value)

    def _outcome(self, future: ProcessFuture[Any], arguments: bytes) -> tuple[bool, Any]:
        """Return whether a call has succeeded, and its value or its error."""
        try:
            return self._ask(self._ready_child(future), future, arguments)
        except Gone:
            return False, self._death()
        except BaseException as error:
            return False, error

    def _ask(self, child: _Child, future: ProcessFuture[Any], arguments: bytes) -> tuple[bool, Any]:
        """Send a call, and wait for its answer. Log the process's records here meanwhile."""
        child.channel.send(CALL_AND_TELL if future.exactly else CALL, arguments)
        if not future.exactly:
            future.begin()
        while (message := child.channel.receive())[0] != ANSWER:
            if message[0] == BEGAN:
                future.begin()
            else:
                log_here(message[1])
        worked, value = pickle.loads(message[1])
        return worked, value

    def _death(self) -> Exception:
        """Remove a process that gave no answer, and return the error."""
        child, self._child = self._child, None
        assert child is not None, "the call was sent to it"
        self._remove(child)
        exitcode = child.process.exitcode
        return ProcessDied(f"the process that ran it ended with exit code {exitcode}", exitcode)

    def _remove(self, child: _Child) -> None:
        """Kill a process if it still lives, and close the channel."""
        child.kill()
        child.wait(_GRACE)
        child.channel.close()

    def _start(self) -> _Child:
        try:
            worker_end, child_end = socket.socketpair()
        except OSError as error:
            raise ProcessDied(_not_started(error)) from error
        words = {
            "target": serve,
            "args": (child_end, os.getpid(), LogLevels.here()),
            "name": self.thread.name,
            "daemon": True,
        }
        process = self._context.Process(**words)  # type: ignore[attr-defined]
        try:
            with spared():
                resource_tracker.ensure_running()  # not by `start`, because this unblocks signals
            with spared():
                process.start()
        except BaseException as error:
            worker_end.close()
            raise ProcessDied(_not_started(error)) from error
        finally:
            child_end.close()
        return _Child(process, Channel(worker_end, process.pid, process.is_alive))

    def _ready_child(self, future: ProcessFuture[Any]) -> _Child:
        if self._child is not None and not self._child.process.is_alive():
            self._remove(self._child)
            self._child = None
        if self._child is None:
            self._child = self._start()
        with self._lock:
            self._current = future
        future.end = partial(self._kill, future)
        if future.ended:  # cancelled before the process existed
            future.end()
        return self._child

    def _kill(self, future: ProcessFuture[Any]) -> None:
        """End the process, unless it has answered that call already."""
        with self._lock:
            if self._current is future and self._child is not None:
                self._child.kill()


def _not_started(error: BaseException) -> str:
    is_limit = isinstance(error, BlockingIOError)  # of the system, when it forks
    advice = "; raise the limit of processes (ulimit -u, pids.max, TasksMax)" if is_limit else ""
    return f"no process could be started for it: {explained(str(error))}{advice}"
