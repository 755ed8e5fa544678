"""The law of the short cut: wherever it answers a transaction, it answers what the whole way would."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from math import copysign, inf, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore import Connection, Keyword, TransactError
from factstore.datom import USER_BASE
from factstore.transact import prepare
from factstore.transact.shortcut import prepare_simple

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
    ":s/word": "keyword",
    ":s/checked": "long",
    ":s/made": "long",
    ":s/kind": "long",
    ":s/state": "long",
}
UNIQUE = {**dict.fromkeys((":s/id", ":s/no", ":s/when", ":s/real"), ":db.unique/identity"), ":s/mail": ":db.unique/value"}
SCHEMA: list[Any] = [
    {
        ":db/ident": name,
        ":db/valueType": f":db.type/{kind}",
        ":db/cardinality": f":db.cardinality/{'many' if name == ':s/tags' else 'one'}",
        **({":db/unique": UNIQUE[name]} if name in UNIQUE else {}),
        **({":db/isComponent": True} if name == ":s/part" else {}),
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
    "ref": st.integers(0, 5),
    "keyword": st.sampled_from([":red", Keyword(":blue")]),
}
ODD = st.sampled_from([None, True, 1, 1.0, "a", Keyword(":a"), [1], {}])
NAMES = st.sampled_from([*TYPES, *RENAMED.values(), ":s/pair", ":s/unknown", ":s/_ref", Keyword(":s/text"), 100, ":db/doc"])
WHO = st.integers(0, 5)  # entities that are there, and one id that was never given out
TEMPIDS = st.sampled_from(["x", "y", "", "ä", ":red", "datomic.tx", "datomicä", -1])


def value(name: Any) -> st.SearchStrategy[Any]:
    right = VALUES[TYPES.get(name, "long")]
    return st.one_of(right, right, right, right, ODD)


PAIRS = NAMES.flatmap(lambda name: st.tuples(st.just(name), value(name)))
ADD = st.tuples(WHO, PAIRS).map(lambda x: [":db/add", x[0], *x[1]])
RETRACT = WHO.map(lambda e: [":db/retractEntity", e])
OTHER = st.tuples(st.sampled_from([":db/retract", ":db/cas", ":db.fn/retractEntity"]), WHO, PAIRS).map(lambda x: [x[0], x[1], *x[2]])
# A swap is tried with what is there, with nothing, and with anything.
SWAP = st.tuples(WHO, PAIRS, st.sampled_from(["found", "found", "found", None, 1, "a"])).map(
    lambda x: [":db/cas", x[0], x[1][0], x[2], x[1][1]]
)
WRITES = st.lists(st.one_of(ADD, ADD, SWAP), min_size=1, max_size=4)
CALL = WRITES.map(lambda forms: ["laws/as-told", *forms])
MAP = st.tuples(st.lists(PAIRS, max_size=4), st.none() | TEMPIDS | WHO).map(
    lambda x: {**({} if x[1] is None else {":db/id": x[1]}), **dict(x[0])}
)
FORMS = st.one_of(ADD.map(lambda form: [form]), ADD.map(lambda form: [form]), RETRACT.map(lambda form: [form]), st.lists(MAP, max_size=3),
                  WRITES, WRITES, st.lists(st.one_of(ADD, SWAP, CALL), min_size=1, max_size=4),
                  st.lists(st.one_of(ADD, RETRACT, OTHER, MAP, SWAP, CALL), max_size=3))  # fmt: skip
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
        """A form with ids in the place of numbers."""
        if isinstance(form, dict):
            return {key: self.id_of(v) if key in (":db/id", *REFS) else v for key, v in form.items()}
        op, e, *rest = form
        if op == "laws/as-told":
            return [op, *(self.written(told) for told in form[1:])]
        if op == ":db/cas" and len(form) == 5 and rest[1] == "found":
            return [op, self.id_of(e), rest[0], self.found(self.id_of(e), rest[0]), self.id_of(rest[2]) if rest[0] in REFS else rest[2]]
        return [op, self.id_of(e), *(self.id_of(v) if i and rest[0] in REFS else v for i, v in enumerate(rest))]

    def found(self, e: Any, name: Any) -> Any:
        """What an attribute of an entity has now, as users read it."""
        db = self.conn.db()
        if type(e) is not int or db.entid(name) is None:
            return None
        return next((datom.v for datom in db.datoms("eavt", e, name)), None)

    def id_of(self, n: Any) -> Any:
        if type(n) is not int or n < 0:
            return n
        return self.ids[n] if n < len(self.ids) else USER_BASE + self.conn.db().next_n


REFS = (":s/ref", ":s/part")
factstore.register("laws/as-told", lambda db, *forms: [list(form) for form in forms])


def exact(facts: Any) -> list[Any]:
    """Facts with what equality does not tell: types of values, and the sign of zero."""
    return [(e, a, type(v), v, copysign(1, v) if type(v) is float else None, t, added) for e, a, v, t, added in facts]


@pytest.mark.parametrize("now", [1, LATER])
@given(steps=STEPS)
@settings(max_examples=200)
def test_the_short_cut_answers_what_the_whole_way_does(now: int, steps: list[Any]) -> None:
    with factstore.connect("memory:") as conn:
        world = World(conn)
        for step in steps:
            if step == "index":
                conn._committer.index()
            elif step in ("load", "rename"):
                getattr(world, step)()
            else:
                forms = [world.written(form) for form in step]
                before = conn._committer.newest
                simple = prepare_simple(before, forms, now)
                if simple is not None:
                    whole = prepare(before.database, forms, now=now)
                    assert exact(whole.facts) == exact(simple.facts)
                    assert whole.tempids == dict(simple.tempids)
                    assert list(whole.tempids) == list(simple.tempids)
                    assert whole.next_n == simple.next_n
                    assert whole.instant == simple.instant
                try:
                    conn.transact(forms)
                except TransactError:
                    assert simple is None


@pytest.mark.parametrize(
    "forms",
    [
        [[":db/add", 0, ":s/text", "new"]],
        [[":db/add", 0, ":s/real", 1.5]],
        [[":db/retractEntity", 0]],
        [{":db/id": "x", ":s/no": 7, ":s/n": 1}, {":s/at": NOON}],
        [[":db/cas", 0, ":s/text", None, "new"], [":db/add", 1, ":s/text", "new"]],
        [[":db/cas", 0, ":s/word", None, Keyword(":blue")], ["laws/as-told", [":db/add", 0, ":s/n", 1]]],
    ],
)
def test_the_law_is_not_empty(forms: Any) -> None:
    with factstore.connect("memory:") as conn:
        world = World(conn)
        answered = prepare_simple(conn._committer.newest, [world.written(form) for form in forms], LATER)
        assert (":s/real" in str(forms)) == (answered is None)
