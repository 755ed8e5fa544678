"""Transactions on their way: each gets its first outcome, and they end in the order of their answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factstore.commit.background import Report
from factstore.errors import Closed
from factstore.transactor.sent import Delivery, Pending, Sent
from tests.factstore.transactor.running import LONG

WRONG = [Closed(":db.error/storage-closed", f"number {n}") for n in range(8)]


@contextmanager
def delivering() -> Iterator[Delivery]:
    delivery = Delivery()
    try:
        yield delivery
    finally:
        delivery.close()
        delivery.join()


def sent(n: int = 0) -> Sent:
    return Sent(bytes([n]) * 16, b"", 0.0)


def pending(n: int = 0) -> Pending:
    return Pending(bytes([n]) * 16, b"", 0.0, Report())


@given(st.lists(st.lists(st.booleans(), max_size=3), max_size=3))
def test_each_transaction_ends_after_all_that_were_answered_before(answers: list[list[bool]]) -> None:
    ended: list[Sent] = []
    with delivering() as delivery:
        for kinds in answers:
            group = [pending() if kind else sent() for kind in kinds]
            for each in group:
                if isinstance(each, Pending):
                    delivery.expect_futures()
            delivery.end([(each, WRONG[n]) for n, each in enumerate(group)])
            ended += group
            if group and not isinstance(group[-1], Pending):
                assert group[-1].wait(LONG)
                assert all(each.outcome is not None for each in ended)
                assert all(each.future.done() for each in ended if isinstance(each, Pending))
    assert all(each.wait(LONG) for each in ended)


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


def test_a_callback_of_a_future_can_wait_for_a_transaction() -> None:
    first, second, waited = pending(), sent(), Event()
    with delivering() as delivery:

        def wait(_: object) -> None:
            with pytest.raises(Closed):
                delivery.wait(second)
            waited.set()

        first.future.add_done_callback(wait)
        delivery.expect_futures()
        delivery.end([(first, WRONG[0])])
        delivery.end([(second, WRONG[1])])
        assert waited.wait(LONG)


def test_without_futures_transactions_end_in_the_calling_thread() -> None:
    with delivering() as delivery:
        thread = Thread(target=delivery.end, args=([(each := sent(), WRONG[0])],))
        thread.start()
        thread.join()
        assert each.outcome is WRONG[0]
    delivery.expect_futures()  # after the end: no thread would read from the queue
    delivery.end([(late := pending(), WRONG[1])])
    assert late.future.exception(0) is WRONG[1]
