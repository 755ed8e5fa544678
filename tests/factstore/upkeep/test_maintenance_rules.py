"""The rules by which indexes are published, copied and collected while others do the same; `tests/machines` has all interleavings."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from threading import Event, Thread

import pytest
from click.testing import CliRunner

import factstore
from factstore import dumps, log, maintain
from factstore.cli import main
from factstore.columns.packing import pack, unpack
from factstore.commit import indexing
from factstore.index.build import Built
from factstore.index.cache import Cache
from factstore.index.directory import UNKNOWN, Blocks, Index
from factstore.storage import open_storage

SCHEMA = [
    {
        ":db/ident": ":m/name",
        ":db/valueType": ":db.type/string",
        ":db/cardinality": ":db.cardinality/one",
        ":db/unique": ":db.unique/identity",
    },
]
SECRET = [":m/name", "secret"]


@pytest.fixture
def path(tmp_path):
    path = str(tmp_path / "rules.facts")
    with factstore.connect(path, sync="none") as conn:
        conn.transact(SCHEMA)
        conn.transact([{":m/name": "ann"}, {":m/name": "secret"}])
        conn._committer.index()
        conn.transact([{":m/name": "ben"}])
    return path


@pytest.fixture
def conn(path):
    with factstore.connect(path, sync="none") as conn:
        yield conn


@pytest.fixture
def target(tmp_path):
    with closing(open_storage(str(tmp_path / "copy.facts"), sync="none")) as target:
        yield target


def names(db):
    return {d.v for d in db.datoms("aevt", ":m/name")}


def newest(storage):
    return indexing.newest_root(storage)


def says(storage, text):
    """Whether the log says a text, or the records that the newest index was built from."""
    return any(text == fact[2] for made in log.read(storage, 0) for fact in made.all_facts())


def before(monkeypatch, owner, name, action):
    """Do something once, right before a function of a module or a class is called for the first time."""
    real, waiting = getattr(owner, name), [action]

    def called(*args, **options):
        if waiting:
            waiting.pop()()
        return real(*args, **options)

    monkeypatch.setattr(owner, name, called)


# -- publishing


def test_an_index_of_less_of_the_log_is_not_published(conn):
    old = newest(conn._storage)
    conn._committer.index()
    known = newest(conn._storage)
    assert old.rank < known.rank
    assert indexing.publish(conn._storage, Built(old, frozenset()), over=known) is None
    assert known.version == conn._storage.read_root().version


def test_an_index_built_before_an_excision_is_not_published_after_it(conn):
    old = newest(conn._storage)
    conn.excise(SECRET)
    known = newest(conn._storage)
    newer = replace(old, basis_t=known.basis_t + 1)
    assert indexing.publish(conn._storage, Built(newer, frozenset()), over=known) is None
    assert indexing.publish(conn._storage, Built(newer, frozenset()), over=old) is None
    assert known.version == conn._storage.read_root().version


def test_reindexing_keeps_what_others_commit_and_index_meanwhile(conn, path, monkeypatch):
    with factstore.connect(path, sync="none") as other:

        def meanwhile():
            conn.transact([{":m/name": "later"}])
            conn._committer.index()

        before(monkeypatch, indexing, "publish_of_log", meanwhile)
        assert conn.db().basis_t + 1 == maintain.reindex(other)
    assert {"ann", "ben", "later", "secret"} == names(conn.db())
    assert conn.db().basis_t == newest(conn._storage).basis_t
    assert [] == maintain.check(conn).problems


def test_reindexing_starts_again_when_facts_are_excised_meanwhile(conn, path, monkeypatch):
    with factstore.connect(path, sync="none") as other:
        before(monkeypatch, indexing, "publish_of_log", lambda: conn.excise(SECRET))
        maintain.reindex(other)
        assert {"ann", "ben"} == names(other.db())
        assert [] == maintain.check(other).problems
    assert newest(conn._storage).excised_t == conn.db().basis_t


def test_indexing_on_demand_that_loses_to_another_is_done_again(conn, path, monkeypatch):
    with factstore.connect(path, sync="none") as other:
        other.transact([{":m/name": "later"}])

        def meanwhile():
            conn._committer._indexing.index_now()

        before(monkeypatch, indexing, "publish", meanwhile)
        other._committer.index()
        assert other.db().basis_t == other.db().view.index.basis_t


def test_a_connection_goes_on_from_the_index_that_it_rebuilt(conn):
    before = conn.db().view.index.version
    t = maintain.reindex(conn)
    assert t == conn.db().view.index.basis_t
    assert (conn.db().view.index.version > before) is True


def test_a_builder_that_does_not_get_done_is_not_waited_for_forever(conn, path, monkeypatch):
    with factstore.connect(path, sync="none") as other, indexing.under_way(other._storage):
        assert not conn._committer._indexing._may_build(conn._committer.newest, wait=False)
        monkeypatch.setattr(indexing, "PATIENCE", 1)
        assert conn._committer._indexing._may_build(conn._committer.newest, wait=False)


def test_an_index_of_more_than_the_log_has_gives_way_to_one_of_the_log(conn):
    storage = conn._storage
    root = storage.read_root()
    known = Index(Blocks(storage, Cache(0))).decode(root.body, root.version)
    storage.swap_root(replace(known, basis_t=99).encode(), expected_version=root.version)
    assert storage.head() == maintain.rebuild(storage)
    assert storage.head() == newest(storage).basis_t
    assert 0 == newest(storage).excised_t


# -- collecting


def test_collection_deletes_nothing_while_an_index_is_being_built_and_the_command_says_so(conn, path):
    garbage = (b"0" * 16, b"a block that no root names")
    conn._storage.put_blocks([garbage])
    with indexing.under_way(conn._storage):
        assert 0 == maintain.collect(conn)
        result = CliRunner().invoke(main, ["gc", "-s", path])
        assert 0 == result.exit_code
        assert ("is building an index" in result.output) is True
        assert garbage[0] in set(conn._storage.block_ids())
    assert 1 == maintain.collect(conn)
    assert garbage[0] not in set(conn._storage.block_ids())


def test_a_builder_does_not_begin_while_blocks_are_being_collected(conn):
    began, collecting = Event(), Event()

    def build():
        collecting.wait()
        with indexing.under_way(conn._storage):
            began.set()

    builder = Thread(target=build)
    builder.start()
    with conn._storage.turn():
        collecting.set()
        assert not began.wait(0.05)
        assert indexing.UNDER_WAY not in conn._storage.held()
    builder.join()
    assert began.is_set()


# -- copies


def test_a_copy_does_not_replace_an_index_of_its_target_with_more_in_it(conn, target, tmp_path):
    maintain.copy(conn._storage, target)
    with factstore.connect(str(tmp_path / "copy.facts"), sync="none") as copy:
        copy._committer.index()
        known = newest(target)
        maintain.copy(conn._storage, target)
        assert known.version == newest(target).version
        assert known.rank == newest(target).rank
        assert [] == maintain.check(copy).problems


@pytest.mark.parametrize("step", ["_excise_copy", "_copy_log", "_copy_index"])
@pytest.mark.parametrize("is_first", [True, False])
def test_facts_that_are_excised_during_a_backup_are_not_in_it(conn, target, tmp_path, monkeypatch, step, is_first):
    if not is_first:
        maintain.copy(conn._storage, target)
        conn.transact([{":m/name": "later"}])
    before(monkeypatch, maintain, step, lambda: conn.excise(SECRET))
    maintain.copy(conn._storage, target)
    assert not says(target, "secret")
    with factstore.connect(str(tmp_path / "copy.facts"), sync="none") as copy:
        assert [] == maintain.check(copy).problems
        assert names(conn.db()) == names(copy.db())
        assert newest(conn._storage).excised_t == newest(target).excised_t


@pytest.mark.parametrize("t", [2, 3])
def test_facts_that_are_excised_while_a_store_is_restored_are_not_in_it(conn, target, tmp_path, monkeypatch, t):
    before(monkeypatch, indexing, "is_same_log", lambda: conn.excise(SECRET))
    assert t == maintain.restore_to(conn._storage, target, t)
    assert not says(target, "secret")
    with factstore.connect(str(tmp_path / "copy.facts"), sync="none") as copy:
        assert [] == maintain.check(copy).problems
        assert {"ann", "ben"} - ({"ben"} if t == 2 else set()) == names(copy.db())


def test_a_restored_store_goes_on_with_excisions_of_its_own(conn, target, tmp_path, monkeypatch):
    before(monkeypatch, indexing, "is_same_log", lambda: conn.excise(SECRET))
    maintain.restore_to(conn._storage, target, 3)
    assert newest(target).excised_t <= target.head()
    with factstore.connect(str(tmp_path / "copy.facts"), sync="none") as copy, factstore.connect(copy.uri, sync="none") as other:
        assert copy.excise([":m/name", "ben"]).t == newest(target).excised_t
        assert {"ann"} == names(other.db())


def test_a_backup_that_was_killed_in_the_middle_of_an_excision_loses_the_facts_at_its_next_run(conn, target, monkeypatch):
    maintain.copy(conn._storage, target)
    conn.transact([{":m/name": "later"}])
    conn.excise(SECRET)

    def die(*_):
        raise KeyboardInterrupt

    for step in ("_excise_copy", "_copy_log", "_copy_index"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(maintain, step, die)
            maintain.copy(conn._storage, target)
    maintain.copy(conn._storage, target)
    assert not says(target, "secret")
    assert newest(conn._storage).rank == newest(target).rank


def test_a_reader_of_a_backup_sees_one_log_while_an_excision_comes_to_it(conn, target, tmp_path, monkeypatch):
    maintain.copy(conn._storage, target)
    conn.excise(SECRET)
    with factstore.connect(str(tmp_path / "copy.facts"), sync="none") as reader:
        kept = reader.db()
        seen = []
        before(monkeypatch, maintain, "_copy_index", lambda: seen.append(names(reader.db())))
        maintain.copy(conn._storage, target)
        assert [{"ann", "ben"}] == seen  # from the log alone, for the index of before has the facts
        assert {"ann", "ben"} == names(reader.db())
        assert {"ann", "ben", "secret"} == names(kept)


def test_a_dump_that_is_written_during_an_excision_is_written_again(conn, tmp_path, monkeypatch):
    before(monkeypatch, dumps, "is_same_log", lambda: conn.excise(SECRET))
    dumps.dump(conn, tmp_path / "all.edn")
    assert "secret" not in (tmp_path / "all.edn").read_text()
    assert dumps.verify(tmp_path / "all.edn").transactions == conn.db().basis_t - 1


# -- stores of earlier versions


def test_a_root_that_does_not_tell_its_excisions_is_taken_for_older_than_any(conn, target):
    storage = conn._storage
    maintain.copy(storage, target)
    root = storage.read_root()
    *older, _excised, _checksum = unpack(root.body)
    reader = Index(Blocks(storage, Cache(0)))
    assert UNKNOWN == reader.decode(pack(older), 1).excised_t
    storage.swap_root(pack(older), expected_version=root.version)
    assert root.version + 1 == newest(storage).version
    assert UNKNOWN == newest(storage).excised_t
    conn.excise(SECRET)
    maintain.copy(storage, target)
    assert not says(target, "secret")
