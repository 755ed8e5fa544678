"""The comparison of the answers of both stores, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from factstore import edn
from tests.conformance.compare import unordered
from tests.datomic.explained import explanation
from tests.datomic.peer import Peer
from tests.datomic.store import World


class Difference(NamedTuple):
    """A step that the stores answer in different ways; `why` is the id of a deliberate difference, or None."""

    step: Mapping[str, Any]
    ours: list[Any]
    theirs: list[Any]
    why: str | None


def differences(steps: list[Mapping[str, Any]], peer: Peer) -> list[Difference]:
    """Return the differences of a case; after a transaction that differs, the stores are no longer comparable."""
    found = []
    for step, ours, theirs in zip(steps, World().answers(steps), peer.answers(steps), strict=True):
        if not same(step, ours, theirs):
            found.append(Difference(step, ours, theirs, explanation(step, ours, theirs)))
            if ":tx" in step:
                break
    return found


def same(step: Mapping[str, Any], ours: list[Any], theirs: list[Any]) -> bool:
    """Return whether two answers are the same: equal values in any order, or errors."""
    if ours[0] != theirs[0] or ours[0] == ":error":
        return bool(ours[0] == theirs[0])
    if ":query" in step or ":tx" in step:  # Datomic returns rows as a set, or groups as a list, and some facts twice
        return set(map(unordered, ours[1])) == set(map(unordered, theirs[1]))
    return unordered(ours) == unordered(theirs)


def shown(steps: list[Mapping[str, Any]], found: list[Difference]) -> str:
    """Return a case and its differences as text."""
    lines = [edn.write(step) for step in steps]
    for step, ours, theirs, why in found:
        lines += ["", edn.write(step), f"    factstore: {edn.write(ours)}", f"    Datomic:   {edn.write(theirs)}"]
        lines += [f"    deliberate: {why}"] if why else []
    return "\n".join(lines)
