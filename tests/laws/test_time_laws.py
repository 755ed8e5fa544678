"""Laws of reading: a database of any time is a fold of the log, every index is one order of the same datoms, a pull is a walk over them.

The model is a list of datoms and nested loops over it; what the databases answer comes from transactions that were committed.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import factstore
from factstore import entity, pull, pull_many, with_
from factstore.values.types import order_key

SCHEMA = """
[{:db/ident :n/id   :db/valueType :db.type/long   :db/cardinality :db.cardinality/one  :db/unique :db.unique/identity}
 {:db/ident :n/size :db/valueType :db.type/long   :db/cardinality :db.cardinality/one  :db/index true}
 {:db/ident :n/flag :db/valueType :db.type/boolean :db/cardinality :db.cardinality/one :db/index true}
 {:db/ident :n/word :db/valueType :db.type/string :db/cardinality :db.cardinality/many :db/index true}
 {:db/ident :n/pair :db/valueType :db.type/tuple  :db/cardinality :db.cardinality/many :db/index true
  :db/tupleType :db.type/long}
 {:db/ident :n/next :db/valueType :db.type/ref    :db/cardinality :db.cardinality/one}
 {:db/ident :n/pals :db/valueType :db.type/ref    :db/cardinality :db.cardinality/many}
 {:db/ident :n/part :db/valueType :db.type/ref    :db/cardinality :db.cardinality/many :db/isComponent true}]
"""
NODES = 4
REFS = {":n/next", ":n/pals", ":n/part"}
MANY = {":n/word", ":n/pair", ":n/pals", ":n/part"}
NODE = st.integers(0, NODES - 1)
VALUES = {
    ":n/size": st.integers(-2, 2) | st.sampled_from([-(1 << 63), (1 << 63) - 1]),
    ":n/flag": st.booleans(),
    ":n/word": st.sampled_from(["", "a", "b", "ä"]),
    ":n/pair": st.tuples(st.none() | st.integers(0, 1), st.none() | st.integers(0, 1)).map(list),
    **dict.fromkeys(sorted(REFS), NODE),
}
ATTRIBUTES = [":n/id", *VALUES]


def change(a: str) -> st.SearchStrategy[Any]:
    """A node, an attribute, some values of it (one where it takes one), and whether they come or go; they come more often."""
    values = st.lists(VALUES[a], min_size=1, max_size=3 if a in MANY else 1)
    return st.tuples(NODE, st.just(a), values, st.sampled_from([True, True, True, False]))


CHANGE = st.sampled_from(sorted(VALUES)).flatmap(change)
CHANGES = st.lists(st.lists(CHANGE, max_size=6, unique_by=lambda change: change[:2]), max_size=8)
# For reads that follow references: first much, then some more.
RICH = st.lists(CHANGE, min_size=12, max_size=24, unique_by=lambda change: change[:2])
GRAPHS = st.tuples(RICH, st.lists(CHANGE, max_size=6, unique_by=lambda change: change[:2])).map(list)


def forms(changes: Any, ids: list[int]) -> list[Any]:
    """The tx-data of some changes: at most one of an entity and attribute, so that none contradicts another."""
    return [[":db/add" if add else ":db/retract", ids[node], a, ids[v] if a in REFS else v] for node, a, vs, add in changes for v in vs]


class Story:
    """A store that lived through some changes, and the log of it as plain tuples (e, ident, v, t, added)."""

    def __init__(self, conn: Any, history: Any) -> None:
        conn.transact(SCHEMA)
        made = conn.transact([{":db/id": f"n{n}", ":n/id": n} for n in range(NODES)])
        self.ids = [made.tempids[f"n{n}"] for n in range(NODES)]
        for changes in history:
            conn.transact(forms(changes, self.ids))
        self.conn, self.db = conn, conn.db()
        ident = self.db.ident
        self.log = [(d.e, str(ident(d.a)), d.v, tx.t, d.added) for tx in conn.log().tx_range() for d in tx.data]

    def facts(self, *, upto: int, after: int = -1, history: bool = False) -> set[Any]:
        """What a database with these limits is to hold."""
        events = [fact for fact in self.log if fact[3] <= upto]
        live: dict[Any, Any] = {}
        for fact in events:
            live.pop(fact[:3], None)
            if fact[4]:
                live[fact[:3]] = fact
        return {fact for fact in (events if history else live.values()) if fact[3] > after}


@contextmanager
def story(history: Any) -> Any:
    with factstore.connect("memory:") as conn:
        yield Story(conn, history)


def read(db: Any, index: str = "aevt", *components: Any) -> list[Any]:
    """Datoms as the model's tuples, without the facts of t = 0, which no log holds."""
    found = [(d.e, str(db.ident(d.a)), d.v, d.tx & 0xFFFF, d.added) for d in db.datoms(index, *components)]
    return [fact for fact in found if fact[3] > 0]


def about_nodes(facts: Any) -> list[Any]:
    return [fact for fact in facts if fact[1] in ATTRIBUTES]


@given(CHANGES, st.data())
def test_a_database_as_of_t_is_the_log_replayed_up_to_t(history: Any, data: Any) -> None:
    with story(history) as told:
        t = data.draw(st.integers(0, told.db.basis_t + 1))
        found = read(told.db.as_of(t))
        assert told.facts(upto=t) == set(found)
        assert len(found) == len(set(found))


@given(CHANGES, st.data())
def test_since_and_as_of_cover_the_present_and_share_nothing(history: Any, data: Any) -> None:
    with story(history) as told:
        t = data.draw(st.integers(0, told.db.basis_t))
        present, later = set(read(told.db)), set(read(told.db.since(t)))
        earlier = {fact for fact in present if fact[3] <= t}
        assert present == later | earlier
        assert earlier <= set(read(told.db.as_of(t)))
        assert not later & set(read(told.db.as_of(t)))


@given(CHANGES)
def test_the_history_is_the_log(history: Any) -> None:
    with story(history) as told:
        assert sorted(told.log, key=repr) == sorted(read(told.db.history()), key=repr)


@given(CHANGES, st.data())
def test_limits_in_any_order_and_number_are_their_intersection(history: Any, data: Any) -> None:
    with story(history) as told:
        point = st.integers(0, told.db.basis_t + 1)
        steps = data.draw(st.lists(st.tuples(st.sampled_from(["as_of", "since", "history"]), point), max_size=4))
        db = told.db
        for name, t in steps:
            db = db.history() if name == "history" else getattr(db, name)(t)
        upto = min([t for name, t in steps if name == "as_of"], default=told.db.basis_t)
        after = max([t for name, t in steps if name == "since"], default=-1)
        expected = told.facts(upto=upto, after=after, history=any(name == "history" for name, _ in steps))
        for index in ("eavt", "aevt"):
            assert sorted(expected, key=repr) == sorted(read(db, index), key=repr)


@given(CHANGES, st.data())
def test_a_filter_commutes_with_every_limit(history: Any, data: Any) -> None:
    with story(history) as told:
        hidden = told.db.entid(data.draw(st.sampled_from(ATTRIBUTES)))
        t = data.draw(st.integers(0, told.db.basis_t))
        name = data.draw(st.sampled_from(["as_of", "since"]))

        def kept(db: Any) -> Any:
            return db.filter(lambda _, datom: datom.a != hidden)

        expected = [fact for fact in read(getattr(told.db, name)(t)) if fact[1] != told.db.ident(hidden)]
        assert expected == read(kept(getattr(told.db, name)(t)))
        assert expected == read(getattr(kept(told.db), name)(t))


@given(CHANGES, CHANGES)
def test_speculation_answers_like_transactions_that_were_made(history: Any, more: Any) -> None:
    with story(history) as told:
        db = told.db
        for changes in more:
            db = with_(db, forms(changes, told.ids)).db_after
        assert told.db is told.conn.db()
        for changes in more:
            told.conn.transact(forms(changes, told.ids))
        for speculative, real in ((db, told.conn.db()), (db.history(), told.conn.db().history())):
            assert about_nodes(read(real)) == about_nodes(read(speculative))
            assert about_nodes(read(real, "eavt")) == about_nodes(read(speculative, "eavt"))


# -- indexes


ORDERS = {"eavt": (0, 1, 2), "aevt": (1, 0, 2), "avet": (1, 2, 0), "vaet": (2, 1, 0)}


def in_order(db: Any, index: str) -> list[Any]:
    """All datoms of a database sorted into an index; of one fact the newest event first."""
    first, second, third = ORDERS[index]
    chosen = []
    for datom in db.datoms("aevt"):
        attribute = db.attribute(datom.a)
        if (index != "avet" or attribute.has_avet) and (index != "vaet" or attribute.is_ref):
            chosen.append(datom)
    return sorted(chosen, key=lambda d: (*(order_key(d[place]) for place in (first, second, third)), -d.tx, d.added))


@given(CHANGES, st.sampled_from(sorted(ORDERS)), st.booleans(), st.data())
def test_every_index_is_one_order_of_the_same_datoms(history: Any, index: str, past: bool, data: Any) -> None:
    with story(history) as told:
        db = told.db.history() if past else told.db
        if data.draw(st.booleans()):
            db = db.as_of(data.draw(st.integers(0, told.db.basis_t)))
        whole = in_order(db, index)
        assert whole == list(db.datoms(index))
        if not whole:
            return
        at = data.draw(st.sampled_from(whole))
        size = data.draw(st.integers(1, 3))
        places = ORDERS[index][:size]
        components = [at[place] for place in places]
        prefix = [d for d in whole if [d[place] for place in places] == components]
        assert prefix == list(db.datoms(index, *components))
        begin, end = whole.index(prefix[0]), whole.index(prefix[-1])
        assert whole[begin:] == list(db.seek_datoms(index, *components))
        assert whole[end::-1] == list(db.rseek_datoms(index, *components))


@given(CHANGES, st.sampled_from([":n/size", ":n/word", ":n/flag", ":n/pair", ":n/id"]), st.data())
def test_a_range_is_the_datoms_between(history: Any, attribute: str, data: Any) -> None:
    values = {**VALUES, ":n/id": NODE}[attribute]
    low, high = (data.draw(st.none() | values) for _ in range(2))

    def key(value: Any) -> Any:
        return order_key(tuple(value) if isinstance(value, list) else value)

    with story(history) as told:
        whole = list(told.db.datoms("avet", attribute))
        expected = [d for d in whole if (low is None or key(low) <= key(d.v)) and (high is None or key(d.v) < key(high))]
        assert expected == list(told.db.index_range(attribute, low, high))


# -- pull


def patterns() -> st.SearchStrategy[Any]:
    names = st.sampled_from([*ATTRIBUTES, ":db/id", ":n/_next", ":n/_pals", ":n/_part", ":n/none"])
    references = st.sampled_from([*sorted(REFS), ":n/_next", ":n/_pals", ":n/_part"])
    options = st.one_of(
        st.tuples(names, st.just(":as"), st.sampled_from(["x", ":y", 7])).map(list),
        st.tuples(names, st.just(":default"), st.sampled_from([None, False, 0, "none"])).map(list),
        st.tuples(st.sampled_from([":n/word", ":n/pals", ":n/_pals"]), st.just(":limit"), st.sampled_from([1, 2, None])).map(list),
        st.tuples(names, st.just(":xform"), st.just("some?")).map(list),
    )
    leaves = st.lists(names | options | st.sampled_from(["*", ":n/*"]), min_size=1, max_size=4)

    def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        maps = st.dictionaries(references, inner | st.sampled_from([1, 2, "..."]), min_size=1, max_size=1)
        return st.tuples(st.lists(names | options | st.just("*"), max_size=3), st.lists(maps, min_size=1, max_size=2)).map(
            lambda parts: parts[0] + parts[1]
        )

    return st.recursive(leaves, nested, max_leaves=4)


def key_of(part: Any) -> Any:
    """The key under which a part of a pattern shows what it finds; a wildcard is a key of its own."""
    name, option, value = part if isinstance(part, list) else (part, None, None)
    key = value if option == ":as" else name
    return type(key), key


def settled(pattern: Any) -> list[Any]:
    """A pattern of one part for each attribute and key, at every level: of several, the last, which also decides where a recursion ends."""
    parts: dict[Any, Any] = {}
    for part in pattern:
        if isinstance(part, dict):
            parts |= {(key_of(name), name): {name: settled(sub) if isinstance(sub, list) else sub} for name, sub in part.items()}
        else:
            parts[key_of(part), part[0] if isinstance(part, list) else part] = part
    return list(parts.values())


class Walk:
    """A pull by nested loops over the datoms of a database: what it should find, in the plainest words."""

    def __init__(self, db: Any) -> None:
        self.db = db
        self.facts = [(d.e, str(db.ident(d.a)), d.v) for d in db.datoms("aevt")]

    def pull(self, pattern: Any, e: int, seen: Any = (frozenset(), frozenset()), left: Any = None) -> Any:
        """The pattern is a settled one; `seen` is what recursions met on the way here, and what was met as a component."""
        found: dict[Any, Any] = {}
        wild: set[str] = set()
        specs: dict[Any, Any] = {}
        for part in pattern:
            if part in ("*", ":n/*"):
                wild.add(part)
            elif isinstance(part, dict):
                for name, below in part.items():
                    specs[key_of(name), name] = (name, {}, below)
            elif isinstance(part, list):
                name, option, value = part
                specs[key_of(part), name] = (name, {option: value}, None)
            else:
                specs[key_of(part), part] = (part, {}, None)
        if wild:
            named = {name for name, _, _ in specs.values()}
            for _, a, _ in [fact for fact in self.facts if fact[0] == e]:
                if a not in named and ("*" in wild or a.startswith(":n/")):
                    specs.setdefault(((str, a), a), (a, {}, None))
            if "*" in wild and ":db/id" not in named:
                found[":db/id"] = e
        # Of those that share a key, the first that is there: ids, what is named, the wildcard.
        for ((_, key), _), (name, options, below) in sorted(specs.items(), key=lambda spec: spec[1][0] != ":db/id"):
            if key in found:
                continue
            value = self.value(pattern, e, name, options, below, seen, left or {})
            if value is not None or (value is None and ":default" in options and not self.has(e, name)):
                found[key] = value
        return found or None

    def has(self, e: int, name: str) -> bool:
        return bool(name == ":db/id" or self.values(e, name))

    def values(self, e: int, name: str) -> list[Any]:
        if "/_" in name:
            return sorted(s for s, a, v in self.facts if a == name.replace("/_", "/") and v == e)
        return sorted((v for s, a, v in self.facts if s == e and a == name), key=order_key)

    def value(self, pattern: Any, e: int, name: str, options: Any, below: Any, seen: Any, left: Any) -> Any:
        if name == ":db/id":
            value: Any = e
        elif not self.values(e, name):
            if ":default" in options:
                return options[":default"]
            value = None
        else:
            many = name != ":n/_part" if "/_" in name else name in MANY
            values = self.values(e, name)[: options.get(":limit", 1000) if many else 1]
            shown = [self.shown(pattern, name, v, below, seen, left) for v in values]
            shown = [x for x in shown if x is not None]
            value = (shown if many else shown[0]) if shown else None
        return value is not None if ":xform" in options else value

    def shown(self, pattern: Any, name: str, v: Any, below: Any, seen: Any, left: Any) -> Any:
        forward = name.replace("/_", "/")
        if forward not in REFS:
            return v
        met, parts = seen
        if isinstance(below, list):
            leads_on = any(
                isinstance(part, dict) and not isinstance(sub, list) for part in below if isinstance(part, dict) for sub in part.values()
            )
            return self.pull(below, v, (met | {v}, parts) if leads_on else seen, left)
        if below is None:
            if name != ":n/part" or v in parts:
                return {":db/id": v}
            return self.pull(["*"], v, (met, parts | {v}), left)
        if isinstance(below, int):
            key = (id(pattern), name)
            levels = left.get(key, below)
            if levels == 0:
                return self.pull(ids_in(pattern), v)
            left = {**left, key: levels - 1}
        return self.pull(at_end(pattern) if v in met else pattern, v, (met | {v}, parts), left)


def ids_in(pattern: Any) -> list[Any]:
    """The parts of a pattern that show an entity's id."""
    named = [part for part in pattern if part == ":db/id" or (isinstance(part, list) and part[0] == ":db/id")]
    return named or ([":db/id"] if "*" in pattern else [])


def at_end(pattern: Any) -> list[Any]:
    """A pattern whose recursions show no more than ids."""
    ids, parts = ids_in(pattern), []
    for part in pattern:
        if isinstance(part, dict):
            kept = {name: sub if isinstance(sub, list) else ids for name, sub in part.items() if isinstance(sub, list) or ids}
            parts += [kept] if kept else []
        else:
            parts.append(part)
    return parts


@given(GRAPHS, patterns(), st.booleans())
@example([[(0, ":n/pals", [0], True)]], [{":n/_pals": [":n/id"]}, {":n/_pals": 2}], False)
@example([[(0, ":n/pals", [0], True)]], [[":db/id", ":as", ":y"], [":n/size", ":as", ":y"], {":n/_pals": 2}], False)
def test_a_pull_is_a_walk_over_the_datoms(history: Any, pattern: Any, past: bool) -> None:
    with story(history) as told:
        db = told.db.as_of(told.db.basis_t - 1) if past else told.db
        walk = Walk(db)
        expected = [walk.pull(settled(pattern), e) for e in told.ids]
        assert expected == [pull(db, pattern, e) for e in told.ids]
        assert expected * 10 == pull_many(db, pattern, told.ids * 10)


@given(GRAPHS)
def test_an_entity_is_its_datoms(history: Any) -> None:
    with story(history) as told:
        for e in told.ids:
            expected: dict[str, set[Any]] = {}
            for datom in told.db.datoms("eavt", e):
                expected.setdefault(str(told.db.ident(datom.a)), set()).add(datom.v)
            found = entity(told.db, e)
            assert found is not None
            assert set(expected) == set(found)
            for a, values in expected.items():
                shown = found[a] if a in MANY else {found[a]}
                assert values == {x.eid if isinstance(x, factstore.Entity) else x for x in shown}


@pytest.mark.parametrize("wrong", ["since", "history"])
def test_the_model_itself_can_tell_a_wrong_database(wrong: str) -> None:
    with story([[(0, ":n/size", [1], True)], [(0, ":n/size", [2], True)]]) as told:
        other = told.db.since(2) if wrong == "since" else told.db.history()
        assert told.facts(upto=told.db.basis_t) != set(read(other))
