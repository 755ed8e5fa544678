"""The page of questions: what jobs ask people, with a form for each answer; and who answered what when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import factstore
from factstore.console import Answer, PageRequest, Redirect, Table, commit
from overseer import questions as asked
from overseer.console.asking import again, plural
from overseer.jobs import lookup

if TYPE_CHECKING:
    from factstore import Database

_LISTED: Final = 100  # answers
_ANSWERS: Final = f"""[:find ?tx ?id ?question ?answer
  :where [?wait :wait/answer ?answer ?tx] [?wait :wait/question ?question] [?job :job/waits ?wait] [?job :job/id ?id]
  :order-by ?tx :desc :limit {_LISTED + 1}]"""


def questions(request: PageRequest) -> Answer | Redirect:
    """Return the open questions and the answers at the moment of the page; with a form, answer a question.

    Raises: OverseerError(:job.error/bad-answer); TransactError(:job.error/no-question), also for a second answer.
    """
    if request.form is not None:
        return _answered(request, request.form)
    db = request.db
    open, answers = asked.unanswered(db), _answers(db)
    more = f"the newest {_LISTED} are shown" if len(answers) > _LISTED else ""
    tables = {
        "questions": Table(asked.Question._fields, [(*each[:3], list(each.options), *each[4:]) for each in open]),
        "answers": Table(("job", "question", "answer", "by", "at"), answers[:_LISTED], more),
    }
    values = {"open": open, "heading": plural(len(open), "open question"), "is_past": request.moment.t is not None}
    return Answer("questions.html", values, tables, again=again(request))


def _answers(db: Database) -> list[tuple[Any, ...]]:
    if db.entid(":wait/answer") is None:  # the jobs of the store are older than questions
        return []
    return [
        (id, question, answer, lookup.value(db, tx, ":overseer/by"), db.instant_of(db.t_at(tx)))
        for tx, id, question, answer in factstore.q(_ANSWERS, db)
    ]


def _answered(request: PageRequest, form: Mapping[str, str]) -> Redirect:
    # A browser sends the ends of lines of an option as \r\n; spaces are a part of the option.
    job, value = form.get("job", ""), form.get("answer", "").replace("\r\n", "\n")
    commit(request, asked.answer(job, value if value.strip() else "", by=request.who))
    back = "/job" if form.get("back") == "job" else "/questions"
    return Redirect(back, {"id": job if back == "/job" else "", "t": "", "from": ""})
