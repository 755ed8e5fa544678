"""The law of instants as points: an instant is the last transaction at or before it, wherever its facts are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

import factstore

NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)
MINUTES = st.lists(st.integers(0, 3), max_size=40)


@given(pauses=MINUTES, indexed=st.integers(0, 40), asked=st.integers(-2, 90), seen=st.integers(0, 45), speculated=st.integers(0, 2))
def test_an_instant_is_the_last_transaction_by_then(pauses: list[int], indexed: int, asked: int, seen: int, speculated: int) -> None:
    now = [NOON]
    with factstore.connect("memory:", clock=lambda: now[0]) as conn:
        for i, pause in enumerate(pauses):
            now[0] += timedelta(minutes=pause)
            conn.transact([{":db/id": "x", ":db/doc": str(i)}])
            if i == indexed:
                conn._committer.index()
        db = conn.db()
        for _ in range(speculated):
            db = factstore.with_(db, [{":db/id": "x", ":db/doc": "new"}]).db_after
        at = NOON + timedelta(minutes=asked)
        instants = {t: db.instant_of(t) for t in range(1, db.basis_t + 1)}
        for view, last in ((db, db.basis_t), (db.as_of(min(seen, db.basis_t)), min(seen, db.basis_t))):
            by_then = [t for t, instant in instants.items() if t <= last and instant is not None and instant <= at]
            assert max(by_then, default=0) == view.t_at(at)
