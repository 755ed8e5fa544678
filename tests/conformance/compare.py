"""Expectations: whether what came of a case is what it expects, and if not, how they differ.

Law: values compare by type and value, at every depth: 1, 1.0 and true are three values, "a" and :a are two.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Set
from typing import Any, Final

from tests.conformance.case import CaseError, Outcome, World

# Our codes and the categories of errors they are; a code that is not here is not compared.
CATEGORIES: Final[Mapping[str, frozenset[str]]] = {
    ":db.error/attr-pred": frozenset({":attr-pred-failed"}),
    ":db.error/attribute-not-indexed": frozenset({":unknown-index", ":invalid-range"}),
    ":db.error/cas-failed": frozenset({":cas-failed"}),
    ":db.error/composite-tuple-write": frozenset({":composite-tuple-write"}),
    ":db.error/datom-cannot-be-altered": frozenset({":invalid-schema", ":invalid-alteration"}),
    ":db.error/datoms-conflict": frozenset({":datoms-conflict"}),
    ":db.error/entity-attr": frozenset({":entity-spec-failed"}),
    ":db.error/entity-pred": frozenset({":entity-spec-failed"}),
    ":db.error/function-failed": frozenset({":query/function-failed"}),
    ":db.error/future-tx-instant": frozenset({":invalid-tx-instant"}),
    ":db.error/history-not-supported": frozenset({":history-not-supported"}),
    ":db.error/insufficient-binding": frozenset({":query/unbound"}),
    ":db.error/invalid-alter-attribute": frozenset({":invalid-alteration"}),
    ":db.error/invalid-entity-id": frozenset({":not-an-entity"}),
    ":db.error/invalid-inputs": frozenset({":query/inputs"}),
    ":db.error/invalid-install-attribute": frozenset({":invalid-schema"}),
    ":db.error/invalid-lookup-ref": frozenset({":invalid-lookup-ref"}),
    ":db.error/invalid-pull": frozenset({":pull/invalid"}),
    ":db.error/invalid-query": frozenset({":query/invalid"}),
    ":db.error/invalid-tempid": frozenset({":invalid-tx-form"}),
    ":db.error/invalid-tuple-attrs": frozenset({":invalid-schema"}),
    ":db.error/invalid-tuple-value": frozenset({":wrong-type"}),
    ":db.error/invalid-tx-data": frozenset({":invalid-tx-form"}),
    ":db.error/invalid-tx-form": frozenset({":invalid-tx-form"}),
    ":db.error/lookup-ref-attr-not-unique": frozenset({":lookup-ref-not-unique"}),
    ":db.error/nil-value": frozenset({":nil-value"}),
    ":db.error/not-an-entity": frozenset({":not-an-entity", ":lookup-ref-unresolved", ":unknown-attribute"}),
    ":db.error/not-an-entity-spec": frozenset({":entity-spec-failed", ":invalid-schema"}),
    ":db.error/past-tx-instant": frozenset({":invalid-tx-instant"}),
    ":db.error/reserved-ident": frozenset({":invalid-schema"}),
    ":db.error/tempid-not-an-entity": frozenset({":tempid-unused"}),
    ":db.error/tx-function-failed": frozenset({":tx-function-failed"}),
    ":db.error/unique-conflict": frozenset({":unique-conflict"}),
    ":db.error/unique-violation": frozenset({":invalid-alteration", ":unique-conflict"}),
    ":db.error/unknown-attribute": frozenset({":unknown-attribute", ":query/unknown-attribute", ":pull/unknown-attribute"}),
    ":db.error/unknown-function": frozenset({":query/unknown-function"}),
    ":db.error/unknown-index": frozenset({":unknown-index"}),
    ":db.error/unknown-rule": frozenset({":query/unknown-rule", ":query/unknown-function"}),
    ":db.error/unknown-source": frozenset({":query/unknown-source"}),
    ":db.error/unknown-tx-function": frozenset({":unknown-tx-function"}),
    ":db.error/unsupported-alter-schema": frozenset({":invalid-alteration"}),
    ":db.error/upsert-conflict": frozenset({":upsert-conflict", ":unique-conflict"}),
    ":db.error/wrong-type-for-attribute": frozenset({":wrong-type"}),
}


def mismatch(expect: Mapping[str, Any], outcome: Outcome, world: World) -> str | None:
    """Return how an outcome differs from what is expected, None when it does not."""
    if ":any-of" in expect:
        return mismatch_of_any(expect[":any-of"], outcome, world)
    ((kind, wanted),) = ((key, value) for key, value in expect.items())
    if kind == ":error":
        return mismatch_of_error(wanted, outcome)
    if outcome.error is not None:
        return f"expected {kind} {wanted!r}, got the error {outcome.error}"
    if kind not in KINDS:
        raise CaseError(f"an expectation that this runner does not know: {kind}")
    expected, got = KINDS[kind](world.filled(wanted), outcome.value)
    return None if expected == got else f"expected {kind} {wanted!r}\n     got {outcome.value!r}"


def mismatch_of_any(choices: list[Mapping[str, Any]], outcome: Outcome, world: World) -> str | None:
    found = [mismatch(choice, outcome, world) for choice in choices]
    return None if None in found else "\nor ".join(map(str, found))


def mismatch_of_error(category: str, outcome: Outcome) -> str | None:
    if outcome.error is None:
        return f"expected the error {category}, got {outcome.value!r}"
    known = CATEGORIES.get(outcome.error.code)
    if known is None or category in known:
        return None
    return f"expected the error {category}, got {outcome.error}"


# -- canonical forms: two values have the same one if and only if they count as equal


def exact(value: Any) -> Hashable:
    """Return the canonical form of a value: vectors in order."""
    return canonical(value, lambda items: tuple(items))


def unordered(value: Any) -> Hashable:
    """Return the canonical form of a value whose vectors, at every depth, are multisets."""
    return canonical(value, multiset)


def canonical(value: Any, of_vector: Callable[[list[Hashable]], Hashable]) -> Hashable:
    if isinstance(value, Mapping):
        if list(value) == [":set"]:
            return canonical(frozenset_of(value[":set"]), of_vector)
        return "map", frozenset((exact(key), canonical(item, of_vector)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return "vector", of_vector([canonical(item, of_vector) for item in value])
    if isinstance(value, Set):
        return "set", frozenset(canonical(item, of_vector) for item in value)
    if isinstance(value, float):
        return type(value).__name__, "nan" if math.isnan(value) else value
    return type(value).__name__, value


def frozenset_of(value: Any) -> frozenset[Any]:
    if not isinstance(value, Set):
        raise CaseError(f"expected a set, got {value!r}")
    return value


def multiset(items: list[Hashable]) -> Hashable:
    return frozenset(Counter(items).items())


def rows_of(value: Any) -> list[Any]:
    """Return the rows of a result; what is none has no rows to compare."""
    if not isinstance(value, list | tuple | set | frozenset):
        return [("not a collection", value)]
    return list(value)


Pair = tuple[Any, Any]


def as_set(expected: Any, got: Any) -> Pair:
    wanted, found = [exact(row) for row in expected], [exact(row) for row in rows_of(got)]
    # A relation is a set: a row that comes twice is one too many.
    return Counter(set(wanted)), Counter(found)


def as_collection(expected: Any, got: Any) -> Pair:
    return multiset([exact(item) for item in expected]), multiset([exact(item) for item in rows_of(got)])


def as_bag(expected: Any, got: Any) -> Pair:
    return multiset([unordered(item) for item in expected]), multiset([unordered(item) for item in rows_of(got)])


def as_value(expected: Any, got: Any) -> Pair:
    return exact(expected), exact(got)


def as_pull(expected: Any, got: Any) -> Pair:
    return unordered(expected), unordered(got)


def as_datoms(expected: Any, got: Any) -> Pair:
    width = max(map(len, expected), default=3)
    return [exact(row) for row in expected], [exact(row[:width]) for row in got]


def as_datoms_set(expected: Any, got: Any) -> Pair:
    wanted, found = as_datoms(expected, got)
    return frozenset(wanted), frozenset(found)


def as_report(expected: Any, got: Any) -> Pair:
    wanted = {key[1:]: expected.get(key, []) for key in (":added", ":retracted")}
    return tuple(map(by_part(wanted), wanted)), tuple(map(by_part(got), wanted))


def by_part(report: Mapping[str, list[Any]]) -> Callable[[str], Hashable]:
    return lambda part: multiset([exact(row) for row in report[part]])


def as_tempids(expected: Any, got: Any) -> Pair:
    found = {
        ":same": [pair for pair in expected.get(":same", []) if len({got[name] for name in pair}) == 1],
        ":distinct": [pair for pair in expected.get(":distinct", []) if len({got[name] for name in pair}) == len(pair)],
    }
    return {":same": expected.get(":same", []), ":distinct": expected.get(":distinct", [])}, found


def as_log(expected: Any, got: Any) -> Pair:
    wanted = [(entry[":tx"], multiset([exact(row) for row in entry[":data"]])) for entry in expected]
    return wanted, [(entry["tx"], multiset([exact(row) for row in entry["data"]])) for entry in got]


def as_log_txs(expected: Any, got: Any) -> Pair:
    return expected, [entry["tx"] for entry in got]


KINDS: Final[Mapping[str, Callable[[Any, Any], Pair]]] = {
    ":set": as_set,
    ":coll": as_collection,
    ":bag": as_bag,
    ":value": as_value,
    ":pull": as_pull,
    ":datoms": as_datoms,
    ":datoms-set": as_datoms_set,
    ":report": as_report,
    ":tempids": as_tempids,
    ":log": as_log,
    ":log-txs": as_log_txs,
}
