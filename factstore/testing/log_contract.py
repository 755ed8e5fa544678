"""The contract of a storage: the log, and the writer's turn."""

from __future__ import annotations

from itertools import count
from threading import Event, Thread

import pytest

from factstore.errors import Conflict
from factstore.storage import Record, Root, Storage
from factstore.testing.storage_model import LONG, append_somehow, records, together, txid


class LogContract:
    """The tests of the log; `store` and `other` are handles on one store."""

    def test_a_batch_gets_consecutive_ts(self, store: Storage) -> None:
        assert store.append(records(1), expected_t=0) == 1
        assert store.append(records(2, 3, 4), expected_t=1) == 4
        assert store.read_log(1) == [
            Record(2, txid(2), b"body 2"),
            Record(3, txid(3), b"body 3"),
            Record(4, txid(4), b"body 4"),
        ]

    def test_an_append_after_somebody_elses_is_refused_whole_and_names_the_head(
        self, store: Storage, other: Storage
    ) -> None:
        other.append(records(1, 2), expected_t=0)
        with pytest.raises(Conflict) as refused:
            store.append(records(3, 4), expected_t=0)
        assert refused.value.code == ":db.error/storage-conflict"
        assert refused.value.head == 2
        assert store.head() == 2
        assert store.resolve(txid(3)) is None

    def test_an_append_beyond_the_head_leaves_no_hole(self, store: Storage) -> None:
        with pytest.raises(Conflict):
            store.append(records(1), expected_t=1)
        assert store.head() == 0

    def test_a_txid_of_another_length_is_refused_and_nothing_is_written(self, store: Storage) -> None:
        with pytest.raises(ValueError, match="16"):
            store.append([*records(1), (b"short", b"")], expected_t=0)
        assert store.head() == 0

    def test_large_and_empty_bodies_are_kept_as_they_are(self, store: Storage) -> None:
        bodies = [b"", bytes(range(256)) * 20_000, b"\0", b""]
        store.append([(txid(i), body) for i, body in enumerate(bodies)], expected_t=0)
        assert [record.body for record in store.read_log(0)] == bodies

    def test_a_range_of_the_log_ends_where_it_was_told_to(self, store: Storage) -> None:
        store.append(records(*range(1, 11)), expected_t=0)
        assert [record.t for record in store.read_log(3, 6)] == [4, 5, 6]
        assert [record.t for record in store.read_log(8, 99)] == [9, 10]
        assert store.read_log(10) == []
        assert store.read_log(6, 6) == []

    def test_reading_in_small_bites_gives_every_record_once(self, store: Storage) -> None:
        store.append(records(*range(1, 101)), expected_t=0)
        seen: list[int] = []
        while bite := store.read_log(len(seen), max_bytes=100):
            assert len(bite) < 20
            seen += [record.t for record in bite]
        assert seen == list(range(1, 101))

    def test_a_record_larger_than_the_bite_is_still_read(self, store: Storage) -> None:
        store.append([(txid(1), bytes(1000)), (txid(2), b"")], expected_t=0)
        assert store.read_log(0, max_bytes=10) == [Record(1, txid(1), bytes(1000))]

    def test_resolve_finds_what_was_committed_and_nothing_else(self, store: Storage) -> None:
        store.append(records(*range(1, 51)), expected_t=0)
        assert [store.resolve(txid(n)) for n in (1, 25, 50, 51)] == [1, 25, 50, None]

    def test_a_rewrite_replaces_records_appends_others_and_swaps_the_root(self, store: Storage, other: Storage) -> None:
        store.append(records(*range(1, 6)), expected_t=0)
        store.swap_root(b"before", expected_version=0)
        changed = [Record(2, txid(2), b""), Record(4, txid(4), long := b"longer than it was" * 1000)]
        with store.turn():
            root = store.rewrite(changed, appended=records(6, 7), expected_t=5, root=b"after", expected_version=1)
        assert root == other.read_root() == Root(2, b"after")
        assert [record.body for record in other.read_log(0)] == [
            b"body 1",
            b"",
            b"body 3",
            long,
            b"body 5",
            b"body 6",
            b"body 7",
        ]
        assert [other.resolve(txid(n)) for n in (2, 4, 7)] == [2, 4, 7]
        assert other.append(records(8), expected_t=7) == 8

    @pytest.mark.parametrize(
        "stranger",
        [Record(2, txid(9), b"x"), Record(0, txid(1), b"x"), Record(6, txid(6), b"x"), Record(-1, txid(5), b"x")],
    )
    def test_a_record_that_is_not_there_is_not_rewritten_nor_any_with_it(
        self, store: Storage, stranger: Record
    ) -> None:
        store.append(records(*range(1, 6)), expected_t=0)
        self.refuse_to_rewrite(store, [Record(1, txid(1), b"new"), stranger], 5, 0)

    @pytest.mark.parametrize(
        ("t", "version", "named"), [(4, 1, "head"), (6, 1, "head"), (5, 0, "version"), (5, 2, "version")]
    )
    def test_a_rewrite_of_another_log_or_root_changes_nothing(
        self, store: Storage, t: int, version: int, named: str
    ) -> None:
        store.append(records(*range(1, 6)), expected_t=0)
        store.swap_root(b"root", expected_version=0)
        refused = self.refuse_to_rewrite(store, [Record(1, txid(1), b"new")], t, version)
        assert getattr(refused, named) == {"head": 5, "version": 1}[named]

    def refuse_to_rewrite(
        self, store: Storage, changed: list[Record], expected_t: int, expected_version: int
    ) -> Conflict:
        before = (store.read_log(0), store.read_root(), store.resolve(txid(7)))
        with pytest.raises(Conflict) as refused:
            store.rewrite(
                changed, appended=records(7), expected_t=expected_t, root=b"new", expected_version=expected_version
            )
        assert (store.read_log(0), store.read_root(), store.resolve(txid(7))) == before
        return refused.value

    def test_nobody_ever_reads_half_of_a_rewriting(self, store: Storage, other: Storage) -> None:
        store.append([(txid(n), b"0") for n in range(1, 51)], expected_t=0)
        over = Event()

        def rewrite() -> None:
            try:
                for i in range(20):
                    changed = [Record(n, txid(n), b"%d" % i) for n in range(1, 51)]
                    store.rewrite(
                        changed,
                        appended=[(txid(51 + i), b"%d" % i)],
                        expected_t=50 + i,
                        root=b"%d" % i,
                        expected_version=i,
                    )
            finally:
                over.set()

        def read() -> None:
            while not over.is_set():
                before, log, after = other.read_root(), other.read_log(0), other.read_root()
                assert len({record.body for record in log[:50]}) == 1
                if before == after:
                    assert (len(log) - 50, log[0].body) == ((before.version, before.body) if before else (0, b"0"))

        together(rewrite, read)

    def test_wait_returns_at_once_when_the_head_is_beyond(self, store: Storage) -> None:
        store.append(records(1, 2), expected_t=0)
        assert store.wait(0, LONG) == 2

    def test_wait_returns_the_head_when_nothing_comes(self, store: Storage) -> None:
        store.append(records(1), expected_t=0)
        assert store.wait(1, 0.01) == 1

    def test_wait_is_ended_by_an_append_or_a_rewrite_through_another_handle(
        self, store: Storage, other: Storage
    ) -> None:
        answers: list[int] = []
        waiters = [Thread(target=lambda t=t: answers.append(store.wait(t, 10 * LONG)), daemon=True) for t in (0, 1)]
        for waiter in waiters:
            waiter.start()
        other.append(records(1), expected_t=0)
        waiters[0].join(LONG)
        other.rewrite([], appended=records(2), expected_t=1, root=b"root", expected_version=0)
        waiters[1].join(LONG)
        assert answers == [1, 2]

    def test_threads_that_append_by_compare_and_swap_neither_lose_nor_double(
        self, store: Storage, other: Storage
    ) -> None:
        acknowledged: dict[int, bytes] = {}

        def run(storage: Storage, base: int) -> None:
            for n in range(base, base + 50):
                acknowledged[append_somehow(storage, txid(n))] = txid(n)

        together(
            *(
                lambda storage=storage, base=base: run(storage, base)
                for storage, base in ((store, 0), (other, 100), (store, 200))
            )
        )
        assert {record.t: record.txid for record in store.read_log(0)} == acknowledged
        assert len(acknowledged) == 150

    def test_whoever_has_the_turn_appends_without_ever_losing_a_race(self, store: Storage, other: Storage) -> None:
        tried, over = Event(), Event()

        def race() -> None:
            for n in count(1000):
                if over.is_set():
                    break
                tried.set()
                append_somehow(other, txid(n))

        def have_turns() -> None:
            try:
                for n in range(0, 30, 3):
                    with store.turn(), store.turn():
                        head = store.head()
                        for i in range(3):
                            assert store.append(records(n + i), expected_t=head + i) == head + i + 1
                            tried.clear()
                            tried.wait(0.01)  # the other one's chance to do what it must not
                    assert tried.wait(LONG)
            finally:
                over.set()

        together(race, have_turns)
        found = [record.txid for record in store.read_log(0)]
        assert [store.resolve(txid(n)) is not None for n in range(30)] == [True] * 30
        assert len(found) == len(set(found)) == store.head()
