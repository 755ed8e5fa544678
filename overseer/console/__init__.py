"""The job half of the console: pages that show, explain and control the jobs of a store, at any moment.

    queues.py    queues and their limits       listing.py    jobs by any filter
    job.py       one job, with pictures.py     actions.py    changes of all jobs that match, and Undo
    workers.py   workers                       schedules.py  schedules, run now, backfill
    charts.py    throughput and times          enqueue.py    a form for a new job
    what_if.py   two plans side by side        asking.py     what the pages share

`console(conn, extensions=[JOBS])` shows them; `factstore console` finds them by the entry point `factstore.console`.
"""

from __future__ import annotations

from overseer.console.pages import JOBS

__all__ = ["JOBS"]
