"""What the stages after the resolution of tempids hand on to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from factstore.datom import Fact
from factstore.transact.expand import Claim
from factstore.transact.forms import Place
from factstore.values.types import Stored

Key: TypeAlias = tuple[int, int, Stored]  # e, a, v


class Settled(NamedTuple):
    """The claims, with entities in the place of slots."""

    asserted: Sequence[Claim]
    special: Mapping[str, Sequence[Claim]]
    doomed: Sequence[tuple[int, Place]]


class Changes(NamedTuple):
    """What a transaction changes."""

    facts: list[Fact]
    uniques: list[Fact]  # those that assert a unique value
    gone: set[Key]  # what was named in a retraction and was there, and unique values that were replaced
