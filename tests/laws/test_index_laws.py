"""The index's law: whatever has gone into blocks and whatever is still novelty, a view gives the answers of a list of facts."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore.columns import block, column
from factstore.columns.keys import stable_positions
from factstore.columns.kind import INTEGERS, KINDS, OBJECTS, plain_kind
from factstore.index import build as building
from factstore.index import novelty, scan
from factstore.index.build import build
from factstore.index.cache import Cache
from factstore.index.directory import Blocks, Index
from factstore.index.novelty import Novelty
from factstore.index.timeline import Timeline
from factstore.index.view import Layer, View
from factstore.schema import attribute as at
from factstore.schema.bootstrap import ENUM_IDS, FACTS, SCHEMA
from factstore.storage import open_storage
from factstore.values.types import Keyword, order_key

A_LONG, A_STRING, A_BOOL, A_REF, A_TUPLE = range(100, 105)
MANY = {A_STRING, A_REF}
E = 2 << 42


def _declare(a, name, kind, many):
    cardinality = ":db.cardinality/many" if many else ":db.cardinality/one"
    return [
        (a, at.IDENT, Keyword(name), 0, True),
        (a, at.VALUE_TYPE, ENUM_IDS[f":db.type/{kind}"], 0, True),
        (a, at.CARDINALITY, ENUM_IDS[cardinality], 0, True),
    ]


DECLARED = [
    *_declare(A_LONG, ":a/long", "long", False),
    *_declare(A_STRING, ":a/string", "string", True),
    *_declare(A_BOOL, ":a/bool", "boolean", False),
    *_declare(A_REF, ":a/ref", "ref", True),
    *_declare(A_TUPLE, ":a/tuple", "tuple", False),
]
SCHEMA_5 = SCHEMA.plus(DECLARED)
VALUES = {
    A_LONG: st.integers(-2, 3) | st.sampled_from([-(1 << 63), (1 << 63) - 1]),
    A_STRING: st.sampled_from(["", "a", "b", "ü", "z" * 20]),
    A_BOOL: st.booleans(),
    A_REF: st.integers(E, E + 4),
    A_TUPLE: st.tuples(st.none() | st.integers(0, 2), st.none() | st.integers(0, 2)),
}


@st.composite
def histories(draw):
    """A list of transactions, each a list of facts that are not redundant, and the t's after which to index."""
    wishes = st.tuples(st.integers(E, E + 4), st.sampled_from(sorted(VALUES)), st.booleans())
    live, log = {}, []
    for t in range(1, draw(st.integers(1, 12)) + 1):
        facts, seen = [], set()
        for e, a, add in draw(st.lists(wishes, max_size=5)):
            v = draw(VALUES[a])
            held = live.setdefault((e, a), set())
            if (e, a) in seen or add == (v in held):
                continue
            seen.add((e, a))
            if not add or (a not in MANY and held):
                gone = v if not add else next(iter(held))
                held.discard(gone)
                facts.append((e, a, gone, t, False))
            if add:
                held.add(v)
                facts.append((e, a, v, t, True))
        log.append(facts)
    return log, draw(st.sets(st.integers(1, len(log)), max_size=3))


def growing(log, index_after, cache):
    """Yield the views before a log and after each transaction of it, kept as (index, novelty) in the way that `index_after` says."""
    storage = open_storage("memory:")
    index, novelty = Index(Blocks(storage, cache)), Novelty(FACTS + tuple(DECLARED))
    yield View(index, (Layer(novelty, 0),), SCHEMA_5, cache, 0)
    for t, facts in enumerate(log, 1):
        novelty.append(t, facts)
        if t in index_after:
            built = build(index, novelty, SCHEMA_5, upto_t=t, next_n=5, instant=t).root
            root = storage.swap_root(built.encode(), expected_version=index.version)
            index = index.decode(root.body, root.version)
            assert replace(built, version=root.version) == index
            novelty = novelty.after(t)
        yield View(index, (Layer(novelty, t),), SCHEMA_5, cache, t)


def views(log, index_after):
    """Return the view after the whole log, kept as (index, novelty) in the way that `index_after` says."""
    *_, view = growing(log, index_after, Cache(1 << 20))
    return view


def log_facts(log):
    """Every fact that a log says anything of."""
    return [fact for facts in log for fact in facts]


def naive(log, upto, after, history):
    facts = [fact for transaction in log for fact in transaction if fact[3] <= upto]
    if not history:
        live = {}
        for e, a, v, t, added in facts:
            live.pop((e, a, v), None)
            if added:
                live[e, a, v] = (e, a, v, t, True)
        facts = list(live.values())
    return [fact for fact in facts if fact[3] > after]


def facts_in(rows, a):
    return list(scan.facts_of(rows, a))


@pytest.fixture(autouse=True, params=[3, 8192])
def rows_in_a_block(request, monkeypatch):
    monkeypatch.setattr(block.split, "__defaults__", (request.param,))
    monkeypatch.setattr(building, "_BLOCKS_AT_ONCE", min(request.param, 64))
    monkeypatch.setattr(Timeline, "LEAST", min(request.param, 64))
    monkeypatch.setattr(novelty, "_FEW", min(request.param, 64))  # events of one entity or value from which on others ways are taken


@pytest.mark.slow
@given(histories(), st.data())
@settings(max_examples=150)
def test_a_view_answers_like_a_list_of_facts(case, data):
    log, index_after = case
    whole = views(log, index_after)
    upto = data.draw(st.integers(0, len(log)))
    after = data.draw(st.integers(-1, len(log)))
    history = data.draw(st.booleans())
    view = whole.cut(upto=upto, after=after, is_history=history)
    expected = naive(log, upto, after, history)
    for a in VALUES:
        mine = [fact for fact in expected if fact[1] == a]
        by_entity = sorted(mine, key=lambda f: (f[0], order_key(f[2]), f[3]))
        by_value = sorted(mine, key=lambda f: (order_key(f[2]), f[0], f[3]))
        assert by_entity == facts_in(view.by_entity(a), a)
        assert by_value == facts_in(view.by_value(a), a)
        assert view.count(a) >= len(mine)
        for e in range(E, E + 5):
            assert sorted((f for f in mine if f[0] == e), key=repr) == sorted(view.facts_of(e, a), key=repr)
            if not history:
                assert sorted((f[2] for f in mine if f[0] == e), key=repr) == sorted(view.values_of(e, a), key=repr)
        for e, v in {f[::2][:2] for f in log_facts(log) if f[1] == a}:
            assert history or view.holds(e, a, v) == any(f[0] == e and f[2] == v for f in mine)
        for v in {f[2] for f in mine}:
            assert sorted(f for f in mine if f[2] == v) == sorted(view.facts_with(a, v))
            assert view.count_with(a, v) >= len([f for f in mine if f[2] == v])
        _check_regions(view, a, by_entity, by_value, data)


@given(histories(), st.sampled_from([0, 3000, 1 << 20]), st.data())
@settings(max_examples=150)
def test_moments_read_one_after_the_other_are_those_of_a_replay(case, max_bytes, data):
    """What was read at one moment never shows at another, while the log grows, below speculation and in a branch."""
    log, index_after = case
    cache, known = Cache(max_bytes), []
    for t, view in enumerate(growing(log, index_after, cache)):
        known.append((view, log[:t]))
        if t < len(log):
            known.append((view.plus(log[t], t + 1, SCHEMA_5), log[: t + 1]))
        if t:
            before = data.draw(st.integers(0, t - 1))
            known.append((view.branch(before).plus(log[before], before + 1, SCHEMA_5), log[: before + 1]))
        for seen, events in data.draw(st.lists(st.sampled_from(known), max_size=3)):
            upto, after, history = data.draw(st.tuples(st.integers(0, seen.upto), st.integers(-1, t), st.booleans()))
            chosen = seen.cut(upto=upto, after=after, is_history=history)
            expected = naive(events, upto, after, history)
            for a in VALUES:
                mine = [fact for fact in expected if fact[1] == a]
                assert sorted(mine, key=lambda f: (f[0], order_key(f[2]), f[3])) == facts_in(chosen.by_entity(a), a)
                assert sorted(mine, key=lambda f: (order_key(f[2]), f[0], f[3])) == facts_in(chosen.by_value(a), a)
                for e in range(E, E + 5):
                    assert sorted((f for f in mine if f[0] == e), key=repr) == sorted(chosen.facts_of(e, a), key=repr)
                for v in {f[2] for f in log_facts(events) if f[1] == a}:
                    assert sorted(f for f in mine if f[2] == v) == sorted(chosen.facts_with(a, v))
            assert cache.bytes <= max_bytes


def _check_regions(view, a, by_entity, by_value, data):
    fresh = view.cut()
    es = data.draw(st.lists(st.integers(E - 1, E + 5), max_size=4))
    rows, positions = fresh.of_entities(a, np.array(es, np.int64))
    assert [(i, f) for i, e in enumerate(es) for f in by_entity if f[0] == e] == list(
        zip(positions.tolist(), facts_in(rows, a), strict=True)
    )
    vs = data.draw(st.lists(VALUES[a], max_size=3))
    rows, positions = view.cut().with_values(a, column.array_of(vs, SCHEMA_5.attribute(a).value_type.dtype))
    assert [(i, f) for i, v in enumerate(vs) for f in by_value if f[2] == v] == list(
        zip(positions.tolist(), facts_in(rows, a), strict=True)
    )
    low, high = (data.draw(st.none() | VALUES[a]) for _ in range(2))
    opens = data.draw(st.tuples(st.booleans(), st.booleans()))
    expected = [f for f in by_value if _within(f[2], low, high, *opens)]
    assert expected == facts_in(view.cut().between(a, low, high, low_open=opens[0], high_open=opens[1]), a)


def _within(v, low, high, low_open, high_open):
    key = order_key(v)
    if low is not None and (key < order_key(low) or (low_open and v == low)):
        return False
    return high is None or key < order_key(high) or (v == high and not high_open)


@given(histories())
@settings(max_examples=60)
def test_everything_about_an_entity_is_found_wherever_it_lies(case):
    log, index_after = case
    view = views(log, index_after)
    expected = naive(log, len(log), -1, False)
    for e in range(E, E + 5):
        assert sorted((f for f in expected if f[0] == e), key=repr) == sorted(view.facts_about(e), key=repr)
        assert sorted(f for f in expected if f[1] == A_REF and f[2] == e) == sorted(view.facts_referring(e))


@given(histories(), st.integers(0, 11))
@settings(max_examples=60)
def test_speculation_on_top_answers_like_a_longer_log(case, at_t):
    log, index_after = case
    split = min(at_t, len(log))
    view = views(log[:split], {t for t in index_after if t <= split})
    for t, facts in enumerate(log[split:], split + 1):
        view = view.plus(facts, t, SCHEMA_5)
    expected = naive(log, len(log), -1, False)
    for a in VALUES:
        mine = sorted((f for f in expected if f[1] == a), key=lambda f: (f[0], order_key(f[2])))
        assert mine == facts_in(view.by_entity(a), a)
        for e, v in {f[::2][:2] for f in log_facts(log) if f[1] == a}:
            assert view.holds(e, a, v) == any(f[0] == e and f[2] == v for f in mine)


VALUES_OF_KINDS = {
    "long": (st.integers(-2, 2) | st.sampled_from([-(1 << 63), (1 << 63) - 1]), INTEGERS),
    "double": (st.sampled_from([0.0, 1.5, -2.0, float("inf"), float("-inf"), float("nan")]), KINDS[":db.type/double"]),
    "boolean": (st.booleans(), KINDS[":db.type/boolean"]),
    "string": (st.sampled_from(["", "a", "b", "ü"]), OBJECTS),
    "tuple": (st.tuples(st.none() | st.integers(0, 2), st.none() | st.integers(0, 2)), KINDS[":db.type/tuple"]),
}


@pytest.mark.parametrize("order", [column.BY_ENTITY, column.BY_VALUE])
@pytest.mark.parametrize("name", VALUES_OF_KINDS)
@given(st.data())
def test_facts_are_where_positions_says_they_are(name, order, data):
    values, kind = VALUES_OF_KINDS[name]
    facts = st.lists(st.tuples(st.integers(0, 3), values), unique_by=repr, max_size=20)

    def rows_of(drawn):
        e, v = column.ints(e for e, _ in drawn), column.array_of([v for _, v in drawn], kind.dtype)
        return column.sort(column.FactArrays(e, v, e), order, kind)

    rows, wanted = rows_of(data.draw(facts)), rows_of(data.draw(facts))
    there = [repr(fact) for fact in zip(rows.e.tolist(), rows.v.tolist(), strict=True)]
    sought = [repr(fact) for fact in zip(wanted.e.tolist(), wanted.v.tolist(), strict=True)]
    expected = [there.index(fact) if fact in there else -1 for fact in sought]
    assert column.positions_of(rows, wanted, order, kind).tolist() == expected


@pytest.mark.parametrize("order", [column.BY_ENTITY, column.BY_VALUE])
@pytest.mark.parametrize("name", VALUES_OF_KINDS)
@given(st.data())
def test_inserting_sorted_rows_gives_the_order_of_all(name, order, data):
    values, kind = VALUES_OF_KINDS[name]
    facts = st.lists(st.tuples(st.integers(0, 3), values), unique_by=repr, max_size=20)

    def rows_of(drawn, t):
        e, v = column.ints(e for e, _ in drawn), column.array_of([v for _, v in drawn], kind.dtype)
        return column.sort(column.FactArrays(e, v, np.full(len(e), t)), order, kind)

    old, new = rows_of(data.draw(facts), 1), rows_of(data.draw(facts), 2)
    at = column.insertion(old, new, order, kind, "right")
    merged = column.inserted(old[:3], new[:3], at)
    together = column.sort(column.concat([old, new], kind), order, kind)
    assert repr([part.tolist() for part in merged]) == repr([part.tolist() for part in together[:3]])
    before, after = column.comparable(old.v, new.v, kind.order_key)
    kind_of_both = plain_kind(before)
    by_rank = column.insertion(old._replace(v=before), new._replace(v=after), order, kind_of_both, "right")
    assert at.tolist() == by_rank.tolist()


@pytest.mark.parametrize("sort_pays", [0, 16])
@pytest.mark.parametrize("order", [column.BY_ENTITY, column.BY_VALUE])
@pytest.mark.parametrize("name", VALUES_OF_KINDS)
@given(data=st.data())
def test_sorted_rows_and_others_are_merged_to_the_order_of_all(name, order, sort_pays, data):
    values, kind = VALUES_OF_KINDS[name]
    ids = st.integers(0, 3) | st.sampled_from([0, (1 << 63) - 1])
    facts = st.lists(st.tuples(ids, values), unique_by=repr, max_size=20)

    def rows_of(drawn, t):
        e, v = column.ints(e for e, _ in drawn), column.array_of([v for _, v in drawn], kind.dtype)
        return column.sort(column.FactArrays(e, v, np.full(len(e), t)), order, kind)

    old, new = rows_of(data.draw(facts), 1), rows_of(data.draw(facts), 2)
    values = column.comparable(old.v, new.v, kind.order_key)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(column, "_SORT_PAYS", sort_pays)  # 0: rows are searched
        merged = column.merged(old[:3], new[:3], values, order, plain_kind(values[0]))
    together = column.sort(column.concat([old, new], kind), order, kind)
    assert repr([part.tolist() for part in merged]) == repr([part.tolist() for part in together[:3]])


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-3, 3), max_size=40))
def test_stable_positions_are_those_of_a_stable_sort(values):
    expected = sorted(range(len(values)), key=values.__getitem__)
    assert expected == stable_positions(column.ints(values)).tolist()


@given(st.dictionaries(st.integers(100, 106), st.sets(st.integers(0, 20), min_size=1), min_size=1), st.sets(st.integers(0, 20)))
def test_a_load_gives_each_entity_the_set_of_its_attributes(loaded, others):
    columns = {a: column.FactArrays(es := column.ints(sorted(of_a)), es, es) for a, of_a in loaded.items()}
    columns[107] = columns[min(columns)]  # the same array of entities
    columns[108] = column.FactArrays(es := columns[107].e.copy(), es, es)  # an equal array
    columns[109] = column.FactArrays(es := columns[107].e[::-1], es, es)  # in another order
    numbers, with_facts = {(1, 2): 0}, column.ints(sorted(others))
    by_attribute = {1: [with_facts]}
    rows = building._sets_of_load(columns, with_facts, by_attribute, numbers)
    sets = {number: one for one, number in numbers.items()}
    found = {e: set(sets[number]) for e, number in zip(rows.e.tolist(), rows.v.tolist(), strict=True)}
    expected = {e: {a for a in columns if e in columns[a].e} for e in range(21)}
    assert found == {e: of_e for e, of_e in expected.items() if of_e and e not in others}
    assert {a: set(np.concatenate(arrays).tolist()) for a, arrays in by_attribute.items()} == {
        a: {*(others if a == 1 else ()), *(e for e in others if a in expected[e])} for a in {1, *(a for e in others for a in expected[e])}
    }


@pytest.mark.parametrize("few", [1, building._FEW_ROWS])
@given(st.dictionaries(st.integers(0, 50), st.sets(st.integers(60, 70), min_size=1)), st.randoms())
def test_each_different_attribute_set_has_one_number_and_no_other_set_has(few, attributes, random):
    pairs = [(e, a) for e, of_e in attributes.items() for a in of_e]
    pairs += random.sample(pairs, len(pairs) // 2)
    random.shuffle(pairs)
    entities = {a: [column.ints(es[:1]), column.ints(es[1:])] for a in range(60, 71) if (es := [e for e, other in pairs if other == a])}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "_FEW_ROWS", few)
        es, which, sets = building._numbered(entities)
    assert sorted(attributes) == es.tolist()
    assert attributes == {e: set(sets[n]) for e, n in zip(es.tolist(), which.tolist(), strict=True)}
    assert {frozenset(one) for one in attributes.values()} == set(map(frozenset, sets))
    assert all(list(one) == sorted(one) for one in sets) and len(sets) == len(set(sets))


COLUMNS = st.one_of(
    st.lists(st.integers(-(1 << 63), (1 << 63) - 1), min_size=1).map(lambda xs: column.array_of(xs, "i8")),
    st.lists(st.integers(1 << 42, (1 << 42) + 300), min_size=1).map(lambda xs: column.array_of(xs, "i8")),
    st.lists(st.floats(allow_nan=False), min_size=1).map(lambda xs: column.array_of(xs, "f8")),
    st.lists(st.booleans(), min_size=1).map(lambda xs: column.array_of(xs, "?")),
    st.lists(st.text(max_size=3), min_size=1).map(lambda xs: column.array_of(xs, "O")),
    st.lists(st.tuples(st.none() | st.integers()), min_size=1).map(lambda xs: column.array_of(xs, "O")),
    st.lists(st.sampled_from([Decimal("1.0"), Decimal("1.00")]), min_size=1).map(lambda xs: column.array_of(xs, "O")),
    st.lists(st.tuples(st.sampled_from([0.0, -0.0, Decimal("1.0"), Decimal("1.00")])), min_size=1).map(lambda xs: column.array_of(xs, "O")),
    st.lists(st.sampled_from([Keyword(":a"), Keyword(":b/c")]), min_size=1).map(lambda xs: column.array_of(xs, "O")),
)


@given(COLUMNS)
def test_a_block_decodes_to_the_column_that_was_encoded(values):
    (decoded,) = block.decode(block.encode((values,)))
    assert values.dtype == decoded.dtype
    assert [(type(x), repr(x)) for x in values.tolist()] == [(type(x), repr(x)) for x in decoded.tolist()]


@given(COLUMNS, st.data())
def test_a_flipped_bit_in_a_block_is_found(values, data):
    from factstore.errors import Corrupt

    body = bytearray(block.encode((values,)))
    body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Corrupt):
        block.decode(bytes(body))


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), max_size=40), st.integers(0, 40))
@settings(deadline=None)
def test_who_has_a_value_that_comes_and_goes_is_right_in_every_database(changes, indexed):
    """A flag that entities have and lose: more events than are counted one by one, read now and then, before and after an index."""
    with pytest.MonkeyPatch.context() as patched, factstore.connect("memory:") as conn:
        patched.setattr("factstore.index.novelty._FEW", 2)
        flag = {":db/ident": ":is/on", ":db/valueType": ":db.type/boolean", ":db/cardinality": ":db.cardinality/one", ":db/index": True}
        tempids = conn.transact([flag, *({":db/id": f"e{n}", ":db/doc": f"{n}"} for n in range(5))]).tempids
        eids = [tempids[f"e{n}"] for n in range(5)]
        on: set[int] = set()
        known = [(conn.db(), frozenset(on))]
        for n, (which, is_on, is_read) in enumerate(changes):
            e = eids[which]
            conn.transact([[":db/add", e, ":is/on", is_on]])
            (on.add if is_on else on.discard)(e)
            known.append((conn.db(), frozenset(on)))
            if n == indexed:
                conn._committer.index()
            if is_read:
                assert on == {datom.e for datom in conn.db().datoms("avet", ":is/on", True)}
        for db, expected in known:
            assert expected == {datom.e for datom in db.datoms("avet", ":is/on", True)}
        assert on == {datom.e for datom in conn.db().datoms("avet", ":is/on", True)}
