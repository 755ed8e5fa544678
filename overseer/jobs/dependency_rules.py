"""The rules by which a job depends on its parents: one table, which every part of the job layer uses.

A rule judges the statuses of all parents, as a set: the job is ready, waits, or is doomed, which means that it can
never become ready and is aborted. `status.RULES` states the same rules in Datalog, generated from this table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from factstore import Keyword
from overseer.jobs.states import ABORTED, ENDED, FAILED, FINISHED, LIVE, STATUSES, UNSTARTED, Status

READY: Final = "ready"
WAITING: Final = "waiting"
DOOMED: Final = "doomed"  # it can never become ready


class DependencyRule(NamedTuple):
    """Which ends of its parents a job accepts."""

    accepts: frozenset[Status]
    rejects: frozenset[Status]  # the other ends
    one_suffices: bool  # whether one parent with an accepted end is enough; otherwise every parent must have one

    def readiness(self, parents: frozenset[Status]) -> str:
        """Return whether a job whose parents have these statuses is ready, waits, or is doomed."""
        if self.one_suffices:
            if not parents or parents & self.accepts:
                return READY
            return WAITING if parents & LIVE else DOOMED
        if parents & self.rejects:
            return DOOMED
        return READY if parents <= self.accepts else WAITING

    def required(self, waits_for: int) -> int:
        """Return how many of the parents that a waiting job waits for have to end with an accepted status."""
        return min(waits_for, 1) if self.one_suffices else waits_for


def _every(*accepted: Status) -> DependencyRule:
    return DependencyRule(frozenset(accepted), ENDED - set(accepted), one_suffices=False)


def _one(*accepted: Status) -> DependencyRule:
    return DependencyRule(frozenset(accepted), ENDED - set(accepted), one_suffices=True)


ALL_SUCCESS: Final = Keyword(":job.rule/all-success")  # the rule of a job that names none
RULES: Final[Mapping[Keyword, DependencyRule]] = {
    ALL_SUCCESS: _every(FINISHED),
    Keyword(":job.rule/all-done"): _every(FINISHED, FAILED, ABORTED),
    Keyword(":job.rule/none-failed"): _every(FINISHED, ABORTED),
    Keyword(":job.rule/any"): _one(FINISHED),
}


def rule_named(name: Keyword | None) -> DependencyRule | None:
    """Return the rule that a job names, or the default; None for an unknown name."""
    return RULES.get(name or ALL_SUCCESS)


def readiness(name: Keyword | None, parents: Iterable[Status]) -> str:
    """Return whether a job is ready, waits, or is doomed, by its rule and the statuses of its parents.

    A job with an unknown rule waits forever. A parent with an unknown status has not ended: it counts as unstarted.
    """
    rule = RULES.get(name or ALL_SUCCESS)
    if rule is None:
        return WAITING
    return rule.readiness(frozenset(status if status in STATUSES else UNSTARTED for status in parents))
