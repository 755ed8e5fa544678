"""What live systems of this kind answer, we answer too: one test per case of the corpus."""

from __future__ import annotations

import pytest

import factstore
from tests.conformance import functions
from tests.conformance.case import Case, run
from tests.conformance.compare import mismatch

assert functions.__doc__, "imported for what it registers"


def test_a_case_comes_out_as_it_was_recorded(case: Case) -> None:
    with factstore.connect("memory:") as conn:
        world, outcome = run(case, conn)
        difference = mismatch(case.form[":expect"], outcome, world)
    if difference is not None:
        pytest.fail(f"{case.id}: {case.form[':doc']}\n{difference}", pytrace=False)
