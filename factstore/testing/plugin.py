"""The plugin of pytest: fixtures for stores in memory. pytest loads it by itself; it imports factstore on first use.

store_schema, store_history ──► conn, store_at          override the first two in your conftest.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from datetime import datetime

    from factstore import Connection
    from factstore.testing.clock import FakeClock


@pytest.fixture
def fake_clock() -> FakeClock:
    """A clock that moves only when a test moves it; the clock of `conn`."""
    from factstore.testing.clock import FakeClock

    return FakeClock()


@pytest.fixture
def store_schema() -> Any:
    """The schema of `conn` and `store_at`, as tx-data; none by default. Override it in a test module or conftest.py."""
    return []


@pytest.fixture
def store_history() -> Sequence[tuple[datetime | str, Any]]:
    """The transactions of `conn` and `store_at`, each with its moment, in order; none by default. Override it.

    A moment is an aware datetime, or a text such as "2026-01-15T12:00Z".
    """
    return []


@pytest.fixture
def store_at(
    fake_clock: FakeClock, store_schema: Any, store_history: Sequence[tuple[datetime | str, Any]]
) -> Iterator[Callable[[datetime | str], Connection]]:
    """A function of a moment; it returns a connection to a new store as it was then, and sets the clock to it."""
    from contextlib import ExitStack

    with ExitStack() as opened:

        def at(moment: datetime | str) -> Connection:
            return opened.enter_context(_populated(fake_clock, store_schema, store_history, moment))

        yield at


@pytest.fixture
def conn(
    fake_clock: FakeClock, store_schema: Any, store_history: Sequence[tuple[datetime | str, Any]]
) -> Iterator[Connection]:
    """A connection to a new store in memory, with the schema and the whole history; its clock is `fake_clock`."""
    with _populated(fake_clock, store_schema, store_history, None) as connection:
        yield connection


def _populated(
    clock: FakeClock, schema: Any, history: Sequence[tuple[datetime | str, Any]], until: datetime | str | None
) -> Connection:
    """Return a connection to a new store that has the transactions up to a moment; None: all of them."""
    import factstore

    end = None if until is None else factstore.moment(until, now=clock())
    made = [(factstore.moment(at, now=clock()), tx_data) for at, tx_data in history]
    chosen = [(at, tx_data) for at, tx_data in made if end is None or at <= end]
    if end is not None or chosen:
        clock.now = min(filter(None, (end, *(at for at, _ in chosen))))
    connection = factstore.connect("memory:", clock=clock)
    if schema:
        connection.transact(schema)
    for at, tx_data in chosen:
        clock.now = at
        connection.transact(tx_data)
    clock.now = clock.now if end is None else end
    return connection
