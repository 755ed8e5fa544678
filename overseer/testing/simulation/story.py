"""The story of a run: who did what at which time, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import factstore
from factstore import FactStoreError, Keyword, quoted
from overseer.handler import message_of
from overseer.jobs import lookup
from overseer.jobs.states import ABORTED, FAILED, FINISHED, STARTED, UNSTARTED, Reason
from overseer.testing.simulation.schedule import (
    BACK,
    BEAT,
    CLAIM,
    EFFECT,
    FORWARD,
    GIVE_UP,
    RELEASE,
    RESCUE,
    SETTLE,
    START,
    TRANSACT,
)

if TYPE_CHECKING:
    from factstore import Database, Datom, TxReport
    from overseer.testing.simulation.scenario import Run, Told

# The namespaces of the job layer's own facts, which the story states in words.
OWN: Final = frozenset({"job", "queue", "unique", "schedule", "overseer", "effect", "db"})
_MOST_FACTS: Final = 4


class Line(NamedTuple):
    """One line of a story."""

    at: float  # elapsed seconds
    who: str
    text: str
    mark: str  # what kind of event it is: a kind of step, or a word such as "crashes"


def lines_of(run: Run) -> list[Line]:
    """Return the story of a run, without the events that explain nothing."""
    return [Line(told.at, told.who, text, told.what) for told in run.story if (text := _text(told)) is not None]


def text_of(run: Run) -> str:
    """Return the story of a run as text, after what is wrong with it."""
    lines = [f"{at:10.3f} s  {who:<3} {text}" for at, who, text, _ in lines_of(run)]
    return "\n".join(lines if run.violation is None else [run.violation, "", *lines])


def _text(told: Told) -> str | None:
    detail = told.detail
    if told.what in _COMMITS:
        return _of_commit(told.what, detail)
    if told.what == "starts":
        return f"runs the handler of {detail.type} {detail.id}, attempt {detail.attempt}"
    if told.what == "raises":
        return f"its handler raises {type(detail).__name__}: {_short(_message(detail))}"
    if told.what == "fails":
        return f"stops because of {type(detail).__name__}, and releases its jobs"
    return _WORDS[told.what] + (f", before {_BEFORE[detail]}" if isinstance(detail, str) else "")


def _message(error: BaseException) -> str:
    return error.message if isinstance(error, FactStoreError) else message_of(error)


_WORDS: Final[Mapping[str, str]] = {
    "crashes": "crashes",
    "stalls": "stalls",
    "pauses": "pauses",
    "returns": "continues, as if no time had passed",
    "loses": "gets no answer: the commit succeeded, but the connection was lost",
    "waits": "waits for a commit",
    FORWARD: "sees its clock jump an hour forward",
    BACK: "sees its clock jump an hour back",
}
_BEFORE: Final[Mapping[str, str]] = {
    CLAIM: "it claims a job",
    START: "the handler begins",
    TRANSACT: "its handler commits",
    EFFECT: "the effect happens",
    SETTLE: "the result is committed",
    GIVE_UP: "it aborts jobs that cannot run",
    BEAT: "it renews its leases",
    RESCUE: "it takes jobs from others",
    RELEASE: "it releases its jobs",
}


def _of_commit(kind: str, report: TxReport) -> str | None:
    if kind == BEAT:
        return "renews its leases"
    said = [*_moves(kind, report), *_effects(report)]
    facts = _facts(report)
    if facts:
        said.append(f"commits {', '.join(facts)}")
    elif not said and kind == TRANSACT:
        said.append("commits nothing new")
    return "; ".join(said) or None


_COMMITS: Final = frozenset(_BEFORE) - {START, EFFECT}


def _moves(kind: str, report: TxReport) -> Iterator[str]:
    """Yield how the statuses of jobs changed."""
    after, before = report.db_after, report.db_before
    for datom in report.datoms_of(":job/status"):
        if not datom.added:
            continue
        job = lookup.name(after, datom.e)
        if datom.v == STARTED:
            yield f"claims {job}, attempt {lookup.value(after, datom.e, ':job/attempt')}"
        elif kind == RESCUE and lookup.status(before, datom.e) == STARTED:
            yield f"takes {job} from {lookup.value(before, datom.e, ':job/worker')}, which is silent: {datom.v.name}"
        elif datom.v == UNSTARTED and lookup.status(before, datom.e) is None:
            yield f"inserts {job}"
        elif datom.v == UNSTARTED:
            yield f"makes {job} unstarted again ({_why(after, datom.e)})"
        else:
            yield f"{_ENDS[datom.v]} {job}"


def _why(db: Database, job: int) -> str:
    """Return why a job runs again: the reason, and the message of its failure if it failed."""
    reason, failure = (lookup.value(db, job, f":job/{name}") for name in ("reason", "failure"))
    named = "no reason" if reason is None else reason.name
    if failure is None or reason not in (Reason.RETRY, Reason.FAULT):
        return named
    return f"{named}: {_short(str(factstore.edn.read(failure).get(_MESSAGE)))}"


_MESSAGE: Final = Keyword(":message")
_ENDS: Final = {FINISHED: "finishes", FAILED: "fails", ABORTED: "aborts"}


def _effects(report: TxReport) -> Iterator[str]:
    if report.db_after.entid(":effect/key") is not None:
        for datom in report.datoms_of(":effect/key"):
            yield f"declares the effect {datom.v}"


def _facts(report: TxReport) -> list[str]:
    """Return the facts that are not of the job layer; a replaced value with the one before."""
    db = report.db_after
    own = [datom for datom in report.tx_data if namespace_of(db.schema.attribute(datom.a).ident) not in OWN]
    before = {(datom.e, datom.a): datom.v for datom in own if not datom.added}
    texts = [
        f"{_about(db, datom)} {_old(before.pop((datom.e, datom.a), None))}{_value(db, datom)}"
        for datom in own
        if datom.added
    ]
    gone = [f"{_about(db, datom)} {_value(db, datom)} retracted" for datom in own if (datom.e, datom.a) in before]
    facts = [*texts, *gone]
    return [*facts[:_MOST_FACTS], *([f"{len(facts) - _MOST_FACTS} more facts"] if len(facts) > _MOST_FACTS else [])]


def namespace_of(ident: Keyword) -> str:
    """Return the first part of the namespace of an attribute."""
    return (ident.namespace or "").partition(".")[0]


def _about(db: Database, datom: Datom) -> str:
    """Return the entity of a fact, by an identity if it has one, and its attribute."""
    ident = db.schema.attribute(datom.a).ident
    identity = next(
        (own.v for own in db.datoms("eavt", datom.e) if db.schema.attribute(own.a).unique is not None), None
    )
    named = quoted(identity) if identity is not None and identity != datom.v else str(datom.e)
    return f"{ident}" if identity == datom.v else f"{ident} of {named}"


def _value(db: Database, datom: Datom) -> str:
    return lookup.name(db, datom.v) if db.schema.attribute(datom.a).is_ref else _short(quoted(datom.v))


def _old(value: Any) -> str:
    return "" if value is None else f"{_short(quoted(value))} → "


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:99]}…"
