"""The table of codes says all that a transaction can be rejected with."""

from __future__ import annotations

import re
from pathlib import Path

import factstore
from factstore.error_codes import CODES

PACKAGE = Path(factstore.__file__).parent
OF_CALLS = {":db.error/history-not-supported", ":db.error/invalid-clock", ":db.error/no-transaction"}


def test_every_code_is_in_the_table_and_the_table_has_no_other():
    sources = [*(PACKAGE / "transact").glob("*.py"), PACKAGE / "schema" / "alter.py"]
    used = {code for path in sources for code in re.findall(r":db\.error/[a-z-]+", path.read_text(encoding="utf-8"))}
    assert set(CODES) | {":db.error/cardinality-violation"} == used - OF_CALLS


def test_every_meaning_is_a_sentence():
    assert [] == [code for code, meaning in CODES.items() if not meaning.endswith((".", "returned."))]
