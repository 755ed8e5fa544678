"""The contract of a storage as tests: subclass `StorageContract`, return uris of new stores, and run pytest.

    class TestMyStorage(StorageContract):
        @pytest.fixture
        def fresh_uri(self, tmp_path):
            return lambda: f"mine:{tmp_path / uuid4().hex}"

Every guarantee that `factstore.storage.protocol` describes is a test here, in `log_contract`, `block_contract` or
`root_contract`. An engine that passes can be used below everything else. Guarantees of only some engines (files, forks,
full disks) are tested beside the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any, Protocol, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factstore.errors import Closed, NotAStore, ReadOnly
from factstore.storage import Storage, open_storage
from factstore.testing.block_contract import BlockContract
from factstore.testing.log_contract import LogContract
from factstore.testing.root_contract import RootContract
from factstore.testing.storage_model import VERBS, Model, records


class OpenStore(Protocol):
    """Open a handle on the store of a uri; it is closed at the end of the test."""

    def __call__(self, uri: str, **options: Any) -> Storage: ...


FreshUri: TypeAlias = Callable[[], str]


class StorageContract(LogContract, BlockContract, RootContract):
    """The tests of every storage. `fresh_uri` returns a function that returns the uri of a new store."""

    @pytest.fixture
    def fresh_uri(self) -> FreshUri:
        raise NotImplementedError("a subclass returns the uri of a new store")

    @pytest.fixture
    def open_store(self) -> Iterator[OpenStore]:
        with ExitStack() as handles:

            def open_handle(uri: str, **options: Any) -> Storage:
                return handles.enter_context(closing(open_storage(uri, **({"sync": "none"} | options))))

            yield open_handle

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

    # maintenance

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
