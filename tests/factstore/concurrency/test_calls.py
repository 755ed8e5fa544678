"""Calls in threads of their own, also when an exception interrupts the start of a thread."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import pytest

from factstore.concurrency.calls import Calls

LONG = 60.0


@contextmanager
def interrupted_start() -> Iterator[None]:
    """Raise KeyboardInterrupt in this thread when it has started another one, as Ctrl-C may do."""

    def returns(_frame: FrameType, event: str, _arg: Any) -> Any:
        if event == "return":
            raise KeyboardInterrupt
        return returns

    sys.settrace(lambda frame, _event, _arg: returns if frame.f_code is threading.Thread.start.__code__ else None)
    try:
        yield
    finally:
        sys.settrace(None)


def test_calls_of_one_thread_run_in_their_order_one_at_a_time() -> None:
    calls, running, seen = Calls("test"), threading.Lock(), []

    def call(n: int) -> int:
        assert running.acquire(blocking=False)
        seen.append(n)
        running.release()
        return n

    futures: list[Future[int]] = []
    submitters = [threading.Thread(target=lambda: futures.extend(calls.submit(call, n) for n in range(200))) for _ in range(8)]
    for thread in submitters:
        thread.start()
    for thread in submitters:
        thread.join(LONG)
    assert sorted(future.result(LONG) for future in futures) == sorted(8 * list(range(200)))
    calls.close()
    assert len(seen) == 1600


def test_several_threads_make_calls_at_the_same_time_but_never_more() -> None:
    calls, together = Calls("test", 3), threading.Barrier(3)
    names = {calls.submit(lambda: (together.wait(LONG), threading.current_thread())[1]) for _ in range(30)}
    assert 3 == len({future.result(LONG) for future in names})
    calls.close()


def test_an_error_of_a_call_is_the_error_of_its_future() -> None:
    calls = Calls("test")
    failed = calls.submit(lambda: 1 // 0)
    assert isinstance(failed.exception(LONG), ZeroDivisionError)
    assert calls.submit(lambda: 2).result(LONG) == 2
    calls.close()
    with pytest.raises(RuntimeError):
        calls.submit(lambda: 3)


def test_a_call_that_is_submitted_beside_close_is_made_or_refused() -> None:
    for _ in range(200):
        calls, closed = Calls("test"), threading.Barrier(2)
        closer = threading.Thread(target=lambda: (closed.wait(LONG), calls.close()))  # noqa: B023
        closer.start()
        closed.wait(LONG)
        with suppress(RuntimeError):
            assert calls.submit(lambda: 1).result(LONG) == 1
        closer.join(LONG)


def test_close_waits_for_a_call_whose_thread_has_just_been_started() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(1000):
            calls = Calls("test")
            future = calls.submit(lambda: sum(range(10_000)))
            calls.close()
            assert future.done()
    finally:
        sys.setswitchinterval(before)


def test_calls_are_made_after_a_callback_that_raises_any_exception(caplog: pytest.LogCaptureFixture) -> None:
    calls, may_end = Calls("test"), threading.Event()

    def leave(_future: Future[Any]) -> None:
        raise SystemExit

    calls.submit(may_end.wait, LONG).add_done_callback(leave)
    may_end.set()
    assert calls.submit(lambda: 2).result(LONG) == 2
    calls.close()
    assert "a callback of a call failed" in caplog.text


def test_an_interrupted_start_leaves_one_thread_at_most() -> None:
    """The executor of the standard library starts another one, and two calls run at the same time."""
    calls = Calls("interrupted")
    with pytest.raises(KeyboardInterrupt), interrupted_start():
        calls.submit(print)
    for _ in range(3):
        with suppress(KeyboardInterrupt), interrupted_start():  # it is raised if the first thread is not registered yet
            calls.submit(print)
    maker = calls.submit(threading.current_thread).result(LONG)
    others = [thread for thread in threading.enumerate() if thread.name == "interrupted" and thread is not maker]
    for thread in others:
        thread.join(LONG)
    assert maker.is_alive() and not any(thread.is_alive() for thread in others)
    calls.close()
    assert not maker.is_alive()


def test_the_threads_end_when_the_object_is_dropped() -> None:
    calls = Calls("test", 2)
    threads = {calls.submit(threading.current_thread).result(LONG) for _ in range(4)}
    del calls
    gc.collect()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()


def test_a_program_ends_after_the_start_of_a_thread_was_interrupted() -> None:
    program = (
        "from factstore.concurrency.calls import Calls\nfrom tests.factstore.concurrency.test_calls import interrupted_start\n"
        "calls = Calls('test')\ntry:\n    with interrupted_start():\n        calls.submit(print)\n"
        "except KeyboardInterrupt:\n    print('interrupted')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LONG, check=False)
    assert (ended.returncode, ended.stdout) == (0, "interrupted\n"), ended.stderr
