"""Blocks as objects of a real server of S3: the same contract, and no object is lost track of, however a process ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import factstore
from factstore import maintain
from factstore.errors import Corrupt, StorageError, Unavailable
from factstore.storage import new_store, open_storage
from factstore.storage.postgres import objects as module
from factstore.storage.postgres.engine import PostgresStorage
from factstore.testing.storage_contract import FreshUri, StorageContract
from tests import s3
from tests.postgres import Server

SCHEMA = [
    {":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"},
    {":db/ident": ":name", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"},
]
FOLDER = f"s3://{s3.BUCKET}/tests"
MORE = f"&host_cache=0&blocks={FOLDER}"


@pytest.fixture(scope="module")
def bucket() -> Iterator[s3.Bucket]:
    with s3.running() as started, pytest.MonkeyPatch.context() as patch:
        for name, value in started.environment.items():
            patch.setenv(name, value)
        yield started


@pytest.fixture
def own_uri(server: Server, bucket: s3.Bucket) -> str:
    return server.uri(more=MORE)


@pytest.fixture
def store(own_uri: str) -> Iterator[PostgresStorage]:
    with closing(opened(own_uri)) as storage:
        yield storage


def opened(uri: str, **options: Any) -> PostgresStorage:
    storage = open_storage(uri, **options)
    assert isinstance(storage, PostgresStorage)
    return storage


def objects_of(store: PostgresStorage) -> set[str]:
    """Return the places of all objects of a store."""
    library = module.import_module("obstore")
    prefix = f"tests/{store._names['store'].hex}/"
    bucket = store._blocks._objects._bucket(s3.BUCKET)
    return {f"s3://{s3.BUCKET}/{meta['path']}" for page in library.list(bucket, prefix) for meta in page}


def places_of(store: PostgresStorage) -> set[str]:
    """Return the places that the blocks of a store refer to."""
    return {row[0] for row in store._rows("SELECT place FROM factstore.block WHERE store = %(store)s")}


class TestPostgresWithObjects(StorageContract):
    many_blocks = 2_500  # each of them is a request

    @pytest.fixture
    def fresh_uri(self, server: Server, bucket: s3.Bucket) -> FreshUri:
        return lambda: server.uri(more=MORE)


def test_bytes_are_in_the_bucket_and_places_in_the_database(server: Server, store: PostgresStorage) -> None:
    store.put_blocks([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")])
    assert store.get_blocks([b"a", b"b"]) == {b"a": b"1", b"b": b"2"}
    assert len(objects_of(store)) == 2
    assert objects_of(store) == places_of(store)
    mine = f"store = '{store._names['store']}'"
    assert server.sql(f"SELECT sum(length(body)) FROM factstore.block WHERE {mine}").strip() == "0"
    assert store.delete_blocks([b"a"]) == 1
    assert objects_of(store) == places_of(store)
    assert len(objects_of(store)) == 1


def test_a_reader_needs_no_folder_in_its_address_and_blocks_can_be_at_both_places(server: Server, bucket: s3.Bucket) -> None:
    name = uuid4().hex
    with closing(opened(server.uri(name, more=MORE))) as store, closing(opened(server.uri(name))) as other:
        store.put_blocks([(b"a", b"1")])
        other.put_blocks([(b"b", b"2"), (b"a", b"x")])
        both = {b"a": b"1", b"b": b"2"}
        assert other.get_blocks([b"a", b"b"]) == store.get_blocks([b"b", b"a"]) == both
        assert other.delete_blocks([b"a", b"b"]) == 2
        assert objects_of(store) == set()


def test_a_block_whose_object_is_gone_is_missing(store: PostgresStorage) -> None:
    store.put_blocks([(b"a", b"1"), (b"b", b"2")])
    store._blocks._objects.delete(place for place in places_of(store) if store._blocks._objects.get([place])[place] == b"1")
    with pytest.raises(Corrupt) as raised:
        store.get_blocks([b"a", b"b"])
    assert raised.value.ids == [b"a".hex()]


def test_jobs_of_the_layers_above_do_the_same(own_uri: str) -> None:
    with factstore.connect(own_uri) as conn:
        conn.transact(SCHEMA)
        conn.transact([{":n": n, ":name": f"name {n}"} for n in range(5_000)])
        maintain.reindex(conn)
        assert maintain.check(conn).ok
    with factstore.connect(own_uri) as conn:
        assert factstore.q("[:find (count ?e) . :where [?e :n]]", conn.db()) == 5_000
        e = factstore.q('[:find ?e . :where [?e :name "name 7"]]', conn.db())
        conn.excise(e)
        storage = conn._storage
        assert isinstance(storage, PostgresStorage)
        found = storage._blocks._objects.get(sorted(objects_of(storage)))
        assert found
        assert not any(b"name 7\0" in body or b"name 7name 70" in body for body in found.values())
        assert objects_of(storage) == places_of(storage)
        assert maintain.check(conn).ok


def test_objects_of_a_store_that_was_not_completed_are_deleted_by_another(server: Server, own_uri: str, store: PostgresStorage) -> None:
    making = new_store(server.uri(more=MORE))
    assert making is not None
    with pytest.raises(ZeroDivisionError), making as unfinished, closing(opened(unfinished)) as other:
        other.put_blocks([(b"a", b"1")])
        (place,) = places_of(other)
        raise ZeroDivisionError
    assert store._blocks._objects.get([place]) == {place: b"1"}
    store.delete_blocks([])
    assert store._blocks._objects.get([place]) == {}


def test_a_writer_that_was_stopped_for_an_hour_writes_its_objects_again(
    server: Server, store: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, calls = store._blocks._objects.put, []

    def late(batch: dict[str, bytes]) -> None:
        put(batch)
        calls.append(list(batch))
        if len(calls) == 1:
            server.sql(f"UPDATE factstore.loose SET since = now() - interval '2 hours' WHERE store = '{store._names['store']}'")
            with closing(opened(server.uri("another", more=MORE))) as other:
                other._names["store"] = store._names["store"]
                other._blocks.delete_loose()

    monkeypatch.setattr(store._blocks._objects, "put", late)
    store.put_blocks([(b"a", b"1")])
    assert len(calls) == 2
    assert store.get_blocks([b"a"]) == {b"a": b"1"}
    assert objects_of(store) == places_of(store) == set(calls[1])


class Killed(BaseException):
    """The end of a process, at a request."""


STEPS = st.lists(st.tuples(st.sampled_from(["put", "delete"]), st.sets(st.integers(0, 5), min_size=1), st.integers(0, 9)), max_size=8)


@given(steps=STEPS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_wherever_a_process_ends_each_block_has_its_object_and_the_rest_is_deleted_later(
    server: Server, bucket: s3.Bucket, steps: list[tuple[str, set[int], int]]
) -> None:
    with closing(opened(server.uri(more=MORE))) as store, pytest.MonkeyPatch.context() as patch:
        left = 0

        def counted(call: Any) -> Any:
            def counting(*arguments: Any, **named: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    raise Killed
                return call(*arguments, **named)

            return counting

        for target, verb in [
            (store._blocks, "_rows"),
            (store._blocks, "_execute"),
            (store._blocks._objects, "put"),
            (store._blocks._objects, "delete"),
        ]:
            patch.setattr(target, verb, counted(getattr(target, verb)))
        for step, numbers, left in steps:  # noqa: B007 # `counting` reads it
            names = [b"%d" % n for n in sorted(numbers)]
            try:
                if step == "put":
                    store.put_blocks([(name, name) for name in names])
                else:
                    store.delete_blocks(names)
            except Killed:
                pass
            with closing(opened(server.uri("another", more=MORE))) as other:
                other._names["store"] = store._names["store"]
                stored = list(other.block_ids())
                assert other.get_blocks(stored) == {name: name for name in stored}
        left = 1 << 30
        server.sql(f"UPDATE factstore.loose SET since = now() - interval '2 hours' WHERE store = '{store._names['store']}'")
        store.delete_blocks([])
        assert objects_of(store) == places_of(store)


@pytest.mark.parametrize("folder", ["bucket", "s3://", "s3://UPPER", "s3://bucket//x", "s3://b/x y", "http://bucket/x"])
def test_a_folder_that_is_none_is_refused(folder: str) -> None:
    with pytest.raises(StorageError) as raised:
        open_storage(f"postgresql://127.0.0.1:1/x?durability=local&blocks={folder}")
    assert raised.value.code == ":db.error/invalid-uri"
    assert "blocks is a folder such as s3://bucket/prefix" in raised.value.message


def test_a_bucket_that_does_not_exist_is_unavailable(server: Server, bucket: s3.Bucket) -> None:
    with pytest.raises(Unavailable) as raised:
        open_storage(server.uri(more="&blocks=s3://none-such/x"))
    assert raised.value.code == ":db.error/storage-unavailable"
    assert "check the bucket" in raised.value.message


def test_without_the_library_the_extra_is_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(module, "import_module", missing)
    with pytest.raises(StorageError) as raised:
        open_storage(server.uri(more=MORE))
    assert (raised.value.code, raised.value.extra) == (":db.error/missing-extra", "s3")


def test_a_server_of_objects_that_does_not_answer_is_unavailable(
    bucket: s3.Bucket, store: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_blocks([(b"a", b"1")])
    monkeypatch.setattr(module, "_OPTIONS", {"connect_timeout": "1s", "timeout": "1s"})
    monkeypatch.setattr(module, "_RETRIES", {"max_retries": 0})
    store._blocks._objects._buckets.clear()
    bucket.pause()
    try:
        for request in (lambda: store.get_blocks([b"a"]), lambda: store.put_blocks([(b"b", b"2")]), lambda: store.delete_blocks([b"a"])):
            with pytest.raises(Unavailable) as raised:
                request()
            assert "cannot be reached" in raised.value.message
    finally:
        bucket.resume()
    assert list(store.block_ids()) == []
    store.put_blocks([(b"b", b"2")])
    assert store.get_blocks([b"b"]) == {b"b": b"2"}
