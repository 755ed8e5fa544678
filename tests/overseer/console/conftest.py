"""A store with jobs of every kind, and a client of its console."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import factstore
from overseer.testing import FakeClock
from tests.overseer.console.farm import fill


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a store that no test changes."""
    path, clock = str(tmp_path_factory.mktemp("farm") / "farm.facts"), FakeClock()
    with factstore.connect(path, clock=clock) as made:
        fill(made, clock)
    return path


@pytest.fixture(scope="module")
def seen(filled: str) -> Iterator[factstore.Connection]:
    """A connection for tests that write nothing, at a time when two leases have expired."""
    clock = FakeClock()
    with factstore.connect(filled, clock=clock) as conn:
        clock.now = conn.db().instant_of(conn.db().basis_t)
        yield conn


@pytest.fixture
def conn() -> Iterator[factstore.Connection]:
    """A store of its own for a test that writes."""
    clock = FakeClock()
    with factstore.connect("memory:", clock=clock) as made:
        fill(made, clock)
        yield made
