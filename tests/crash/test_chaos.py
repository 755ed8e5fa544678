"""Chaos, in the length that a test run can bear; `python -m benchmarks.chaos` is the same with 10,000 jobs."""

from __future__ import annotations

import pytest

from benchmarks import chaos


@pytest.mark.slow
def test_workers_that_are_killed_and_stopped_at_random_do_every_job_once():
    report = chaos.run(1200, seed=1, every=0.4, most_seconds=300)
    assert report.kills > 0
    assert report.stops > 0
