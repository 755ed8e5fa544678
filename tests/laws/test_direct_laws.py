"""The law of the direct way: where it gives a result, the stages give the same; and no valid transaction is lost.

Every error comes from the stages, so `transact` raises what they raise: the same code, text and path.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice, permutations
from math import copysign, inf, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore import Connection, Keyword, TransactError
from factstore.datom import USER_BASE
from factstore.errors import FactStoreError
from factstore.registry import lookup
from factstore.transact import prepare, prepare_in_stages
from factstore.transact.direct import prepare_directly
from factstore.transact.direct.compiled import SHAPE_BYTES, compiled

LATER = 1 << 52  # microseconds: after every clock of this century

TYPES = {
    ":s/n": "long",
    ":s/x": "double",
    ":s/ok": "boolean",
    ":s/text": "string",
    ":s/at": "instant",
    ":s/id": "string",
    ":s/no": "long",
    ":s/when": "instant",
    ":s/real": "double",
    ":s/mail": "string",
    ":s/tags": "long",
    ":s/ref": "ref",
    ":s/part": "ref",
    ":s/refs": "ref",
    ":s/parts": "ref",
    ":s/one-of": "ref",
    ":s/word": "keyword",
    ":s/checked": "long",
    ":s/made": "long",
    ":s/kind": "long",
    ":s/state": "long",
}
UNIQUE = {
    **dict.fromkeys((":s/id", ":s/no", ":s/when", ":s/real", ":s/one-of"), ":db.unique/identity"),
    ":s/mail": ":db.unique/value",
}
MANY = (":s/tags", ":s/refs", ":s/parts")
SCHEMA: list[Any] = [
    {
        ":db/ident": name,
        ":db/valueType": f":db.type/{kind}",
        ":db/cardinality": f":db.cardinality/{'many' if name in MANY else 'one'}",
        **({":db/unique": UNIQUE[name]} if name in UNIQUE else {}),
        **({":db/isComponent": True} if name.startswith(":s/part") else {}),
        **({":db.attr/preds": ["laws/even?"]} if name == ":s/checked" else {}),
        **({":db.attr/preds": ["db/insert-only"]} if name == ":s/kind" else {}),
        **({":db.attr/preds": ["db/cas-only"]} if name == ":s/state" else {}),
    }
    for name, kind in TYPES.items()
]
MADE = {
    ":db/ident": ":s/pair",
    ":db/valueType": ":db.type/tuple",
    ":db/cardinality": ":db.cardinality/one",
    ":db/tupleAttrs": [":s/made", ":s/checked"],
}
RENAMED = {":s/n": ":s/number", ":s/id": ":s/key"}  # the old names go on, and one of them is given to another attribute
TAKEN_OVER = {":db/ident": ":s/n", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"}

NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)
STRINGS = st.sampled_from(["", "a", "b", "ä", "\0", "a\0", "\n", ":s/n", "e1", "x" * 5000, "\ud800", "😀"])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "long": st.sampled_from([0, 1, 2, -(1 << 63), (1 << 63) - 1, 1 << 63]),
    "double": st.sampled_from([0.0, -0.0, 1.0, inf, nan]),
    "boolean": st.booleans(),
    "string": STRINGS,
    "instant": st.sampled_from([NOON, NOON.astimezone(timezone(timedelta(hours=5))), NOON.replace(tzinfo=None), NOON + timedelta(days=1)]),
    "keyword": st.sampled_from([":red", Keyword(":blue")]),
}
ODD = st.sampled_from([None, True, 1, 1.0, "a", Keyword(":a"), [1], {}, [[]], ()])
NAMES = st.sampled_from(
    [*TYPES, *RENAMED.values(), ":s/pair", ":s/unknown", ":s/_ref", ":s/_parts", Keyword(":s/text"), 100, ":db/doc", ":db.tx/key"]
)
COMMON = st.sampled_from([":s/n", ":s/text", ":s/no", ":s/mail", ":s/tags", ":s/ref", ":s/part", ":s/refs", ":s/parts", ":s/state"])


class Id(int):
    """Stands for the entity with this number; the last one was never given out."""


WHO = st.integers(0, 5).map(Id)
TEMPIDS = st.sampled_from(["x", "y", "z", "", "ä", ":red", "datomic.tx", "datomicä", -1, -2])
FEW = st.sampled_from(["x", "y", -1])
LOOKUP = st.tuples(st.sampled_from([":s/no", ":s/id", ":s/mail", ":s/n"]), st.sampled_from([100, 101, 1, "a", "loaded 1 0"])).map(list)
SUBJECT = st.one_of(WHO, WHO, FEW, TEMPIDS, LOOKUP)


def value(name: Any) -> st.SearchStrategy[Any]:
    """Values of an attribute: mostly of the right type, in a collection if it has many."""
    kind = TYPES.get(name, "long")
    right = st.deferred(lambda: REF) if kind == "ref" else VALUES[kind]
    if name in MANY:
        right = st.one_of(right, st.lists(right, max_size=3), st.lists(right, max_size=2).map(tuple))
    return st.one_of(right, right, right, right, ODD)


PAIRS = st.one_of(COMMON, COMMON, NAMES).flatmap(lambda name: st.tuples(st.just(name), value(name)))
MAP = st.tuples(st.lists(PAIRS, max_size=4), st.none() | SUBJECT, st.booleans()).map(
    lambda x: {**({} if x[1] is None else {":db/id": x[1]}), **dict(x[0])} if x[2] else
    {**dict(x[0]), **({} if x[1] is None else {":db/id": x[1]})}
)  # fmt: skip
REF: st.SearchStrategy[Any] = st.one_of(SUBJECT, SUBJECT, st.sampled_from([":db/doc", Keyword(":s/no"), ":s/none"]), MAP)
ADD = st.tuples(SUBJECT, PAIRS).map(lambda x: [":db/add", x[0], *x[1]])
RETRACT = SUBJECT.map(lambda e: [":db/retractEntity", e])
REMOVE = st.tuples(SUBJECT, PAIRS, st.sampled_from(["all", "found", "given"])).map(
    lambda x: [":db/retract", x[0], x[1][0], *([] if x[2] == "all" else ["found"] if x[2] == "found" else [x[1][1]])]
)
OTHER = st.tuples(st.sampled_from([":db.fn/retractEntity", ":db/setExactly", ":db/ensure"]), WHO, PAIRS).map(lambda x: [x[0], x[1], *x[2]])
# A swap is tried with what is there, with nothing, and with anything.
SWAP = st.tuples(SUBJECT, PAIRS, st.sampled_from(["found", "found", "found", None, 1, "a"])).map(
    lambda x: [":db/cas", x[0], x[1][0], x[2], x[1][1]]
)
WRITES = st.lists(st.one_of(ADD, ADD, SWAP, REMOVE), min_size=1, max_size=4)
CALL = st.lists(st.one_of(ADD, SWAP, MAP), max_size=3).map(lambda forms: ["laws/as-told", *forms])
ANY = st.one_of(ADD, ADD, MAP, MAP, RETRACT, REMOVE, OTHER, SWAP, CALL)
FORMS = st.one_of(ADD.map(lambda form: [form]), RETRACT.map(lambda form: [form]), MAP.map(lambda form: [form]), st.lists(MAP, max_size=3),
                  WRITES, st.lists(ANY, max_size=4), st.lists(ANY, max_size=3))  # fmt: skip
STEPS = st.lists(st.one_of(FORMS, FORMS, FORMS, st.sampled_from(["index", "load", "rename"])), min_size=1, max_size=10)


class World:
    """A store whose entities come from transactions and loads and lie in novelty and in the index."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.ids: list[int] = []
        self.loads = 0
        conn.transact(SCHEMA)
        conn.transact([MADE])
        made = conn.transact([{":db/id": f"e{n}", ":s/no": 100 + n} for n in range(3)])
        self.ids = [made.tempids[f"e{n}"] for n in range(3)]
        self.load()

    def load(self) -> None:
        """Load two entities."""
        self.loads += 1
        texts = [f"loaded {self.loads} {n}" for n in range(2)]
        self.conn.load({"id": texts, "x": [0.0, 1.0]}, {"id": self.conn.db().ident(":s/id"), "x": ":s/x"})
        self.ids[3:] = [e for text in texts for e in [self.conn.db().entid([":s/key" if self.is_renamed else ":s/id", text])] if e]

    @property
    def is_renamed(self) -> bool:
        return self.conn.db().ident(":s/key") is not None

    def rename(self) -> None:
        """Rename attributes, and give one of the old names to a new one."""
        if not self.is_renamed:
            self.conn.transact([{":db/id": old, ":db/ident": new} for old, new in RENAMED.items()])
            self.conn.transact([TAKEN_OVER])

    def written(self, form: Any) -> Any:
        """A form with ids in the place of numbers, and what is there in the place of "found"."""
        if type(form) is list and form[:1] in ([":db/cas"], [":db/retract"]) and form[3:4] == ["found"]:
            e = self.written(form[1])
            return [form[0], e, form[2], self.found(e, form[2]), *self.written(form[4:])]
        if isinstance(form, dict):
            return {key: self.written(v) for key, v in form.items()}
        if type(form) in (list, tuple):
            return type(form)(self.written(part) for part in form)
        return self.id_of(form) if type(form) is Id else form

    def found(self, e: Any, name: Any) -> Any:
        """What an attribute of an entity has now, as users read it."""
        db = self.conn.db()
        if type(e) is not int or e < 0 or db.entid(name) is None:
            return None
        return next((datom.v for datom in db.datoms("eavt", e, name)), None)

    def id_of(self, n: int) -> int:
        return self.ids[n] if n < len(self.ids) else USER_BASE + self.conn.db().next_n


factstore.register("laws/as-told", lambda db, *forms: [list(form) for form in forms])


def exact(facts: Any) -> list[Any]:
    """Facts with what equality does not tell: types of values, and the sign of zero."""
    return [(e, a, type(v), v, copysign(1, v) if type(v) is float else None, t, added) for e, a, v, t, added in facts]


def outcome(act: Any) -> Any:
    """What a preparation gives, or the error that it raises, to be compared."""
    try:
        prepared = act()
    except FactStoreError as error:
        return type(error), error.to_dict()
    return exact(prepared.facts), list(prepared.tempids.items()), prepared.next_n, prepared.instant


@pytest.mark.parametrize("now", [1, LATER])
@given(steps=STEPS, since=st.none() | st.integers(0, 12))
@settings(max_examples=300)
def test_the_direct_way_gives_what_the_stages_give(now: int, steps: list[Any], since: int | None) -> None:
    with factstore.connect("memory:") as conn:
        world = World(conn)
        for step in steps:
            if step == "index":
                conn._committer.index()
            elif step in ("load", "rename"):
                getattr(world, step)()
            else:
                check_step(world, [world.written(form) for form in step], now, since)


def check_step(world: World, forms: list[Any], now: int, since: int | None) -> None:
    """Compare the ways for a snapshot, and for a database with speculation; then commit."""
    conn = world.conn
    before = conn._committer.newest
    point = None if since is None else min(since, before.t)
    speculative = factstore.with_(
        before.database, [[":db/add", world.ids[0], ":s/x", 2.0], [":db/add", world.ids[1], ":s/tags", 1]]
    ).db_after
    for source, db in ((before, before.database), (speculative, speculative)):
        whole = outcome(lambda db=db: prepare_in_stages(db, forms, now, if_unchanged_since=point))
        direct = prepare_directly(forms, source, now, lookup, point)
        if direct is not None:
            assert whole == outcome(lambda direct=direct: direct)
            assert db.schema.plus(direct.facts) is db.schema
        assert whole == outcome(lambda source=source: prepare(source, forms, now=now, if_unchanged_since=point))
    try:
        conn.transact(forms)
    except TransactError:
        assert direct is None or point is None


def at_ids(world: World, form: Any) -> Any:
    """A list form with an id in the place of its number, also within a call."""
    if type(form) is dict:
        return form
    if type(form[1]) is list:
        return [form[0], *(at_ids(world, told) for told in form[1:])]
    return [form[0], world.ids[form[1]] if type(form[1]) is int else form[1], *form[2:]]


RUN_KEYS = st.lists(
    st.sampled_from([":s/n", ":s/text", ":s/no", ":s/id", ":s/word", ":s/at", ":s/ok", ":s/mail", ":s/kind", ":s/state", ":db/id"]),
    min_size=1,
    unique=True,
)
RUNS = st.lists(st.tuples(RUN_KEYS, st.integers(1, 40), st.integers(0, 3), st.none() | ODD), max_size=4)


def run_of_maps(keys: list[str], count: int, clash: int, odd: Any) -> list[Any]:
    """Maps with the same keys; some have the identities of others, or of entities that exist, and one has an odd value."""
    own: dict[str, Any] = {":s/text": "a", ":s/ok": True, ":s/at": NOON}
    maps = []
    for i in range(count):
        n = 95 + i if clash == 1 else i // 2 if clash == 2 else 1000 + i
        values = {
            ":s/n": i,
            ":s/no": n,
            ":s/id": f"i{n}",
            ":s/word": (":red", ":blue")[i % 2],
            ":s/mail": f"m{n}",
            ":s/kind": i,
            ":s/state": i % 3,
            ":db/id": f"t{i}",
            **own,
        }
        maps.append({key: values[key] for key in keys})
    if odd is not None:
        maps[len(maps) // 2][keys[0]] = odd
    return maps


MENTIONS: list[Any] = [
    {":s/refs": ["t0", "t30"]},
    [":db/add", "t1", ":s/n", 1],
    [":db/add", "t1", ":s/n", 2],
    [":db/add", "t2", ":s/kind", 3],
    {":db/id": "t3", ":s/state": 0},
    {":db/id": "t4", ":s/no": 1004},
    [":db/add", "t5", ":s/no", 100],
    {":db/id": "t6", ":s/no": 7},
]


@given(runs=RUNS, is_indexed=st.booleans(), mentions=st.lists(st.sampled_from(MENTIONS), max_size=2), is_after=st.booleans())
def test_many_maps_together_give_what_the_stages_give(runs: list[Any], is_indexed: bool, mentions: list[Any], is_after: bool) -> None:
    with factstore.connect("memory:") as conn:
        world = World(conn)
        if is_indexed:
            conn._committer.index()
        lists = [[":db/add", world.ids[0], ":s/tags", n] for n in range(20)] + [[":db/add", world.ids[0], ":s/n", 1]]
        forms = [form for run in runs for form in [*run_of_maps(*run), *lists]]
        forms = [*forms, *mentions] if is_after else [*mentions, *forms]
        before = conn._committer.newest
        whole = outcome(lambda: prepare_in_stages(before.database, forms, LATER))
        direct = prepare_directly(forms, before, LATER)
        assert direct is None or whole == outcome(lambda: direct)
        assert whole == outcome(lambda: prepare(before, forms, now=LATER))


def test_many_lists_are_read_one_by_one() -> None:
    with factstore.connect("memory:") as conn:
        world = World(conn)
        forms: list[Any] = [[":db/add", world.ids[0], ":s/tags", n] for n in range(40)]
        assert prepare_directly(forms, conn._committer.newest, LATER) is not None
        with pytest.raises(TransactError):
            conn.transact([*forms, [":db/add", world.ids[0], ":s/tags", [[]]]])


def test_many_maps_together_are_direct() -> None:
    with factstore.connect("memory:") as conn:
        World(conn)
        forms = [*run_of_maps([":s/n", ":s/no", ":s/word"], 40, 3, None), *run_of_maps([":s/no"], 40, 1, None)]
        forms += [*run_of_maps([":db/id", ":s/id", ":s/kind", ":s/state"], 40, 0, None), [":db/add", "t37", ":s/text", "a"]]
        assert prepare_directly(forms, conn._committer.newest, LATER) is not None


@pytest.mark.parametrize(
    ("forms", "is_direct"),
    [
        ([[":db/add", 0, ":s/text", "new"]], True),
        ([[":db/add", 0, ":s/real", 1.5]], True),
        ([[":db/retractEntity", 0]], True),
        ([{":db/id": "x", ":s/no": 7, ":s/n": 1}, {":s/at": NOON}], True),
        ([{":s/no": 100, ":s/n": 1, ":s/tags": [1, 2], ":s/ref": [":s/no", 101]}], True),
        ([{":s/text": "a", ":s/parts": [{":s/n": 1}, {":s/n": 2, ":s/part": {":s/text": "b"}}]}], True),
        ([{":s/refs": ["x", "y"]}, [":db/add", "x", ":s/no", 100], {":db/id": "y", ":s/n": 1}], True),
        ([[":db/retract", 0, ":s/no", 100], [":db/add", 0, ":s/no", 7]], True),
        ([[":db/cas", 0, ":s/text", None, "new"], [":db/add", 1, ":s/text", "new"]], True),
        ([[":db/cas", 0, ":s/word", None, Keyword(":blue")], ["laws/as-told", [":db/add", 0, ":s/n", 1]]], True),
        ([{":db/id": "datomic.tx", ":s/text": "why", ":db.tx/key": "k"}], True),
        ([[":db/add", 0, ":s/n", "of another type"]], False),
        ([[":db/add", 0, ":s/n", 1], [":db/add", 0, ":s/n", 2]], False),
        ([[":db/add", 0, ":s/no", 101]], False),
        ([[":db/add", 0, ":s/checked", 2]], False),
    ],
)
def test_the_law_is_not_empty(forms: Any, is_direct: bool) -> None:
    with factstore.connect("memory:") as conn:
        world = World(conn)
        written = [at_ids(world, form) for form in forms]
        assert is_direct == (prepare_directly(written, conn._committer.newest, LATER) is not None)


def test_the_shapes_of_a_schema_are_bounded() -> None:
    with factstore.connect("memory:") as conn:
        World(conn)
        shapes = compiled(conn.db().schema)
        names = [name for name in TYPES if name not in (":s/checked", ":s/made", ":s/one-of")]
        for keys in islice(permutations(names, 6), 5_000):
            shapes.new_shape(keys)
        assert 0 < shapes.shapes.bytes <= SHAPE_BYTES
        assert len(shapes.shapes) < 5_000


KEYS = st.sets(st.integers(-50, 50), min_size=1, max_size=12)


@given(st.lists(st.tuples(KEYS, st.booleans()), min_size=1, max_size=6), st.sampled_from(["long", "string", "uuid"]))
def test_an_identity_names_one_entity_whatever_the_index_ends_with(batches: list[tuple[set[int], bool]], kind: str) -> None:
    """Batches of maps with identities before, within and beyond those in the index create an entity for each new one."""
    value = {"long": int, "string": "{:04}".format, "uuid": lambda n: uuid.UUID(int=n + 50)}[kind]
    with factstore.connect("memory:") as conn:
        unique = {":db/unique": ":db.unique/identity", ":db/cardinality": ":db.cardinality/one"}
        conn.transact([{":db/ident": ":key", ":db/valueType": f":db.type/{kind}", **unique}])
        ids: dict[int, int] = {}
        for keys, indexes in batches:
            tempids = conn.transact([{":db/id": f"t{key}", ":key": value(key)} for key in sorted(keys)]).tempids
            for key in keys:
                assert tempids[f"t{key}"] == ids.setdefault(key, tempids[f"t{key}"])
            if indexes:
                conn._committer.index()
        assert len(ids) == len(set(ids.values()))
        assert ids == {key: conn.db().entid([":key", value(key)]) for key in ids}
