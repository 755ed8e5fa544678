"""Maintenance by several processes at once: every interleaving of the storage's verbs up to a number of preemptions, and kills.

PREEMPTIONS=2 pytest tests/machines/test_maintenance.py      # about an hour
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import combinations_with_replacement

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.machines.interleaving import Step, explore, stay, switching
from tests.machines.maintenance import ACTIONS, Run, beginnings_schema

PREEMPTIONS = int(os.environ.get("PREEMPTIONS", "1"))
PAIRS = [pair for pair in combinations_with_replacement(ACTIONS, 2) if "excise_ben" not in pair or "excise" in pair]
TRIPLES = [("excise", "excise_ben", "backup"), ("commit", "index", "reindex")]
ANY = st.sampled_from(TRIPLES) | st.lists(st.sampled_from(sorted(ACTIONS)), min_size=2, max_size=3)
SWITCHES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), max_size=6)


@pytest.fixture(autouse=True)
def one_schema(monkeypatch):
    """Opening folds the schema from the index each time; in these runs it never changes."""
    monkeypatch.setattr("factstore.commit.indexing.schema_of", lambda _index: beginnings_schema())


@pytest.mark.slow
@pytest.mark.parametrize("actions", [*PAIRS, *(TRIPLES if PREEMPTIONS > 1 else ())], ids=" and ".join)
def test_two_or_three_processes_keep_the_laws_in_every_interleaving(actions):
    def run(choose: Callable[[int | None, tuple[int, ...]], int]) -> list[Step]:
        return Run(actions).go(choose)

    assert explore(run, preemptions=PREEMPTIONS) > 1


@given(ANY, SWITCHES)
@settings(max_examples=100 * PREEMPTIONS)
def test_up_to_three_processes_keep_the_laws_with_any_number_of_switches(actions, switches):
    Run(actions).go(switching(switches))


@pytest.mark.parametrize("action", ACTIONS)
def test_a_process_killed_at_any_verb_leaves_a_store_that_keeps_the_laws(action):
    whole = Run([action])
    whole.go(stay)
    stops = whole.processes[0].stops
    assert stops > 0
    for n in range(1, stops + 1):
        # What the dead one began is done again by another process, which finds whatever the first has left.
        run = Run([action, action], killed_at=[n, None])
        run.go(stay)
        assert run.processes[0].is_dead


@given(ANY, st.integers(1, 40), SWITCHES)
@settings(max_examples=100 * PREEMPTIONS)
def test_a_process_killed_beside_others_leaves_a_store_that_keeps_the_laws(actions, killed_at, switches):
    Run(actions, killed_at=[killed_at, *[None] * (len(actions) - 1)]).go(switching(switches))
