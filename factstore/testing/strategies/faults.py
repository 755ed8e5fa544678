"""Faults of a storage, for `FaultyStorage.arm`."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from factstore.testing.faults import KINDS, TORN, VERBS, Fault


def faults(
    *, verbs: Sequence[str] = VERBS, kinds: Sequence[str] = KINDS, max_after: int = 5, max_bytes: int = 200
) -> SearchStrategy[Fault]:
    """Return a strategy for faults of a storage.

    Args:
        verbs: of the storage protocol.
        kinds: as `Fault.kind`; "torn" is drawn only for verbs that write bytes.
        max_after: the maximum number of calls that pass before the fault.
        max_bytes: the maximum number of bytes that a torn write stores.
    """
    return _faults(tuple(verbs), tuple(kinds), max_after, max_bytes)


@st.composite
def _faults(draw: DrawFn, verbs: tuple[str, ...], kinds: tuple[str, ...], max_after: int, max_bytes: int) -> Fault:
    verb = draw(st.sampled_from(verbs))
    kind = draw(st.sampled_from([kind for kind in kinds if kind != "torn" or verb in TORN]))
    at = draw(st.integers(0, max_bytes)) if kind == "torn" else 0
    return Fault(kind, verb, draw(st.integers(0, max_after)), at)
