"""What follows from the flights: how late they left, by airline, by route and by weather.

Each conclusion is a question in Datalog; its answers become summaries, entities with a key of their own.
Law: a summary of nothing is not there, and concluding again replaces summaries instead of adding to them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from factstore import Database, q

from . import questions

Form = dict[str, Any]


class Scale(NamedTuple):
    """A condition of the weather, cut into bands; a band holds what is below its bound and not below the one before."""

    kind: str
    attribute: str
    bands: tuple[tuple[float, str], ...]

    def band(self, measure: float) -> int:
        """Return the place of the band that a measure falls into."""
        return next(place for place, (bound, _) in enumerate(self.bands) if measure < bound)


INFINITE: Final = float("inf")
SCALES: Final = (
    Scale(
        ":delay.kind/wind",
        ":weather/wind-speed",
        ((5, "under 5 mph"), (10, "5–10"), (15, "10–15"), (20, "15–20"), (25, "20–25"), (INFINITE, "25 and more")),
    ),
    Scale(
        ":delay.kind/visibility",
        ":weather/visib",
        ((1, "under 1 mile"), (3, "1–3"), (6, "3–6"), (10, "6–10"), (INFINITE, "10 miles")),
    ),
    Scale(
        ":delay.kind/rain",
        ":weather/precip",
        ((0.005, "dry"), (0.025, "to 0.02 in/h"), (0.055, "to 0.05"), (0.105, "to 0.1"), (INFINITE, "more")),
    ),
)


def by_carrier(db: Database, job: int) -> list[Form]:
    """Return a summary for each airline and month in which it flew."""
    late = {(airline, month): count for airline, month, count in q(questions.LATE_BY_CARRIER, db)}
    return [
        {
            ":delay/key": f"carrier {airline} {month}",
            ":delay/kind": ":delay.kind/carrier",
            ":delay/carrier": airline,
            ":delay/month": month,
            **_figures(count, minutes, late.get((airline, month), 0), job),
        }
        for airline, month, count, minutes in q(questions.BY_CARRIER, db)
    ]


def by_route(db: Database, job: int) -> list[Form]:
    """Return a summary for each pair of airports between which there were flights."""
    late = {(origin, dest): count for origin, dest, count in q(questions.LATE_BY_ROUTE, db)}
    return [
        {
            ":delay/key": f"route {origin} {dest}",
            ":delay/kind": ":delay.kind/route",
            ":delay/origin": origin,
            ":delay/dest": dest,
            **_figures(count, minutes, late.get((origin, dest), 0), job),
        }
        for origin, dest, count, minutes in q(questions.BY_ROUTE, db)
    ]


def by_weather(db: Database, job: int) -> list[Form]:
    """Return a summary for each band of wind, visibility and rain in which there were flights."""
    return [form for scale in SCALES for form in _in_bands(db, scale, job)]


def _in_bands(db: Database, scale: Scale, job: int) -> Iterator[Form]:
    counts: defaultdict[int, int] = defaultdict(int)
    sums: defaultdict[int, int] = defaultdict(int)
    late: defaultdict[int, int] = defaultdict(int)
    for measure, count, total in q(questions.BY_WEATHER, db, scale.attribute):
        counts[scale.band(measure)] += count
        sums[scale.band(measure)] += total
    for measure, count in q(questions.LATE_BY_WEATHER, db, scale.attribute):
        late[scale.band(measure)] += count
    for band, count in counts.items():
        yield {
            ":delay/key": f"{scale.kind[1:]} {band}",
            ":delay/kind": scale.kind,
            ":delay/band": band,
            ":delay/label": scale.bands[band][1],
            **_figures(count, sums[band] / count, late[band], job),
        }


def _figures(count: int, minutes: float, late: int, job: int) -> Form:
    return {":delay/flights": count, ":delay/minutes": float(minutes), ":delay/late": late, ":delay/job": job}
