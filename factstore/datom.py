"""Datoms and entity ids: the arithmetic of `eid = partition << 42 | n`, and of a transaction's t and its entity.

Inside the package a datom is the plain tuple `(e, a, v, t, added)` of attribute id, stored value and t; `Datom` is what
users see, with the transaction's entity id and the value they wrote.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

PARTITION_BITS: Final = 42
SCHEMA_PARTITION: Final = 0
TX_PARTITION: Final = 1
USER_PARTITION: Final = 2
TX_BASE: Final = TX_PARTITION << PARTITION_BITS
USER_BASE: Final = USER_PARTITION << PARTITION_BITS
N_MASK: Final = (1 << PARTITION_BITS) - 1

Fact: TypeAlias = tuple[int, int, Any, int, bool]  # e, attribute id, stored value, t, added


class Datom(NamedTuple):
    """A fact as users see it: entity id, attribute id, value, transaction's entity id, and whether it was asserted."""

    e: int
    a: int
    v: Any
    tx: int
    added: bool


def partition_of(eid: int) -> int:
    """Return the partition an entity id lies in."""
    return eid >> PARTITION_BITS


def tx_of(t: int) -> int:
    """Return the entity id of transaction t."""
    return TX_BASE | t


def t_of(tx: int) -> int:
    """Return the t of a transaction's entity id; a t is returned as it is."""
    return tx & N_MASK
