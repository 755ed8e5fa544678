"""The thread that commits in the background, and what happens when it ends by an exception that nothing catches."""

from __future__ import annotations

import ctypes
import logging
import threading

import pytest

import factstore
from factstore.concurrency.locks import ring


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_of_the_background_that_has_ended_is_replaced_by_the_next_transaction() -> None:
    """Nobody waits for the future here, so that only the transaction itself can notice."""

    def end(_: logging.LogRecord) -> bool:
        raise SystemExit

    logger = logging.getLogger("factstore")
    others = threading.enumerate()
    with factstore.connect("memory:") as conn:
        conn.transact_async([]).result()
        (thread,) = [each for each in threading.enumerate() if each.name == "factstore-commit" and each not in others]
        logger.addFilter(end)  # what the thread catches, it logs: an exception there is caught by nothing
        try:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyboardInterrupt))
            ring(conn._committer._background._bell)  # an exception of another thread arrives when the thread runs
            thread.join()
        finally:
            logger.removeFilter(end)
        is_told = threading.Event()
        future = conn.transact_async([])
        future.add_done_callback(lambda _: is_told.set())
        is_told.wait()
        assert 2 == future.result().t
