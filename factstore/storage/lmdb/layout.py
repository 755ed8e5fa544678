"""The layout of the main database of an LMDB file, its format number, and the checks of both when it is opened.

    main database   "blocks", "roots", "stamp", "journal"  their names sort before every key of the log
                    2^63 | t, 8 bytes big-endian           -> txid, body: the last key is the last record in LMDB

Format 2 can have a journal, in which the newest records are; the stamp says so as soon as the first one is started.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from struct import Struct
from typing import Any, Final

import lmdb

from factstore.errors import NotAStore
from factstore.storage.lmdb.environment import Txn
from factstore.storage.refusals import damaged

FORMAT: Final = 2

STAMP: Final = b"stamp"
JOURNAL: Final = b"journal"  # -> the marker of the journal in use
LOG: Final = 1 << 63
_BESIDE_THE_LOG: Final = 3  # keys of the main database: blocks, roots, stamp
key = Struct(">Q").pack


def base_of(txn: Txn) -> int:
    """Return the t of the last record in LMDB."""
    cursor = txn.cursor()
    return max(0, int.from_bytes(cursor.key()) - LOG) if cursor.last() else 0


def raise_format(txn: Txn) -> None:
    """Note that the file is of the format with a journal, which older versions of factstore cannot read."""
    stamp = json.loads(txn.get(STAMP) or b"{}")
    if stamp["format"] < FORMAT:
        txn.put(STAMP, json.dumps(stamp | {"format": FORMAT}).encode())


def lay_out(env: lmdb.Environment, path: Path, create: bool) -> dict[str, Any]:
    """Return the databases of a store; they are created in an empty file."""
    with env.begin() as txn:
        stamp = txn.get(STAMP)
        entries = txn.stat()["entries"]
    if stamp is None and not entries and create:
        new_stamp = {"format": 1, "created": datetime.now(UTC).isoformat()}
        with env.begin(write=True) as txn:
            if txn.get(STAMP) is None:  # another process can have been first
                txn.put(STAMP, json.dumps(new_stamp).encode())
                for name in (b"blocks", b"roots"):
                    env.open_db(name, txn=txn, create=True)
            stamp = txn.get(STAMP)
    if stamp is None:
        raise NotAStore(":db.error/not-a-store", f"{path} is an LMDB file, but not a fact store", path=str(path))
    version = _format(stamp, path)
    if version > FORMAT:
        raise NotAStore(
            ":db.error/not-a-store",
            f"{path} has format {version}, this version of factstore reads up to format {FORMAT}",
            path=str(path),
            found=version,
            supported=FORMAT,
        )
    with env.begin() as txn:
        _check_count(txn, path)
    # A database that is opened inside a read transaction is closed with it.
    return {name: env.open_db(name.encode(), create=False) for name in ("blocks", "roots")}


def _format(stamp: bytes, path: Path) -> int:
    try:
        return int(json.loads(stamp)["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(f"lmdb:{path}", f"its stamp {stamp!r} is none") from error


def _check_count(txn: Txn, path: Path) -> None:
    """Raise `Corrupt` unless the number of records is the last t: a damaged header can lead to an older state."""
    beside = _BESIDE_THE_LOG + (txn.get(JOURNAL) is not None)
    records, head = txn.stat()["entries"] - beside, base_of(txn)
    if records != head:
        raise damaged(f"lmdb:{path}", f"the log has {records} records, and its last one is t={head}", t=head)
