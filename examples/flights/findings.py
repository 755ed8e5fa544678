"""What the report shows, read from one database value: every figure is the answer to a question in Datalog.

Law: nothing comes from anywhere else, so the same database gives the same findings, now or in ten years.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from factstore import Database, q

from . import attempts, questions
from .attempts import Attempt
from .routes import Place, Route
from .schema import ATTRIBUTES


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything the page is made of."""

    carriers: Mapping[tuple[str, int], tuple[int, float]]  # (carrier, month) → flights, minutes late
    names: Mapping[str, str]  # carrier → name, the latest first
    routes: Sequence[Route]
    places: Mapping[str, Place]
    weather: Mapping[
        str, Sequence[tuple[str, float, int]]
    ]  # kind → label, minutes late, flights; in order of the bands
    waits: Mapping[str, Sequence[str]]
    attempts: Sequence[Attempt]
    growth: Sequence[tuple[float, int]]  # seconds since the jobs were asserted, facts so far
    began: datetime
    life: Sequence[tuple[datetime, str, Any, bool]]  # of the last job that loads: when, attribute, value, added
    life_of: str
    standing: Mapping[str, Mapping[str, int]]  # moment of the run → status → how many jobs
    transactions: int

    @property
    def flights(self) -> int:
        """How many flights left."""
        return sum(flights for flights, _ in self.carriers.values())

    @property
    def minutes(self) -> float:
        """How late they left, on average."""
        return sum(flights * minutes for flights, minutes in self.carriers.values()) / (self.flights or 1)

    @property
    def facts(self) -> int:
        """How many facts the store held."""
        return self.growth[-1][1]

    @property
    def seconds(self) -> float:
        """How long it took from the assertion of the jobs to the last fact."""
        return self.growth[-1][0]


def read(db: Database) -> Findings:
    """Return the findings of a database in which the jobs have run."""
    carriers, names = _carriers(db)
    tried = attempts.attempts(db)
    began = min(at for _, _, at in q(questions.STATUSES, db.history()))
    life_of = max((a.type for a in tried if a.type.startswith(":load/flights")), default=tried[-1].type)
    return Findings(
        carriers=carriers,
        names=names,
        routes=[Route(*row) for row in sorted(q(questions.ROUTE_DELAYS, db))],
        places={faa: (lat, lon) for faa, _, lat, lon in q(questions.PLACES, db)},
        weather=_weather(db),
        waits=attempts.dependencies(db),
        attempts=tried,
        growth=_growth(db, began),
        began=began,
        life=life(db, life_of),
        life_of=life_of,
        standing=_standing(db, began),
        transactions=db.basis_t,
    )


def _carriers(db: Database) -> tuple[dict[tuple[str, int], tuple[int, float]], dict[str, str]]:
    rows = q(questions.CARRIER_DELAYS, db)
    delays = {(carrier, month): (flights, minutes) for carrier, _, month, flights, minutes in rows}
    flights: Counter[str] = Counter()
    late: dict[str, float] = {}
    for carrier, _, _, count, minutes in rows:
        flights[carrier] += count
        late[carrier] = late.get(carrier, 0.0) + count * minutes
    names = {carrier: name for carrier, name, *_ in rows}
    return delays, {carrier: names[carrier] for carrier in sorted(names, key=lambda c: -late[c] / flights[c])}


def _weather(db: Database) -> dict[str, list[tuple[str, float, int]]]:
    found: dict[str, list[tuple[str, float, int]]] = {}
    for kind, _, label, flights, minutes in sorted(q(questions.WEATHER_DELAYS, db)):
        found.setdefault(kind.rpartition("/")[2], []).append((label, minutes, flights))
    return found


def facts_by_transaction(db: Database) -> Counter[int]:
    """Return how many facts each transaction brought that still stand."""
    counts: Counter[int] = Counter()
    for attribute in _attributes(db):
        counts.update(dict(q(questions.FACTS_OF, db, attribute)))
    return counts


def _attributes(db: Database) -> list[str]:
    job = {name for name, *_ in q("[:find ?ident :where [?a :db/valueType _] [?a :db/ident ?ident]]", db)}
    return sorted(job | {form[":db/ident"] for form in ATTRIBUTES})


def _growth(db: Database, began: datetime) -> list[tuple[float, int]]:
    times = dict(q(questions.TRANSACTIONS, db))
    points, total = [], 0
    by_transaction = facts_by_transaction(db)
    for tx in sorted(by_transaction):
        total += by_transaction[tx]
        points.append((max((times[tx] - began).total_seconds(), 0.0) if tx in times else 0.0, total))
    return points


def life(db: Database, job_type: str) -> list[tuple[datetime, str, Any, bool]]:
    """Return whatever was asserted or retracted of a job, in order of time: its whole life, from one question."""
    rows = q(questions.LIFE, db.history(), job_type)
    return sorted(rows, key=lambda row: (row[0], row[3], row[1]))


def standing(db: Database) -> Counter[str]:
    """Return how many jobs stand how: ask it of an older database, and it tells how they stood."""
    return Counter(status.rpartition("/")[2] for _, status in q(questions.STANDING, db))


def middle(db: Database, began: datetime) -> datetime:
    """Return the moment halfway between the assertion of the jobs and the newest transaction."""
    newest: datetime = max(at for _, at in q(questions.TRANSACTIONS, db))
    return began + (newest - began) / 2


def _standing(db: Database, began: datetime) -> dict[str, Counter[str]]:
    newest = max(at for _, at in q(questions.TRANSACTIONS, db))
    quarters = {
        "at the start": 0.0,
        "after a quarter": 0.25,
        "halfway": 0.5,
        "after three quarters": 0.75,
        "at the end": 1.0,
    }
    return {name: standing(db.as_of(began + (newest - began) * share)) for name, share in quarters.items()}
