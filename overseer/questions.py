"""Questions of jobs to people: which are open, how they are answered, and who answered them when.

A handler asks with `job.ask`. An answer is a fact of a transaction, signed with the name of the person.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import factstore
from factstore import FactStoreError, Keyword, TransactError, quoted
from overseer.errors import OverseerError
from overseer.jobs import lookup, txns, waits
from overseer.jobs.states import ABORTED, FAILED, Forms
from overseer.sources import of_database

if TYPE_CHECKING:
    from factstore import Database

__all__ = ["Answer", "Question", "answer", "answers", "unanswered"]

_OPEN: Final = """[:find ?id ?type ?wait ?tx
  :where [?job :job/wait ?wait] [?wait :wait/question ?question ?tx] (not [?wait :wait/answer _])
         [?job :job/status :job.status/unstarted] [?job :job/id ?id] [?job :job/type ?type]]"""
_ANSWERED: Final = """[:find ?question ?answer ?tx
  :in $ ?job :where [?job :job/waits ?wait] [?wait :wait/question ?question] [?wait :wait/answer ?answer ?tx]]"""
_UNANSWERED: Final = """[:find ?question
  :in $ ?job :where [?job :job/waits ?wait] [?wait :wait/question ?question] (not [?wait :wait/answer _])]"""


@factstore.rendering.shown_as_record
class Question(NamedTuple):
    """A question that waits for its answer."""

    job: str  # :job/id
    type: Keyword
    text: str
    options: tuple[str, ...]  # the possible answers; any if there are none
    since: datetime | None
    until: datetime | None


@factstore.rendering.shown_as_record
class Answer(NamedTuple):
    """The answer of a person."""

    question: str
    answer: str
    by: str | None
    at: datetime | None


@of_database
def unanswered(db: Database) -> list[Question]:
    """Return the open questions of all jobs, in order of time."""
    if db.entid(":wait/question") is None:
        return factstore.rendering.Records()
    rows = sorted(factstore.q(_OPEN, db), key=lambda row: row[3])
    return factstore.rendering.Records(
        Question(
            id,
            type,
            lookup.value(db, wait, ":wait/question"),
            _options(lookup.value(db, wait, ":wait/options")),
            db.instant_of(db.t_at(tx)),
            lookup.value(db, wait, ":wait/until"),
        )
        for id, type, wait, tx in rows
    )


def _options(text: str | None) -> tuple[str, ...]:
    try:
        stored = factstore.edn.read(text or "[]")
    except FactStoreError:  # any text can be asserted
        return ()
    return tuple(map(str, stored)) if isinstance(stored, list) else ()


@of_database
def answers(db: Database, job: int | str) -> list[Answer]:
    """Return the answered questions of a job, in order of time."""
    if db.entid(":wait/answer") is None:
        return factstore.rendering.Records()
    rows = sorted(factstore.q(_ANSWERED, db, lookup.named(db, job)), key=lambda row: row[2])
    return factstore.rendering.Records(
        Answer(question, answer, lookup.value(db, tx, ":overseer/by"), db.instant_of(db.t_at(tx)))
        for question, answer, tx in rows
    )


def answer(job: str, value: str, *, by: str) -> Forms:
    """Return the transaction that answers the open question of a job.

    It is rejected if the job has no open question (`:job.error/no-question`), and if the answer is none of the options
    (`:job.error/bad-answer`).

    Args:
        job: the job's id.
        value: the answer.
        by: the name of the person, recorded on the transaction.
    Raises: OverseerError(:job.error/bad-answer) unless all are texts.
    """
    if not all(isinstance(one, str) and one for one in (job, value, by)):
        why = f"the job, the answer and the name of its author are texts, got {quoted((job, value, by))}"
        raise OverseerError(":job.error/bad-answer", why, job=job, answer=value, by=by)
    return [[_ANSWER, job, value], txns.signed(by)]


def _expired(db: Database, job: int | None) -> str:
    """Return what to do about a question of a job whose deadline has passed; empty if there is none."""
    ended = job is not None and lookup.status(db, job) in (FAILED, ABORTED)
    asked = factstore.q(_UNANSWERED, db, job) if ended else ()
    if not asked:
        return ""
    return f": it ended without an answer to {quoted(min(asked)[0])}, and asks again if it is retried"


_ANSWER: Final = "overseer/answer"
NO_QUESTION: Final = ":job.error/no-question"
BAD_ANSWER: Final = ":job.error/bad-answer"


@factstore.register(_ANSWER)
def _answer(db: Database, job: str, value: str) -> Forms:
    """Transaction function: answer the open question of a job."""
    eid = db.entid([":job/id", job])
    wait = None if eid is None else lookup.value(db, eid, ":job/wait")
    asked = None if wait is None else lookup.value(db, wait, ":wait/question")
    if eid is None or wait is None or asked is None or not waits.is_waiting(lookup.attributes(db, eid)):
        raise TransactError(NO_QUESTION, f"the job {quoted(job)} has no open question{_expired(db, eid)}", job=job)
    given: Any = lookup.value(db, wait, ":wait/answer")
    if given is not None:
        raise TransactError(NO_QUESTION, f"the question of {job} was answered already: {quoted(given)}", job=job)
    options = _options(lookup.value(db, wait, ":wait/options"))
    if options and value not in options:
        why = f"the answers to {quoted(asked)} are {', '.join(options)}, got {quoted(value)}"
        raise TransactError(BAD_ANSWER, why, job=job, answer=value, options=list(options))
    return [[txns.ADD, wait, ":wait/answer", value]]
