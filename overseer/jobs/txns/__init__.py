"""Transactions about jobs, as data: one builder per move, with comparisons of everything that the move depends on.

    inserting.py   job_txn, unique, once, graph_txns     attempts.py   claim, beat, settle, rescue
    by_hand.py     abort and run again                   forms.py      what all of them share

Builders are pure: ids, times and the values that were read are arguments. Law: a move names the status that it changes,
and a move of an attempt names its number and its token, so a process that lost a race or a lease writes nothing.
"""

from __future__ import annotations

from overseer.jobs.txns.attempts import (
    LATE,
    NO_REPORTS,
    REPEATED,
    beat,
    claim,
    claimed,
    effect,
    fail_unclaimable,
    fence,
    give_up,
    hold,
    progress,
    promptly,
    rescue,
    settle,
    take_orphaned,
    unrenewed,
)
from overseer.jobs.txns.by_hand import HELD, PARENT_LOST, abort_by_hand, revive, run_again, unstart
from overseer.jobs.txns.forms import ADD, CAS, RETRACT, THIS_TX, signed
from overseer.jobs.txns.inserting import DUPLICATE, KNOWN, graph_txns, insert_once, job_txn, once, unique

__all__ = [
    "ADD",
    "CAS",
    "DUPLICATE",
    "HELD",
    "KNOWN",
    "LATE",
    "NO_REPORTS",
    "PARENT_LOST",
    "REPEATED",
    "RETRACT",
    "THIS_TX",
    "abort_by_hand",
    "beat",
    "claim",
    "claimed",
    "effect",
    "fail_unclaimable",
    "fence",
    "give_up",
    "graph_txns",
    "hold",
    "insert_once",
    "job_txn",
    "once",
    "progress",
    "promptly",
    "rescue",
    "revive",
    "run_again",
    "settle",
    "signed",
    "take_orphaned",
    "unique",
    "unrenewed",
    "unstart",
]
