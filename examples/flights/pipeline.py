"""The demonstration's graph of jobs: which there are, and which must end before which.

    start ─► airlines, airports, planes ─► flights of each month ─► delays by carrier, by route, by weather ─► report
                        airports ─► weather ───────────────────────────────────► delays by weather

No handler is named here, and no fact: the graph is data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

START: Final = ":start"
AIRLINES: Final = ":load/airlines"
AIRPORTS: Final = ":load/airports"
PLANES: Final = ":load/planes"
WEATHER: Final = ":load/weather"
BY_CARRIER: Final = ":delays/by-carrier"
BY_ROUTE: Final = ":delays/by-route"
BY_WEATHER: Final = ":delays/by-weather"
REPORT: Final = ":report"

ALL_MONTHS: Final = tuple(range(1, 13))


def flights(month: int) -> str:
    """Return the type of the job that loads a month's flights."""
    return f":load/flights-{month:02}"


def table_of(job_type: str) -> str:
    """Return the table that a job of this type loads."""
    return job_type.rpartition("/")[2]


def month_of(job_type: str) -> int:
    """Return the month whose flights a job of this type loads."""
    return int(job_type.rpartition("-")[2])


def graph(months: Sequence[int]) -> dict[str, list[str]]:
    """Return each type of job with the types it waits for."""
    loads = {flights(month): [AIRLINES, AIRPORTS, PLANES] for month in months}
    return {
        START: [],
        AIRLINES: [START],
        AIRPORTS: [START],
        PLANES: [START],
        WEATHER: [AIRPORTS],
        **loads,
        BY_CARRIER: list(loads),
        BY_ROUTE: list(loads),
        BY_WEATHER: [*loads, WEATHER],
        REPORT: [BY_CARRIER, BY_ROUTE, BY_WEATHER],
    }
