"""The time of a page: the two handles of the slider, and the density of transactions between them.

    ?t=42       the page shows the database as of transaction 42; without it, the page is live
    ?t=-5m      the same for the newest transaction of five minutes ago; the links of the page have its t
    ?from=17    the left handle: changes are those after transaction 17

Law: a link of a page that carries `t` shows the same facts for as long as the store exists. So a moment of the future,
which later transactions would change, is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from factstore.errors import DatabaseError
from factstore.values.quoting import quoted

if TYPE_CHECKING:
    from factstore.db.database import Database

BUCKETS: Final = 96  # of the time line


@dataclass(frozen=True, slots=True)
class Moment:
    """The time that a page shows."""

    newest: int  # the t of the newest transaction of the store
    t: int | None = None  # None: live
    start: int | None = None  # changes after this t; None: from the beginning

    @property
    def upto(self) -> int:
        """The t of the newest transaction that the page shows."""
        return self.newest if self.t is None else self.t

    @property
    def after(self) -> int:
        """The t after which changes are shown."""
        return 0 if self.start is None else min(self.start, self.upto)

    def parameters(self) -> dict[str, str]:
        """Return the query parameters of a link to the same time."""
        both = {"t": self.t, "from": self.start}
        return {name: str(t) for name, t in both.items() if t is not None}


def moment_of(db: Database, parameters: Mapping[str, str], *, clock: Callable[[], datetime]) -> Moment:
    """Return the moment that the parameters of a request name.

    Args:
        parameters: `t` and `from`: a t, or a moment in words (values/moments.py).
        clock: returns the time by the clock of the store.
    Raises: DatabaseError(:db.error/invalid-point), also for a moment of the future.
    """
    t, start = (_t_of(db, parameters.get(name, ""), clock) for name in ("t", "from"))
    return Moment(db.basis_t, t, start)


def _t_of(db: Database, text: str, clock: Callable[[], datetime]) -> int | None:
    if not text:
        return None
    point = db.exactly(text)
    t = db.t_at(point)
    newest, now = db.instant_of(db.basis_t), clock()  # not earlier: "-0s" is the time at which it was read
    if t > db.basis_t or (isinstance(point, datetime) and point > max(now, newest or now)):
        last = f"t {db.basis_t}" + (f" and is of {newest.isoformat()}" if newest else "")
        why = f"the moment {quoted(text)} is in the future: the newest transaction has {last}"
        raise DatabaseError(":db.error/invalid-point", why, point=text)
    return t


@dataclass(frozen=True, slots=True)
class Timeline:
    """The whole time of a store in equal steps: `edges[i]` is the t at the end of step i; `edges[0]` is 0."""

    first: datetime
    last: datetime
    edges: tuple[int, ...]

    def outline(self, height: int) -> str:
        """Return the density of transactions as the path of an SVG, one unit wide per step; roots, to show few."""
        counts = [after - before for before, after in zip(self.edges, self.edges[1:])]
        most = max([1, *counts])
        tops = [round(height * (1 - (count / most) ** 0.5), 1) for count in counts]
        return f"M0 {height}" + "".join(f"V{top}h1" for top in tops) + f"V{height}z"


def timeline(db: Database) -> Timeline:
    """Return the time line of a database; that of an empty store is one moment."""
    first, last = db.instant_of(min(1, db.basis_t)), db.instant_of(db.basis_t)
    if first is None or last is None:
        first = last = datetime.fromtimestamp(0, UTC)
    step = (last - first) / BUCKETS
    inner = [db.t_at(first + step * i) for i in range(1, BUCKETS)] if step else [0] * (BUCKETS - 1)
    return Timeline(first, last, (0, *inner, db.basis_t))
