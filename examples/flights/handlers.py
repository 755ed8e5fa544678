"""What each job of the demonstration does: load a file, conclude something from what was loaded, or report.

A load commits its batches as it goes, so that facts show while it runs; each batch may be repeated, since a job may run more
than once. A conclusion is tx-data that the handler returns: it commits with the job's end, exactly once.
Law: running any handler again, from the start or from the middle, leaves the same flights, weather and delays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import factstore
import overseer

from . import conclusions, facts, pipeline, questions, report, source

Form = dict[str, Any]

BATCH: Final = 8000  # records in one transaction


def start(job: overseer.Job) -> list[Form]:
    """Look whether the files are there, and say how large they are; without them no job can do anything."""
    try:
        sizes = {table: source.file_of(table).stat().st_size for table in source.COLUMNS}
    except source.DataMissing as missing:
        overseer.abort(str(missing))
    return [{":source/table": table, ":source/bytes": size} for table, size in sizes.items()]


def load_table(job: overseer.Job) -> list[Form]:
    """Load the file that the job's type names: airlines, airports, planes or weather."""
    table = pipeline.table_of(job.type)
    load(job, table, source.records(table))
    return attributed(job, factstore.q(questions.BROUGHT, job.conn.db(), facts.TABLES[table].identity))


def load_flights(job: overseer.Job) -> list[Form]:
    """Load the flights of the month that the job's type names."""
    month = pipeline.month_of(job.type)
    load(job, "flights", source.flights(month))
    return attributed(job, factstore.q(questions.BROUGHT_OF_MONTH, job.conn.db(), month))


def load(job: overseer.Job, table: str, records: Iterable[source.Record]) -> None:
    """Load records of a file, batch by batch, and first whatever they name that does not exist yet."""
    how = facts.TABLES[table]
    known = {(identity, name) for identity in how.referred for name in factstore.q(questions.NAMES, job.db, identity)}
    for batch in batches(records, BATCH):
        if not job.lease_ok():
            return  # somebody else has the job by now, and does the rest
        unknown = how.names(batch) - known
        if unknown:
            job.conn.transact(facts.stubs(unknown))
            known |= unknown
        job.conn.load(how.keyed(batch), how.mapping, progress=False)


def batches(records: Iterable[source.Record], size: int) -> Iterator[list[source.Record]]:
    """Yield records in lists of up to `size`."""
    rest = iter(records)
    while batch := list(islice(rest, size)):
        yield batch


def attributed(job: overseer.Job, transactions: Iterable[int]) -> list[Form]:
    """Return the facts that say of transactions which job made them: a transaction is an entity like any other."""
    return [{":db/id": tx, ":load/job": job.eid} for tx in transactions]


def delays_by_carrier(job: overseer.Job) -> list[Form]:
    """Conclude how late each airline was in each month."""
    return conclusions.by_carrier(job.db, job.eid)


def delays_by_route(job: overseer.Job) -> list[Form]:
    """Conclude how late flights left on each route."""
    return conclusions.by_route(job.db, job.eid)


def delays_by_weather(job: overseer.Job) -> list[Form]:
    """Conclude how late flights left in wind, in poor visibility and in rain."""
    return conclusions.by_weather(job.db, job.eid)


def write_report(job: overseer.Job) -> None:
    """Write the page; it reads facts and nothing else, so any database value gives one, this one or an older one."""
    report.write(job.db, Path(job[":demo/html"]))


handlers: Final[dict[str, Callable[[overseer.Job], Any]]] = {
    pipeline.START: start,
    **dict.fromkeys((pipeline.AIRLINES, pipeline.AIRPORTS, pipeline.PLANES, pipeline.WEATHER), load_table),
    **dict.fromkeys(map(pipeline.flights, pipeline.ALL_MONTHS), load_flights),
    pipeline.BY_CARRIER: delays_by_carrier,
    pipeline.BY_ROUTE: delays_by_route,
    pipeline.BY_WEATHER: delays_by_weather,
    pipeline.REPORT: write_report,
}
