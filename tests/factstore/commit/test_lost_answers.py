"""A write whose answer is lost: it is committed once, or the error states whether it can still be committed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

import factstore
from factstore import maintain
from factstore.errors import StorageError, Unavailable, UnknownOutcome
from factstore.testing.faults import VERBS, Fault, FaultyStorage

SCHEMA = "[{:db/ident :n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]"


def in_a_block(conn: factstore.Connection) -> None:
    with conn.transaction() as tx:
        tx.transact([{":n": 1}])


Write: TypeAlias = Callable[[factstore.Connection], object]
WRITES: dict[str, Write] = {
    "transact": lambda conn: conn.transact([{":n": 1}]),
    "transact_async": lambda conn: conn.transact_async([{":n": 1}]).result(),
    "with a key": lambda conn: conn.transact([{":n": 1}], key="once"),
    "transaction": in_a_block,
    "load": lambda conn: conn.load([{"n": 1}], {"n": ":n"}, progress=False),
    "excise": lambda conn: conn.excise(":n"),
}


@pytest.fixture(params=WRITES)
def write(request: pytest.FixtureRequest) -> Write:
    return WRITES[request.param]


class Storage:
    """The storage of a connection, some of whose writes never arrive."""

    def __init__(self, conn: factstore.Connection, patch: pytest.MonkeyPatch) -> None:
        self.lost = 0  # number of the next writes that are lost
        self.reachable = True
        self.writes = self.questions = 0
        storage = type(conn._storage)
        for name in ("append", "rewrite"):
            patch.setattr(storage, name, self._losing(getattr(storage, name)))
        patch.setattr(storage, "resolve", self._resolving(storage.resolve))

    def _losing(self, verb: Callable[..., Any]) -> Callable[..., Any]:
        def write(*args: Any, **options: Any) -> Any:
            self.writes += 1
            if self.lost:
                self.lost -= 1
                raise UnknownOutcome(":db.error/storage-unknown-outcome", "the connection was cut", txids=[])
            return verb(*args, **options)

        return write

    def _resolving(self, verb: Callable[..., Any]) -> Callable[..., Any]:
        def resolve(*args: Any) -> Any:
            self.questions += 1
            if not self.reachable:
                raise Unavailable(":db.error/storage-unavailable", "no answer", temporary=True)
            return verb(*args)

        return resolve


@pytest.fixture
def conn() -> Iterator[factstore.Connection]:
    with factstore.connect("memory:", busy_timeout=0) as made:
        made.transact(SCHEMA)
        yield made


@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("name", [name for name in WRITES if name != "excise"])
def test_a_write_that_certainly_was_not_applied_is_tried_again(name: str, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        Storage(conn, monkeypatch).lost = times
        WRITES[name](conn)
        assert 1 == conn.db().q("[:find (count ?e) . :where [?e :n]]")
        assert 2 == conn.db().basis_t


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "wait"])
@pytest.mark.parametrize("kind", ["refused", "unanswered", "unsent"])
def test_a_write_that_ends_with_an_error_states_its_t_or_was_not_applied(write: Write, kind: str, verb: str) -> None:
    outcomes = set()
    for after in range(12):
        faulty = FaultyStorage("memory:")
        with faulty.connect(busy_timeout=0) as conn:
            conn.transact(SCHEMA)
            conn.transact([{":n": 0}])
            maintain.reindex(conn)
            faulty.arm(Fault(kind, verb, after=after))
            try:
                write(conn)
                t = 3
            except StorageError as error:
                t = error.data.get("t")
            faulty.arm(None)
            assert t == (3 if conn.db().basis_t == 3 else None)
            assert (t is None) == (1 == conn.db().q("[:find (count ?e) . :where [?e :n]]"))
            outcomes.add(t)
    assert 3 in outcomes


def test_a_write_that_is_never_applied_ends_with_an_error_that_is_no_conflict(
    conn: factstore.Connection, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(conn, monkeypatch)
    storage.lost = 1000
    with pytest.raises(Unavailable, match="nothing was committed"):
        write(conn)
    assert storage.writes <= 3
    storage.lost = 0
    assert 1 == conn.db().basis_t
    assert conn.transact([{":n": 1}]).t == 2


def test_a_storage_that_cannot_be_reached_is_waited_for_once(
    conn: factstore.Connection, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(conn, monkeypatch)
    storage.lost, storage.reachable = 1, False
    with pytest.raises(UnknownOutcome) as caught:
        write(conn)
    assert caught.value.txids
    assert 1 == storage.questions == storage.writes
    storage.reachable = True
    assert conn.transact([{":n": 1}]).t == 2
