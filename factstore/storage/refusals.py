"""Checks and errors that all engines share."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from factstore.errors import Closed, Conflict, Corrupt, ReadOnly
from factstore.storage.protocol import TXID_BYTES, Record


def check_txids(records: Iterable[tuple[bytes, bytes]]) -> None:
    """Raise ValueError unless the txid of each record has 16 bytes."""
    for txid, _ in records:
        if len(txid) != TXID_BYTES:
            raise ValueError(f"a txid has {TXID_BYTES} bytes, got {len(txid)}")


def check_head(head: int, expected: int) -> None:
    """Raise `Conflict` unless the head of the log is the expected one."""
    if head != expected:
        raise Conflict(":db.error/storage-conflict", f"the head of the log is {head}, expected {expected}", head=head)


def check_same(record: Record, txid: bytes | None) -> None:
    """Raise `Conflict` unless a record has the txid of the record that it replaces."""
    if record.txid != txid:
        raise Conflict(
            ":db.error/storage-conflict",
            f"the log has no record of t={record.t} with txid {record.txid.hex()}",
            t=record.t,
        )


def check_version(version: int, expected: int) -> None:
    """Raise `Conflict` unless the newest version of the root is the expected one."""
    if version != expected:
        raise Conflict(
            ":db.error/storage-conflict", f"the root is at version {version}, expected {expected}", version=version
        )


def check_found(ids: Sequence[bytes], blocks: Container[bytes], uri: str) -> None:
    """Raise `Corrupt` unless all these blocks were found."""
    if missing := [block_id.hex() for block_id in ids if block_id not in blocks]:
        raise Corrupt(":db.error/storage-corrupt", f"{uri} has no block {', '.join(missing)}", ids=missing)


def damaged(uri: str, what: str, **data: object) -> Corrupt:
    """Return the error for a file with other bytes than were written."""
    message = f"{uri} is damaged: {what}; run `factstore check`, and restore a backup"
    return Corrupt(":db.error/storage-corrupt", message, uri=uri, **data)


def read_only(uri: str) -> ReadOnly:
    """Return the error for a write to a handle that was opened for reading only."""
    return ReadOnly(":db.error/read-only", f"{uri} was opened for reading only", uri=uri)


def closed(uri: str, why: str = "was closed") -> Closed:
    """Return the error for an operation on a handle that can no longer be used."""
    return Closed(":db.error/storage-closed", f"{uri} {why}", uri=uri)
