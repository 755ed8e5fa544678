"""What live systems of this kind answer, we answer too: two tests per case of the corpus."""

from __future__ import annotations

import pytest

import factstore
from factstore import maintain
from tests.conformance import functions
from tests.conformance.case import Case, World, run
from tests.conformance.compare import mismatch

assert functions.__doc__, "imported for what it registers"


def test_a_case_comes_out_as_it_was_recorded(case: Case) -> None:
    with factstore.connect("memory:") as conn:
        check(case, World(conn))


def test_a_case_comes_out_the_same_from_blocks_and_novelty(case: Case) -> None:
    """What is known before each transaction is put into the index, so that the last one alone is novelty."""
    with factstore.connect("memory:") as conn:
        check(case, World(conn, before_transaction=maintain.reindex))


def check(case: Case, world: World) -> None:
    difference = mismatch(case.form[":expect"], run(case, world), world)
    if difference is not None:
        pytest.fail(f"{case.id}: {case.form[':doc']}\n{difference}", pytrace=False)
