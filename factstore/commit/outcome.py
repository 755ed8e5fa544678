"""The outcome of a commit that raised an exception: was the transaction committed or not?

The storage decides for an append that was interrupted, by its txid: reading the log would not be enough, because a
request to a server can still be on its way. `UnknownOutcome` states that the transaction was committed although the
caller got no report, or that the storage cannot decide now. Law: any other exception means that nothing was committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from factstore.errors import Conflict, Interrupted, StorageError, Unavailable, UnknownOutcome
from factstore.storage import Storage

Sent: TypeAlias = list[
    tuple[bytes, int]
]  # the txid of an append that may have been applied, and the t before it; or empty


def applied_t(storage: Storage, sent: Sequence[tuple[bytes, int]]) -> int | None:
    """Return the t under which an append was applied; None if it was not, and will not be."""
    return next((t for txid, _ in sent if (t := storage.resolve(txid)) is not None), None)


def is_applied(storage: Storage, error: UnknownOutcome, sent: Sequence[tuple[bytes, int]]) -> bool:
    """Return whether an append whose answer was lost was applied; False: it was not, and will not be.

    Raises: UnknownOutcome, if the storage cannot be reached either; its call has waited for it already.
    """
    try:
        return applied_t(storage, sent) is not None
    except StorageError as unreadable:
        raise unknown(error, sent, unreadable) from error


def is_stated(error: BaseException, sent: Sequence[tuple[bytes, int]]) -> bool:
    """Return whether an error is about the outcome of these appends, and not of another write of the same call."""
    if not isinstance(error, UnknownOutcome):
        return False
    return "t" in error.data or not {txid for txid, _ in sent}.isdisjoint(error.data.get("txids", ()))


def not_applied(error: UnknownOutcome) -> Unavailable:
    """Return the error for a write that certainly was not applied, and is not tried again."""
    text = f"nothing was committed, because the storage could not be reached for long enough: {error.message}"
    return Unavailable(":db.error/storage-unavailable", text, temporary=True)


def is_outage(error: BaseException) -> bool:
    """Return whether an error came after a wait for a storage that cannot be reached; another call waits again."""
    return isinstance(error, UnknownOutcome) or (isinstance(error, Unavailable) and bool(error.data.get("temporary")))


def raise_if_committed(storage: Storage, error: BaseException, sent: Sequence[tuple[bytes, int]]) -> None:
    """Raise `UnknownOutcome` or `Interrupted` if a transaction was committed although its call ends with an error.

    `SystemExit` and `GeneratorExit` end the program or generator, so they get a note instead.
    """
    try:
        t = applied_t(storage, sent)
    except StorageError as unreadable:
        raise unknown(error, sent, unreadable) from error
    if t is None:
        return
    if isinstance(error, SystemExit | GeneratorExit):
        error.add_note(f"the transaction was committed as t={t}")
        return
    kind = Interrupted if isinstance(error, KeyboardInterrupt) else UnknownOutcome
    text = f"the transaction was committed as t={t}, but then {error!r} was raised and its report was lost"
    raise kind(":db.error/storage-unknown-outcome", text, t=t, txids=[txid for txid, _ in sent]) from error


def unknown(error: BaseException | None, sent: Sequence[tuple[bytes, int]], unreadable: StorageError) -> UnknownOutcome:
    """Return the error for an interrupted commit when the log cannot be read to find out whether it was applied."""
    text = f"{error!r} interrupted the commit, and the log cannot be read to see whether it was applied: {unreadable}"
    return UnknownOutcome(":db.error/storage-unknown-outcome", text, txids=[txid for txid, _ in sent])


def passed() -> Conflict:
    """Return the error for a block of `conn.transaction()` that other writers did not wait for any longer."""
    text = (
        "others have committed while this block was open, because it took longer than their busy_timeout;"
        " nothing was committed, run it again"
    )
    return Conflict(":db.error/storage-conflict", text)
