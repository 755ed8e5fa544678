"""A number outside 64 bits is no entity: every way to pull rejects it, in memory and in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

import factstore


@pytest.mark.parametrize("number", [1 << 63, -(1 << 63) - 1, 10**30])
@pytest.mark.parametrize("pattern", ["[*]", "[:db/doc]"])
def test_a_number_outside_64_bits_is_rejected(tmp_path: Path, number: int, pattern: str) -> None:
    for uri in ("memory:", str(tmp_path / "s.facts")):
        with factstore.connect(uri) as conn:
            conn.transact([{":db/doc": "a text"}])
            for pulled in (lambda db: factstore.pull(db, pattern, number), lambda db: factstore.pull_many(db, pattern, [1, number])):
                with pytest.raises(factstore.DatabaseError, match="outside 64 bits"):
                    pulled(conn.db())
