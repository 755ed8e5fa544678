"""The pages of jobs, in the order of the list of pages."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from factstore.console import Extension, Page
from overseer.console.actions import act, changes
from overseer.console.charts import charts
from overseer.console.enqueue import enqueue
from overseer.console.job import job
from overseer.console.listing import jobs
from overseer.console.questions import questions
from overseer.console.queues import queues
from overseer.console.schedules import schedules
from overseer.console.what_if import what_if
from overseer.console.workers import workers

_OWN: Final = Path(__file__).parent
JOBS: Final = Extension(
    "Jobs",
    (
        Page("/queues", "Queues", queues, writes=True),
        Page("/jobs", "Jobs", jobs),
        Page("/job", "", job),
        Page("/questions", "Questions", questions, writes=True),
        Page("/workers", "Workers", workers),
        Page("/schedules", "Schedules", schedules, writes=True),
        Page("/charts", "Charts", charts),
        Page("/what-if", "What if", what_if, live=False),
        Page("/enqueue", "Enqueue", enqueue, writes=True, live=False, is_form=True),
        Page("/jobs/act", "", act, writes=True, live=False),
        Page("/jobs/changes/{t:int}", "", changes, writes=True),
    ),
    _OWN / "html",
    needs=":job/status",
    style=(_OWN / "jobs.css").read_text(encoding="utf-8"),
)
