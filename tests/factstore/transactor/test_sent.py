"""Transactions on their way: each gets its first outcome, and callbacks are called in order, in a thread of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread, current_thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factstore.commit.background import Report
from factstore.errors import Closed
from factstore.transactor.sent import Callbacks, Pending, Sent
from tests.factstore.transactor.running import LONG

WRONG = [Closed(":db.error/storage-closed", f"number {n}") for n in range(8)]


@contextmanager
def calling() -> Iterator[Callbacks]:
    callbacks = Callbacks()
    try:
        yield callbacks
    finally:
        callbacks.close()
        callbacks.join()


def sent(n: int = 0) -> Sent:
    return Sent(bytes([n]) * 16, b"", 0.0)


def pending(n: int = 0, callbacks: Callbacks | None = None) -> Pending:
    future = Report()
    future.later = callbacks and callbacks.call
    return Pending(bytes([n]) * 16, b"", 0.0, future)


@given(st.lists(st.integers(0, 2), max_size=6))
def test_callbacks_are_called_in_the_order_of_the_answers_in_one_other_thread(counts: list[int]) -> None:
    called: list[tuple[int, int]] = []
    threads = set()

    def call(n: int, k: int) -> None:
        called.append((n, k))
        threads.add(current_thread())

    with calling() as callbacks:
        each = [pending(n, callbacks) for n in range(len(counts))]
        for n, count in enumerate(counts):
            for k in range(count):
                each[n].future.add_done_callback(lambda _, n=n, k=k: call(n, k))
        for n, one in enumerate(each):
            one.end(WRONG[n])
            assert one.future.exception(0) is WRONG[n]
    assert called == [(n, k) for n, count in enumerate(counts) for k in range(count)]
    assert len(threads) == bool(called) and current_thread() not in threads


@pytest.mark.parametrize("each", [sent(), pending()])
def test_the_first_outcome_is_the_only_one(each: Sent) -> None:
    assert not each.wait(0.0)
    for outcome in WRONG[:3]:
        each.end(outcome)
    assert each.wait() and each.wait(0.0)
    with pytest.raises(Closed) as raised:
        each.result()
    assert raised.value is WRONG[0]
    if isinstance(each, Pending):
        assert each.future.exception() is WRONG[0]


def test_a_callback_of_a_future_can_wait_for_a_transaction_that_ends_later() -> None:
    second, waited = sent(), Event()
    with calling() as callbacks:
        first = pending(0, callbacks)

        def wait(_: object) -> None:
            assert second.wait(LONG)
            waited.set()

        first.future.add_done_callback(wait)
        first.end(WRONG[0])
        assert not waited.is_set()
        second.end(WRONG[1])
        assert waited.wait(LONG)


def test_a_callback_that_ends_its_thread_does_not_prevent_those_of_other_futures() -> None:
    with calling() as callbacks:
        first, second, called = pending(0, callbacks), pending(1, callbacks), Event()

        def leave(_: object) -> None:
            raise SystemExit

        first.future.add_done_callback(leave)
        second.future.add_done_callback(lambda _: called.set())
        first.end(WRONG[0])
        second.end(WRONG[1])
        assert called.wait(LONG)


def test_after_the_end_callbacks_are_called_in_the_thread_that_ends_the_future() -> None:
    with calling() as callbacks:
        late = pending(0, callbacks)
    called = []
    late.future.add_done_callback(lambda _: called.append(current_thread()))
    late.end(WRONG[0])
    assert called == [current_thread()]


def test_a_coroutine_gets_its_outcome_while_the_thread_of_callbacks_is_busy() -> None:
    busy, free = Event(), Event()

    async def main(awaited: Pending) -> object:
        task = asyncio.ensure_future(awaited.future)
        await asyncio.sleep(0)
        ends = Thread(target=awaited.end, args=(WRONG[1],))
        ends.start()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        ends.join()
        return outcome

    with calling() as callbacks:
        first = pending(0, callbacks)
        first.future.add_done_callback(lambda _: (busy.set(), free.wait(LONG)))
        first.end(WRONG[0])
        assert busy.wait(LONG)
        assert asyncio.run(main(pending(1, callbacks))) is WRONG[1]
        free.set()
