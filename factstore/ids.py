"""Ids that need no database: t and transactions, entity ids and partitions, tempids, squuids.

Law: `tx_to_t(t_to_tx(t))` is t, and what a t or a transaction's id already is, it stays.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Final

from factstore.datom import SCHEMA_PARTITION, TX_PARTITION, USER_PARTITION, partition_of, t_of, tx_of
from factstore.errors import DatabaseError
from factstore.values.quoting import quoted
from factstore.values.types import Keyword

_PARTITIONS: Final = {
    SCHEMA_PARTITION: Keyword(":db.part/db"),
    TX_PARTITION: Keyword(":db.part/tx"),
    USER_PARTITION: Keyword(":db.part/user"),
}
_tempids: Final = count(1)


def t_to_tx(t: int) -> int:
    """Return the entity id of transaction t.

    Raises: DatabaseError(:db.error/invalid-point) for what can be no t. Source: Datomic API, t->tx.

    >>> tx_to_t(t_to_tx(7))
    7
    """
    return tx_of(_whole(t))


def tx_to_t(tx: int) -> int:
    """Return the t of a transaction's entity id.

    Raises: DatabaseError(:db.error/invalid-point). Source: Datomic API, tx->t.
    """
    return t_of(_whole(tx))


def _whole(point: int) -> int:
    if type(point) is not int or point < 0 or partition_of(point) not in (SCHEMA_PARTITION, TX_PARTITION):
        raise DatabaseError(
            ":db.error/invalid-point", f"expected t or a transaction's id, got {quoted(point)}", point=point
        )
    return point


def part(eid: int) -> Keyword:
    """Return the ident of the partition that an entity id lies in. Source: Datomic API, part.

    Raises: DatabaseError(:db.error/invalid-entity-id) for an int that can be no entity's.

    >>> part(t_to_tx(7))
    :db.part/tx
    """
    found = _PARTITIONS.get(partition_of(eid)) if type(eid) is int else None
    if found is None:
        raise DatabaseError(
            ":db.error/invalid-entity-id",
            f"expected an entity id, got {quoted(eid)}, which lies in no partition",
            got=eid,
        )
    return found


def tempid() -> str:
    """Return a tempid that nobody else has, for code that puts forms together. Any other string will do. Source: Datomic API, tempid.

    >>> tempid() == tempid()
    False
    """
    return f"tempid-{next(_tempids)}"


def resolve_tempid(tempids: Mapping[str | int, int], tempid: str | int) -> int | None:
    """Return the entity that a tempid became, of a report's tempids; None when there was none of this name.

    Source: Datomic API, resolve-tempid.
    """
    return tempids.get(tempid)


def squuid(*, at: datetime | None = None) -> uuid.UUID:
    """Return a new squuid: a random UUID that begins with the second it was made in, so that new ones lie together in an index.

    Bytes 0 to 3 are the seconds since 1970, big-endian; bytes 4 to 15 are random, with the bits of a version 4 UUID.

    Args:
        at: the aware datetime that it shall begin with; now by default.
    Source: Datomic API, squuid.
    """
    seconds = int((datetime.now(UTC) if at is None else at).timestamp()) & 0xFFFFFFFF
    return uuid.UUID(int=(seconds << 96) | (uuid.uuid4().int & ((1 << 96) - 1)))


def squuid_instant(squuid: uuid.UUID) -> datetime:
    """Return the second in which a squuid was made. Source: Datomic API, squuid-time-millis."""
    return datetime.fromtimestamp(squuid.int >> 96, UTC)
