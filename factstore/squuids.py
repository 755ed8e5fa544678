"""Squuids: random UUIDs that begin with the second they were made in, so that new ones lie together in an index.

bytes 0 to 3     seconds since 1970, big-endian
bytes 4 to 15    random, with the bits of a version 4 UUID
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime


def squuid(*, at: datetime | None = None) -> uuid.UUID:
    """Return a new semi-sequential UUID.

    Args:
        at: the aware datetime that it shall begin with; now by default.
    Source: Datomic API, squuid.
    """
    seconds = int((datetime.now(UTC) if at is None else at).timestamp()) & 0xFFFFFFFF
    return uuid.UUID(int=(seconds << 96) | (uuid.uuid4().int & ((1 << 96) - 1)))


def squuid_instant(squuid: uuid.UUID) -> datetime:
    """Return the second in which a squuid was made. Source: Datomic API, squuid-time-millis."""
    return datetime.fromtimestamp(squuid.int >> 96, UTC)
