"""What every engine refuses in the same words."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from factstore.errors import Closed, Conflict, Corrupt, ReadOnly
from factstore.storage.protocol import TXID_BYTES, Record


def check_txids(records: Iterable[tuple[bytes, bytes]]) -> None:
    """Raise ValueError unless each record's txid has 16 bytes."""
    for txid, _ in records:
        if len(txid) != TXID_BYTES:
            raise ValueError(f"a txid has {TXID_BYTES} bytes, got {len(txid)}")


def check_head(found: int, expected: int) -> None:
    """Raise `Conflict` unless the head of the log is the one expected."""
    if found != expected:
        raise Conflict(":db.error/storage-conflict", f"the head of the log is {found}, expected {expected}", head=found)


def check_same(record: Record, txid: bytes | None) -> None:
    """Raise `Conflict` unless a record has the txid of the one whose place it takes."""
    if record.txid != txid:
        raise Conflict(
            ":db.error/storage-conflict",
            f"the log has no record of t={record.t} with txid {record.txid.hex()}",
            t=record.t,
        )


def check_version(found: int, expected: int) -> None:
    """Raise `Conflict` unless the newest version of the root is the one expected."""
    if found != expected:
        raise Conflict(
            ":db.error/storage-conflict", f"the root is at version {found}, expected {expected}", version=found
        )


def check_found(ids: Sequence[bytes], found: Container[bytes], uri: str) -> None:
    """Raise `Corrupt` unless all these blocks were found."""
    if missing := [block_id.hex() for block_id in ids if block_id not in found]:
        raise Corrupt(":db.error/storage-corrupt", f"{uri} has no block {', '.join(missing)}", ids=missing)


def damaged(uri: str, what: str, **data: object) -> Corrupt:
    """Return the error of a file whose bytes are not what was written."""
    message = f"{uri} is damaged: {what}; see what `factstore check` finds, and restore a backup"
    return Corrupt(":db.error/storage-corrupt", message, uri=uri, **data)


def read_only(uri: str) -> ReadOnly:
    """Return the error of a write to a handle that was opened for reading."""
    return ReadOnly(":db.error/read-only", f"{uri} was opened for reading only", uri=uri)


def closed(uri: str, why: str = "was closed") -> Closed:
    """Return the error of any verb on a handle that can no longer be used."""
    return Closed(":db.error/storage-closed", f"{uri} {why}", uri=uri)
