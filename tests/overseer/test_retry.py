"""Retry policies are functions of the number of failed attempts."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer import Retry, constant, exponential


def test_the_default_never_retries():
    assert None is Retry().pause(ValueError(), failed=1, random=Random(0))


def test_attempts_end_after_the_most_that_are_allowed():
    policy = Retry(max_attempts=3, backoff=constant(5), jitter=0)
    assert [5, 5, None, None] == [policy.pause(ValueError(), failed=n, random=Random(0)) for n in (1, 2, 3, 4)]


def test_only_the_errors_that_are_named_are_retried():
    policy = Retry(max_attempts=3, on=(OSError,), jitter=0)
    assert 1.0 == policy.pause(ConnectionError(), failed=1, random=Random(0))
    assert None is policy.pause(ValueError(), failed=1, random=Random(0))


@given(st.integers(1, 10_000), st.floats(0, 1), st.randoms())
def test_a_pause_grows_no_longer_than_the_longest_and_jitter_only_shortens_it(failed, jitter, random):
    policy = Retry(max_attempts=10_001, backoff=exponential(1.0, longest=60.0), jitter=jitter)
    pause = policy.pause(ValueError(), failed=failed, random=random)
    whole = min(60.0, 2.0 ** min(failed - 1, 256))
    assert whole * (1 - jitter) <= pause <= whole


@pytest.mark.parametrize("wrong", [{"max_attempts": 0}, {"jitter": 1.5}, {"jitter": -0.1}])
def test_a_policy_that_means_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match=r"max_attempts|jitter"):
        Retry(**wrong)
