"""Waits of jobs for facts: a query that must hold, a deadline, and the database in which the query held.

    open ──► held, at a t        by a worker that looks, or by an attempt that finds the query to hold
         ──► expired             by an attempt that runs after the deadline, and finds that the query does not hold

A job that waits is unstarted, and its `:job/run-at` is the deadline, so it takes no slot and needs no process. Laws: a
wait that held stays held, and every attempt sees the answer of the same database. A query that held before the wait
began is an answer, too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import factstore
from factstore import FactStoreError, quoted
from overseer.errors import OverseerError, Verdict
from overseer.jobs import lookup
from overseer.jobs.states import UNSTARTED, Forms, Reason
from overseer.jobs.txns import CAS, RETRACT
from overseer.times import Duration, duration

if TYPE_CHECKING:
    from factstore import Database

_LONGEST: Final = timedelta(days=36_525)  # a century


@factstore.rendering.shown_as_record
@dataclass(frozen=True, slots=True)
class When:
    """A query that a job waits for, as made by `when`.

    Args:
        text: the query and its inputs after the database, as EDN.
        within: how long the job waits at most.
        name: distinguishes the waits of one job.
    """

    text: str
    within: timedelta
    name: str

    def answer(self, db: Database) -> Any:
        """Return the answer of the query in a database. Raises: QueryError."""
        return answer(self.text, db)


def when(query: Any, *inputs: Any, within: Duration, name: str | None = None) -> When:
    """Return a condition for `job.wait`: a query with a row in its answer.

    Args:
        query: as for `factstore.q`; its first input is the newest database.
        inputs: the inputs after the database.
        within: how long the job waits at most, as a timedelta or a text such as "7d".
        name: the same in each attempt of the job; None derives it from the query and its inputs.
    Raises: OverseerError(:job.error/bad-wait) for a query or an input that EDN cannot represent.

    >>> when("[:find ?o . :in $ ?n :where [?o :order/number ?n]]", 17, within="2h").within
    datetime.timedelta(seconds=7200)
    """
    written = query.to_edn() if hasattr(query, "to_edn") else query
    try:
        text = factstore.edn.write([written, *inputs])
    except FactStoreError as error:
        why = f"a job keeps the query that it waits for, and its inputs, as EDN: {error.message}"
        raise OverseerError(":job.error/bad-wait", why, query=query) from error
    limit = min(duration(within, what="the time that a job waits"), _LONGEST)
    return When(text, limit, name_of(name) if name is not None else blake2b(text.encode(), digest_size=8).hexdigest())


def name_of(name: object) -> str:
    """Return the name of a wait or a step. Raises: OverseerError(:job.error/bad-name) unless it is a text."""
    if not isinstance(name, str) or not name:
        why = f"the name of a wait or a step is a text that is not empty, got {quoted(name)}"
        raise OverseerError(":job.error/bad-name", why, name=name)
    return name


def answer(text: str, db: Database) -> Any:
    """Return the answer of a stored query in a database. Raises: FactStoreError for a text that is no query."""
    stored = factstore.edn.read(text)
    if not isinstance(stored, list) or not stored:
        why = f"the query of a wait is stored as a vector with its inputs, got {quoted(text)}"
        raise OverseerError(":job.error/bad-wait", why, query=text)
    return factstore.q(stored[0], db, *stored[1:])


def holds(answer: Any) -> bool:
    """Return whether the answer of a query has a row."""
    is_collection = isinstance(answer, Collection) and not isinstance(answer, str | bytes)
    return bool(answer) if is_collection else answer is not None


class Wait(NamedTuple):
    """The facts of a wait."""

    eid: int
    text: str
    until: datetime | None
    t: int | None  # of the database in which the query held; None: it has not held


def find(db: Database, key: str) -> Wait | None:
    """Return the wait with a key; None if it has not begun."""
    eid = db.entid([":wait/key", key])
    return None if eid is None else read(db, eid)


def read(db: Database, eid: int) -> Wait | None:
    """Return a wait; None for an entity that is no wait."""
    about = lookup.attributes(db, eid)
    if ":wait/for" not in about:
        return None
    return Wait(eid, about[":wait/for"], about.get(":wait/until"), about.get(":wait/t"))


class Waiting(Verdict):
    """Ends an attempt whose job waits; raised by `job.wait`, and not to be caught.

    Args:
        until: the deadline.
        forms: the facts of the wait, committed together with the end of the attempt.
    """

    def __init__(self, message: str, until: datetime, forms: Forms) -> None:
        super().__init__(message, status=UNSTARTED, suppress=True, counts=False)
        self.until = until
        self.forms = forms

    def __reduce__(self) -> tuple[Any, ...]:
        return Waiting, (self.message, self.until, self.forms)


def begun(job: int, key: str, text: str, until: datetime, about: Mapping[str, Any]) -> Forms:
    """Assert that a job waits.

    Args:
        about: more facts of the wait: its question.
    """
    wait = {":db/id": "wait", ":wait/key": key, ":wait/for": text, ":wait/until": until, **about}
    return [wait, {":db/id": job, ":job/waits": "wait", ":job/wait": "wait"}]


def held(job: int, key: str, text: str, until: datetime, t: int, about: Mapping[str, Any]) -> Forms:
    """Assert that the query of a wait held in the database of t, as an attempt of the job found."""
    wait = {":db/id": "wait", ":wait/key": key, ":wait/for": text, ":wait/until": until, ":wait/t": t, **about}
    return [wait, {":db/id": job, ":job/waits": "wait"}]


def woken(job: int, attempt: int, wait: Wait, t: int, run_at: datetime | None) -> Forms:
    """unstarted → unstarted, and ready: the query of a wait held in the database of t.

    Args:
        attempt: the last attempt, which ended with the wait.
        run_at: the deadline, as `:job/run-at`.
    """
    due = [] if run_at is None else [[RETRACT, job, ":job/run-at", run_at]]
    return [
        [CAS, job, ":job/status", UNSTARTED, UNSTARTED],
        [CAS, job, ":job/attempt", attempt, attempt],
        [CAS, wait.eid, ":wait/t", wait.t, t],
        [RETRACT, job, ":job/wait", wait.eid],
        *due,
    ]


def is_waiting(about: Mapping[str, Any]) -> bool:
    """Return whether a job with these attributes waits: its last attempt ended with a wait."""
    return about.get(":job/status") == UNSTARTED and about.get(":job/reason") == Reason.WAIT and ":job/attempt" in about


# -- questions: a wait for an answer

ANSWER: Final = "[:find ?answer . :in $ ?key :where [?wait :wait/key ?key] [?wait :wait/answer ?answer]]"


def check_question(text: object, options: object) -> None:
    """Raise OverseerError(:job.error/bad-question) unless the text and the options are texts that are not empty."""
    texts = [text, *options] if isinstance(options, Sequence) and not isinstance(options, str | bytes) else [None]
    if not all(isinstance(one, str) and one for one in texts):
        why = f"a question is a text, and its options are a list of texts, got {quoted(text)} and {quoted(options)}"
        raise OverseerError(":job.error/bad-question", why, question=text, options=options)


def question(
    key: str, text: str, options: Sequence[str], *, within: Duration, name: str
) -> tuple[When, dict[str, Any]]:
    """Return the wait for the answer of a question, and the facts of the question."""
    facts = {":wait/question": text, ":wait/options": factstore.edn.write(list(options))}
    return when(ANSWER, key, within=within, name=name), facts


def in_words(question: str | None, text: str | None) -> str:
    """Return what a job waits for: the answer of a question, or a query to hold."""
    if question is not None:
        return f"an answer to the question {quoted(question)}"
    return f"the query {quoted(text)} to hold"


def describe(db: Database, wait: int) -> str:
    """Return what a job waits for, in words."""
    return in_words(lookup.value(db, wait, ":wait/question"), lookup.value(db, wait, ":wait/for"))
