"""Maintenance by several processes at once: every interleaving of the storage's verbs up to a number of preemptions, and kills.

PREEMPTIONS=2 pytest tests/machines/test_maintenance.py      # about an hour
"""

from __future__ import annotations

import os
from functools import lru_cache
from itertools import combinations_with_replacement

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factstore.columns import block
from factstore.testing import strategies as fs
from factstore.testing.simulation.schedules import explore, stay
from tests.machines.maintenance import ACTIONS, Run, beginnings_schema

PREEMPTIONS = int(os.environ.get("PREEMPTIONS", "1"))
PAIRS = [pair for pair in combinations_with_replacement(ACTIONS, 2) if "excise_ben" not in pair or "excise" in pair]
TRIPLES = [("excise", "excise_ben", "backup"), ("commit", "index", "reindex")]
ANY = st.sampled_from(TRIPLES) | st.lists(st.sampled_from(sorted(ACTIONS)), min_size=2, max_size=3)
DECODE = lru_cache(4096)(block.decode)


@pytest.fixture(autouse=True)
def decoded_once(monkeypatch):
    """Each read still takes its blocks from the storage; a few hundred different ones are decoded hundreds of thousands of times."""
    monkeypatch.setattr(block, "decode", DECODE)


@pytest.fixture(autouse=True)
def one_schema(monkeypatch):
    """Opening folds the schema from the index each time; in these runs it never changes."""
    monkeypatch.setattr("factstore.commit.indexing.schema_of", lambda _index: beginnings_schema())


@pytest.mark.slow
@pytest.mark.parametrize("actions", [*PAIRS, *(TRIPLES if PREEMPTIONS > 1 else ())], ids=" and ".join)
def test_two_or_three_processes_keep_the_laws_in_every_interleaving(actions):
    assert explore(lambda choose: Run(actions).go(choose), preemptions=PREEMPTIONS) > 1


@given(ANY, fs.schedules())
@settings(max_examples=100 * PREEMPTIONS)
def test_up_to_three_processes_keep_the_laws_with_any_number_of_switches(actions, schedule):
    Run(actions).go(schedule.chooser())


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


@given(ANY, st.integers(1, 40), fs.schedules())
@settings(max_examples=100 * PREEMPTIONS)
def test_a_process_killed_beside_others_leaves_a_store_that_keeps_the_laws(actions, killed_at, schedule):
    Run(actions, killed_at=[killed_at, *[None] * (len(actions) - 1)]).go(schedule.chooser())
