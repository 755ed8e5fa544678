"""The short cut: transactions whose forms need no more than a check of type.

Most transactions add plain values to entities, swap them, or make entities of maps. For these the stages come to nothing, and this
does the rest in one pass. Whatever it does not know at a glance it leaves to `prepare`, errors included.
Law: where it answers, it answers what `prepare` would.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from factstore.columns.kind import INTEGERS, OBJECTS
from factstore.concurrency.bounded_cache import BoundedCache
from factstore.datom import TX_BASE, USER_BASE, Fact
from factstore.db.snapshot import Snapshot
from factstore.errors import TransactError
from factstore.registry import lookup
from factstore.schema.attribute import FIRST_FREE_ID, TX_INSTANT, Attribute, Schema
from factstore.transact.functions import at_instant, forms_of
from factstore.transact.stages import Prepared
from factstore.values.types import INSTANT, LONG_MAX, LONG_MIN, Keyword

# Types whose values are right when their Python type is, or after the check named here.
_KINDS: Final[dict[str, type]] = {
    "long": int,
    "double": float,
    "boolean": bool,
    "string": str,
    "instant": datetime,
    "keyword": Keyword,
}


_NONE: Final = frozenset[str]()
_SWAPS: Final = frozenset({":db/cas"})
_ALL: Final = frozenset({":db/add", ":db/cas"})
_NO_TEMPIDS: Final[Mapping[str | int, int]] = MappingProxyType({})


class _Plain(NamedTuple):
    """What the short cut must know of an attribute."""

    a: int
    kind: type
    checks: bool  # whether the value needs more than the right Python type
    is_identity: bool
    verbs: frozenset[str]  # what the short cut does with a known entity; the rest needs a look at more than the value


def prepare_simple(before: Snapshot, tx_data: Any, now: int) -> Prepared | None:
    """Return the facts of a transaction of plain forms, or None: it takes the whole way."""
    if type(tx_data) is not list:
        return None
    plain = plain_attributes(before.schema)
    t = before.t + 1
    instant = before.instant if before.instant > now else now
    facts: list[Fact] = [(TX_BASE | t, TX_INSTANT, instant, t, True)]
    if len(tx_data) == 1 and type(tx_data[0]) is list:
        form = tx_data[0]
        done = _write(before, plain, form, t, facts) if len(form) != 2 else _retract_entity(before, form, t, facts)
        return Prepared(facts, _NO_TEMPIDS, before.next_n, instant) if done else None
    if tx_data and type(tx_data[0]) is list:
        done = _writes(before, plain, tx_data, (instant, now), facts, set(), may_call=True)
        return Prepared(facts, _NO_TEMPIDS, before.next_n, instant) if done else None
    tempids: dict[str | int, int] = {}
    n = _maps(before, plain, tx_data, t, facts, tempids)
    return None if n is None else Prepared(facts, tempids, n, instant)


def _write(
    before: Snapshot, plain: PlainAttributes, form: list[Any], t: int, facts: list[Fact]
) -> tuple[int, int] | None:
    """Do one `[":db/add", e, a, v]` or `[":db/cas", e, a, old, new]` of a known entity and a plain attribute, and return which two.

    None when it is anything else, and when the comparison fails.
    """
    if len(form) == 4 and form[0] == ":db/add":
        _, e, key, v = form
    elif len(form) == 5 and form[0] == ":db/cas":
        _, e, key, expected, v = form
    else:
        return None
    known = plain[key] if isinstance(key, str) else None
    if known is None or type(e) is not int or not USER_BASE <= e < USER_BASE + before.next_n:
        return None
    a, kind, checks, _, verbs = known
    if type(v) is not kind or form[0] not in verbs:
        return None
    if checks:
        v = _checked(kind, v)
        if v is None:
            return None
    current = _current(before, e, a)
    if current is _UNSURE or (len(form) == 5 and current != _expected(known, expected)):
        return None
    if current != v:
        if current is not None:
            facts.append((e, a, current, t, False))
        facts.append((e, a, v, t, True))
    return e, a


def _writes(
    before: Snapshot,
    plain: PlainAttributes,
    forms: list[Any],
    times: tuple[int, int],  # instant and clock
    facts: list[Fact],
    seen: set[tuple[int, int]],
    *,
    may_call: bool,
) -> bool:
    """Do several such forms, no two of them about the same value, and calls of functions that return such; False when any is more."""
    t = before.t + 1
    for form in forms:
        if type(form) is not list:
            return False
        written = _write(before, plain, form, t, facts)
        if written is None:
            returned = _returned(before, form, times) if may_call else None
            if returned is None or not _writes(before, plain, returned, times, facts, seen, may_call=False):
                return False
        elif written in seen:
            return False
        else:
            seen.add(written)
    return True


def _returned(before: Snapshot, call: list[Any], times: tuple[int, int]) -> list[Any] | None:
    """Return the forms that the call of a transaction function stands for; None when it is no such call, or fails."""
    name = call[0] if call else None
    if type(name) is not str or "/" not in name:
        return None
    function = lookup(name)
    if function is None:
        return None
    try:
        with at_instant(*times):
            return list(forms_of(before.database, name, function, call[1:]))
    except TransactError:
        return None  # the whole way will say where


_UNSURE: Final = object()


def _current(before: Snapshot, e: int, a: int) -> Any:
    """Return the value of an attribute of cardinality one, None when there is none, or `_UNSURE` when that takes a closer look."""
    strand = before.novelty.strands.get(a)
    chain = None if strand is None else strand.of_entity(e)
    if chain is not None:
        # What was asserted last is all there is.
        return chain[0][2] if chain[0][4] else _UNSURE
    if strand is not None and strand.loaded:
        return _UNSURE
    known = before.index.values_of(a, e) if before.index.may_hold(e, a) else None
    return known[0][0] if known else None


def _expected(known: _Plain, value: Any) -> Any:
    if value is None:
        return None
    if type(value) is not known.kind:
        return _UNSURE
    if not known.checks:
        return value
    stored = _checked(known.kind, value)
    # What cannot be stored is no expectation that there is nothing: the whole way says what is wrong with it.
    return _UNSURE if stored is None else stored


def _retract_entity(before: Snapshot, form: list[Any], t: int, facts: list[Fact]) -> bool:
    """Do one `[":db/retractEntity", e]` of an entity without parts that nothing refers to; False when it is anything else."""
    if len(form) != 2 or form[0] != ":db/retractEntity" or type(form[1]) is not int:
        return False
    e, schema = form[1], before.schema
    if not USER_BASE <= e < USER_BASE + before.next_n or _may_be_referred_to(before, e):
        return False
    for a in sorted(before.novelty.attributes_of(e)):
        if (
            a < FIRST_FREE_ID
            or schema.attribute(a).is_component
            or schema.composites_of(a)
            or before.index.may_hold(e, a)
        ):
            return False
        strand = before.novelty.strands[a]
        chain = None if strand.loaded else strand.of_entity(e)
        if chain is None or chain[1] is not None:
            return False
        facts.append((e, a, chain[0][2], t, False))
    return not before.index.attributes_of(e)


def _may_be_referred_to(before: Snapshot, e: int) -> bool:
    for a in before.schema.references:
        strand = before.novelty.strands.get(a)
        if strand is not None and (strand.loaded or strand.with_value(e) is not None):
            return True
        if a >= FIRST_FREE_ID and before.index.count(a) and before.index.holders_of(a, e, INTEGERS):
            return True
    return False


def _maps(
    before: Snapshot, plain: PlainAttributes, forms: list[Any], t: int, facts: list[Fact], tempids: dict[str | int, int]
) -> int | None:
    """Make an entity of each map; return the next n, or None when one of them is more than that."""
    n = before.next_n
    taken: set[Any] = set()
    for form in forms:
        if type(form) is not dict or not form:
            return None
        e = USER_BASE | n
        n += 1
        for key, v in form.items():
            known = plain[key]
            if known is None:
                if key != ":db/id" or type(v) is not str or v in tempids or v[:1] in ":" or v.startswith("datomic"):
                    return None
                if len(form) == 1:
                    return None
                tempids[v] = e
                continue
            a, kind, checks, is_identity, _ = known
            if type(v) is not kind:
                return None
            if checks:
                v = _checked(kind, v)
                if v is None:
                    return None
            if is_identity:
                if (a, v) in taken or _is_held(before, a, v):
                    return None
                taken.add((a, v))
            facts.append((e, a, v, t, True))
    return n


def _checked(kind: type, v: Any) -> Any:
    """Return the stored value, or None when it is not one."""
    if kind is int:
        return v if LONG_MIN <= v <= LONG_MAX else None
    if kind is str:
        # The whole way says what is wrong with text that UTF-8 cannot hold.
        return v if v.isascii() or v.isprintable() else None
    if kind is float:
        return v if v == v else None
    try:
        return INSTANT.store(v)
    except ValueError:
        return None


def _is_held(before: Snapshot, a: int, v: Any) -> bool:
    strand = before.novelty.strands.get(a)
    if strand is not None and (strand.with_value(v) is not None or strand.loaded):
        return True
    # Novelty has no event of this value, so the index is right; no plain value needs a key to be ordered.
    return bool(before.index.holders_of(a, v, OBJECTS))


class PlainAttributes(dict[str, "_Plain | None"]):
    """The attributes of a schema that the short cut handles, by their present ident; each is looked at when first asked for.

    A schema may have thousands, and each declaration makes another schema.
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__({":db/id": None})
        self._schema = schema

    def __missing__(self, key: str) -> _Plain | None:
        """Look at an attribute, and remember it."""
        schema = self._schema
        attribute = schema.find(key) if isinstance(key, str) else None
        # Where entities are stamped no transaction is that simple.
        if attribute is None or schema.stamps:
            return None
        plain = self[key] = _plain(attribute) if attribute.ident == key and _is_plain(schema, attribute) else None
        return plain


_SCHEMAS: Final = 8  # The newest schema of a store is needed for each transaction, older ones hardly ever.
_plain_of: BoundedCache[Schema, PlainAttributes] = BoundedCache(max_entries=_SCHEMAS)


def plain_attributes(schema: Schema) -> PlainAttributes:
    """Return the attributes of a schema that the short cut handles, by their present ident."""
    found = _plain_of.get(schema)
    if found is None:
        found = _plain_of.put(schema, PlainAttributes(schema))
    return found


def _is_plain(schema: Schema, a: Attribute) -> bool:
    return (
        a.id >= FIRST_FREE_ID
        and a.value_type.name in _KINDS
        and not (a.preds or a.many or schema.composites_of(a.id))
        and (a.unique is None or a.is_identity)
        and schema.ident(a.id) == a.ident
    )


def _plain(a: Attribute) -> _Plain:
    name = a.value_type.name
    verbs = _NONE if a.is_identity or a.insert_only else _SWAPS if a.cas_only else _ALL
    return _Plain(a.id, _KINDS[name], name in ("long", "double", "string", "instant"), a.is_identity, verbs)
