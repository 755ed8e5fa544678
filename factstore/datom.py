"""Datoms, and the arithmetic of entity ids: `eid = partition << 42 | n`. The n of a transaction is its t.

Inside the package a fact is the plain tuple `(e, a, v, t, added)` with an attribute id and a stored value. Users get a
`Datom`, with the entity id of the transaction and the value as they wrote it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

from factstore.rendering import shown_as_record

PARTITION_BITS: Final = 42
SCHEMA_PARTITION: Final = 0
TX_PARTITION: Final = 1
USER_PARTITION: Final = 2
TX_BASE: Final = TX_PARTITION << PARTITION_BITS
USER_BASE: Final = USER_PARTITION << PARTITION_BITS
N_MASK: Final = (1 << PARTITION_BITS) - 1

# The positions of the components in a fact tuple (e, a, v, t), in the order of each index.
ORDERS: Final[dict[str, tuple[int, int, int]]] = {
    "eavt": (0, 1, 2),
    "aevt": (1, 0, 2),
    "avet": (1, 2, 0),
    "vaet": (2, 1, 0),
}

Fact: TypeAlias = tuple[int, int, Any, int, bool]  # e, attribute id, stored value, t, added


@shown_as_record
class Datom(NamedTuple):
    """A fact as users get it: entity, attribute id, value, entity id of the transaction, and whether it was added."""

    e: int
    a: int
    v: Any
    tx: int
    added: bool


def partition_of(eid: int) -> int:
    """Return the partition of an entity id."""
    return eid >> PARTITION_BITS


def tx_of(t: int) -> int:
    """Return the entity id of transaction t."""
    return TX_BASE | t


def t_of(tx: int) -> int:
    """Return the t of the entity id of a transaction; a t is returned unchanged."""
    return tx & N_MASK
