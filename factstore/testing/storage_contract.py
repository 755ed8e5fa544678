"""The contract of a storage, as tests: subclass `StorageContract`, say where a store may be made, and run pytest.

    class TestMyStorage(StorageContract):
        @pytest.fixture
        def fresh_uri(self, tmp_path):
            return lambda: f"mine:{tmp_path / uuid4().hex}"

Every guarantee in the prose of `factstore.storage.protocol` is a test here; an engine that passes may stand below
everything else. What only some engines can promise (files, forks, full disks) is tested beside that engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import count
from threading import Event, Thread
from typing import Any, Protocol, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factstore.errors import Closed, Conflict, Corrupt, NotAStore, ReadOnly
from factstore.storage import Record, Root, Storage, open_storage

LONG = 30.0  # seconds; a limit for what happens at once, so that a defect fails instead of hanging


class OpenStore(Protocol):
    """Open a handle on the store at a uri, to be closed when the test is over."""

    def __call__(self, uri: str, **options: Any) -> Storage: ...


FreshUri: TypeAlias = Callable[[], str]


def txid(n: int) -> bytes:
    """Return a txid for a number."""
    return n.to_bytes(16, "big")


def records(*numbers: int) -> list[tuple[bytes, bytes]]:
    """Return records to append, one for each number."""
    return [(txid(n), b"body %d" % n) for n in numbers]


VERBS = st.one_of(
    st.tuples(st.just("append"), st.lists(st.binary(max_size=40), max_size=3), st.integers(-1, 1)),
    st.tuples(st.just("put"), st.dictionaries(st.sampled_from([b"a", b"b", b"c", b"d"]), st.binary(max_size=40))),
    st.tuples(st.just("delete"), st.lists(st.sampled_from([b"a", b"b", b"c", b"d"]), unique=True)),
    st.tuples(st.just("swap"), st.binary(max_size=40), st.integers(-1, 1)),
    st.tuples(st.just("reopen")),
)


class Model:
    """What a storage does, by a list and two dicts."""

    def __init__(self) -> None:
        self.log: list[tuple[bytes, bytes]] = []
        self.blocks: dict[bytes, bytes] = {}
        self.roots: list[bytes] = []
        self.ids = count()

    def append(self, storage: Storage, bodies: list[bytes], off: int) -> None:
        new = [(txid(next(self.ids)), body) for body in bodies]
        if off:
            with pytest.raises(Conflict) as refused:
                storage.append(new, expected_t=len(self.log) + off)
            assert refused.value.head == len(self.log)
        else:
            self.log += new
            assert storage.append(new, expected_t=len(self.log) - len(new)) == len(self.log)

    def put(self, storage: Storage, blocks: dict[bytes, bytes]) -> None:
        storage.put_blocks(blocks.items())
        self.blocks = blocks | self.blocks

    def delete(self, storage: Storage, ids: list[bytes]) -> None:
        assert storage.delete_blocks(ids) == sum(self.blocks.pop(block_id, None) is not None for block_id in ids)

    def swap(self, storage: Storage, body: bytes, off: int) -> None:
        if off:
            with pytest.raises(Conflict) as refused:
                storage.swap_root(body, expected_version=len(self.roots) + off)
            assert refused.value.version == len(self.roots)
        else:
            self.roots.append(body)
            assert storage.swap_root(body, expected_version=len(self.roots) - 1) == Root(len(self.roots), body)

    def agree(self, storage: Storage) -> None:
        assert storage.head() == len(self.log)
        assert storage.read_log(0) == [Record(t, *record) for t, record in enumerate(self.log, 1)]
        assert [storage.resolve(name) for name, _ in self.log] == list(range(1, len(self.log) + 1))
        assert storage.get_blocks(sorted(storage.block_ids())) == self.blocks
        assert storage.read_root() == (Root(len(self.roots), self.roots[-1]) if self.roots else None)


class StorageContract:
    """What every storage does. `fresh_uri` returns a callable that names a place where no store is yet."""

    @pytest.fixture
    def fresh_uri(self) -> FreshUri:
        raise NotImplementedError("a subclass says where a store may be made")

    @pytest.fixture
    def open_store(self) -> Iterator[OpenStore]:
        with ExitStack() as handles:

            def open_it(uri: str, **options: Any) -> Storage:
                return handles.enter_context(closing(open_storage(uri, **({"sync": "none"} | options))))

            yield open_it

    @pytest.fixture
    def pair(self, open_store: OpenStore, fresh_uri: FreshUri) -> tuple[Storage, Storage]:
        """Two handles on one store."""
        uri = fresh_uri()
        return open_store(uri), open_store(uri)

    @pytest.fixture
    def store(self, pair: tuple[Storage, Storage]) -> Storage:
        return pair[0]

    @pytest.fixture
    def other(self, pair: tuple[Storage, Storage]) -> Storage:
        return pair[1]

    # in general

    def test_a_storage_offers_the_protocol(self, store: Storage) -> None:
        assert isinstance(store, Storage)

    def test_a_new_store_is_empty(self, store: Storage) -> None:
        assert store.head() == 0
        assert store.read_log(0) == []
        assert store.read_root() is None
        assert list(store.block_ids()) == []
        assert store.held() == set()

    def test_any_sequence_of_verbs_agrees_with_a_list_and_two_dicts(self, fresh_uri: FreshUri) -> None:
        @settings(max_examples=60, deadline=None)
        @given(verbs=st.lists(VERBS, max_size=12))
        def agree(verbs: list[tuple[Any, ...]]) -> None:
            uri, model = fresh_uri(), Model()
            with closing(open_storage(uri, sync="none")) as observer, ExitStack() as handles:
                storage = handles.enter_context(closing(open_storage(uri, sync="none")))
                for verb, *arguments in verbs:
                    if verb == "reopen":
                        storage.close()
                        storage = handles.enter_context(closing(open_storage(uri, sync="none")))
                    else:
                        getattr(model, verb)(storage, *arguments)
                    model.agree(observer)

        agree()

    def test_a_closed_storage_says_so_and_closes_again_without_complaint(self, store: Storage) -> None:
        store.close()
        store.close()
        for verb in (
            store.head,
            store.sync,
            store.usage,
            store.held,
            store.read_root,
            lambda: store.append([], expected_t=0),
        ):
            with pytest.raises(Closed) as refused:
                verb()
            assert refused.value.code == ":db.error/storage-closed"
            assert store.description in refused.value.message

    def test_a_handle_that_is_closed_leaves_the_others_open(self, store: Storage, other: Storage) -> None:
        store.append(records(1), expected_t=0)
        store.close()
        assert other.head() == 1

    def test_reading_only_refuses_every_write_and_sees_those_of_others(
        self, open_store: OpenStore, fresh_uri: FreshUri
    ) -> None:
        uri = fresh_uri()
        writer = open_store(uri)
        reader = open_store(uri, read_only=True)
        writes: list[Callable[[], object]] = [
            lambda: reader.append(records(1), expected_t=0),
            lambda: reader.put_blocks([(b"a", b"1")]),
            lambda: reader.delete_blocks([b"a"]),
            lambda: reader.swap_root(b"root", expected_version=0),
            lambda: reader.rewrite([], appended=records(1), expected_t=0, root=b"root", expected_version=0),
            lambda: reader.turn(),
        ]
        for write in writes:
            with pytest.raises(ReadOnly) as refused:
                write()
            assert refused.value.code == ":db.error/read-only"
        assert reader.read_only
        assert not writer.read_only
        assert (writer.head(), writer.read_root(), list(writer.block_ids())) == (0, None, [])
        writer.append(records(1), expected_t=0)
        assert reader.head() == 1

    @pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}])
    def test_a_store_that_is_not_there_is_not_made_unless_asked_for(
        self, fresh_uri: FreshUri, options: dict[str, Any]
    ) -> None:
        uri = fresh_uri()
        for _ in range(2):
            with pytest.raises(NotAStore):
                open_storage(uri, **options)

    # the log

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

    # blocks

    def test_blocks_are_found_by_id_by_everybody(self, store: Storage, other: Storage) -> None:
        store.put_blocks((b"id %d" % n, bytes([n]) * n) for n in range(5))
        assert other.get_blocks([b"id 0", b"id 3"]) == {b"id 0": b"", b"id 3": b"\3\3\3"}
        assert other.get_blocks([]) == {}
        assert sorted(other.block_ids()) == [b"id 0", b"id 1", b"id 2", b"id 3", b"id 4"]

    def test_a_missing_block_is_an_error_that_names_it(self, store: Storage) -> None:
        store.put_blocks([(b"a", b"1")])
        with pytest.raises(Corrupt) as refused:
            store.get_blocks([b"a", b"nowhere"])
        assert refused.value.ids == [b"nowhere".hex()]
        assert b"nowhere".hex() in refused.value.message

    def test_a_block_never_changes(self, store: Storage) -> None:
        store.put_blocks([(b"a", b"first")])
        store.put_blocks([(b"a", b"second")])
        assert store.get_blocks([b"a"]) == {b"a": b"first"}

    def test_deleting_says_how_many_there_were(self, store: Storage) -> None:
        store.put_blocks([(b"a", b"1"), (b"b", b"2")])
        assert store.delete_blocks([b"a", b"unknown"]) == 1
        assert list(store.block_ids()) == [b"b"]

    def test_many_blocks_may_be_deleted_while_their_ids_are_read(self, store: Storage) -> None:
        ids = [n.to_bytes(4, "big") for n in range(25_000)]
        store.put_blocks((block_id, b"x") for block_id in ids)
        seen = []
        for block_id in store.block_ids():
            seen.append(block_id)
            if len(seen) % 5000 == 0:
                store.delete_blocks(seen[-5000:])
        assert sorted(seen) == ids
        assert list(store.block_ids()) == []

    def test_reading_blocks_while_putting_some_is_no_dead_lock(self, store: Storage) -> None:
        store.put_blocks([(b"a", b"1")])
        store.put_blocks((b"copy %d" % n, store.get_blocks([b"a"])[b"a"]) for n in range(3))
        assert store.get_blocks([b"copy 2"]) == {b"copy 2": b"1"}

    # the root

    def test_of_two_swaps_from_one_version_the_second_is_refused(self, store: Storage, other: Storage) -> None:
        assert store.swap_root(b"one", expected_version=0) == Root(1, b"one")
        with pytest.raises(Conflict) as refused:
            other.swap_root(b"uno", expected_version=0)
        assert refused.value.version == 1
        assert other.read_root() == Root(1, b"one")
        assert other.swap_root(b"two", expected_version=1) == Root(2, b"two")
        assert store.read_root() == Root(2, b"two")

    def test_a_held_version_is_seen_by_everybody_and_stays_readable_until_released(
        self, store: Storage, other: Storage
    ) -> None:
        store.swap_root(b"1", expected_version=0)
        hold, again = store.hold(1), store.hold(1)
        for version in range(1, 5):
            store.swap_root(b"%d" % (version + 1), expected_version=version)
        assert other.held() == {1}
        assert [other.read_root(version) for version in (1, 2, 3)] == [Root(1, b"1"), None, None]
        hold.release()
        hold.release()
        assert other.held() == {1}
        with again:
            assert again.version == 1
        assert other.held() == set()
        store.swap_root(b"6", expected_version=5)
        assert other.read_root(1) is None

    def test_a_version_that_was_overtaken_is_not_held_unless_it_is_already(self, store: Storage) -> None:
        store.swap_root(b"1", expected_version=0)
        store.swap_root(b"2", expected_version=1)
        with pytest.raises(Conflict) as refused:
            store.hold(1)
        assert refused.value.version == 2
        with store.hold(2):
            store.swap_root(b"3", expected_version=2)
            with store.hold(2):
                assert store.held() == {2}

    def test_version_0_is_a_sign_that_is_always_granted(self, store: Storage) -> None:
        with store.hold(0):
            assert store.held() == {0}
            store.swap_root(b"1", expected_version=0)
        with store.hold(0), store.hold(1):
            assert store.held() == {0, 1}
        assert store.held() == set()

    # housekeeping

    def test_usage_counts_what_there_is(self, store: Storage) -> None:
        store.append(records(1, 2), expected_t=0)
        store.put_blocks([(b"a", bytes(100_000))])
        usage = store.usage()
        assert (usage["records"], usage["blocks"]) == (2, 1)
        assert usage["bytes"] >= 100_000

    def test_what_was_written_without_sync_can_be_made_durable(self, store: Storage) -> None:
        store.append(records(1), expected_t=0)
        store.sync()
        assert store.head() == 1


def append_somehow(storage: Storage, name: bytes) -> int:
    """Append a record, after whatever others append; return its t."""
    head = storage.head()
    while True:
        try:
            return storage.append([(name, b"")], expected_t=head)
        except Conflict as conflict:
            head = conflict.head


def together(*jobs: Callable[[], None]) -> None:
    """Run jobs in threads of their own; raise what the first of them raised."""
    errors: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=guarded, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * LONG)
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in threads)
