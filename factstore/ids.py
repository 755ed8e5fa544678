"""Ids that need no database: t and transactions, entity ids and partitions, tempids, squuids.

Law: `tx_to_t(t_to_tx(t))` is t; both functions return an argument that already is of the result's kind.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Final

from factstore.datom import SCHEMA_PARTITION, TX_PARTITION, USER_PARTITION, partition_of, t_of, tx_of
from factstore.errors import DatabaseError
from factstore.values.moments import moment
from factstore.values.quoting import described, quoted
from factstore.values.types import Keyword

_PARTITIONS: Final = {
    SCHEMA_PARTITION: Keyword(":db.part/db"),
    TX_PARTITION: Keyword(":db.part/tx"),
    USER_PARTITION: Keyword(":db.part/user"),
}
_tempids: Final = count(1)


def t_to_tx(t: int) -> int:
    """Return the entity id of transaction t.

    Raises: DatabaseError(:db.error/invalid-point) for a value that cannot be a t. Source: Datomic API, t->tx.

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
    """Return the ident of the partition of an entity id. Source: Datomic API, part.

    Raises: DatabaseError(:db.error/invalid-entity-id) for a value that cannot be an entity id.

    >>> part(t_to_tx(7))
    :db.part/tx
    """
    ident = _PARTITIONS.get(partition_of(eid)) if type(eid) is int else None
    if ident is None:
        raise DatabaseError(
            ":db.error/invalid-entity-id",
            f"expected an entity id, got {quoted(eid)}, which is in no partition",
            got=eid,
        )
    return ident


def tempid() -> str:
    """Return a tempid that is unique in this process, for code that builds forms; any other string works too.

    Source: Datomic API, tempid.

    >>> tempid() == tempid()
    False
    """
    return f"tempid-{next(_tempids)}"


def resolve_tempid(tempids: Mapping[str | int, int], tempid: str | int) -> int | None:
    """Return the entity id of a tempid from the tempids of a report; None if it has none of this name.

    Raises: DatabaseError(:db.error/invalid-tempids) if the tempids are not a mapping.
    Source: Datomic API, resolve-tempid.
    """
    if not isinstance(tempids, Mapping):
        why = f"resolve_tempid reads the tempids of a report, a mapping; got {described(tempids)}"
        raise DatabaseError(":db.error/invalid-tempids", why, got=tempids)
    return tempids.get(tempid)


def squuid(*, at: datetime | None = None) -> uuid.UUID:
    """Return a new squuid: a random UUID that begins with the current second, so new ones are adjacent in an index.

    Bytes 0 to 3 are the seconds since 1970, big-endian; bytes 4 to 15 are random, with the bits of a version 4 UUID.

    Args:
        at: the aware datetime that it begins with; now by default.
    Raises: DatabaseError(:db.error/invalid-point).
    Source: Datomic API, squuid.
    """
    seconds = int((datetime.now(UTC) if at is None else moment(at)).timestamp()) & 0xFFFFFFFF
    return uuid.UUID(int=(seconds << 96) | (uuid.uuid4().int & ((1 << 96) - 1)))


def squuid_instant(squuid: uuid.UUID) -> datetime:
    """Return the second in which a squuid was created. Source: Datomic API, squuid-time-millis."""
    return datetime.fromtimestamp(squuid.int >> 96, UTC)
