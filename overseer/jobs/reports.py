"""Progress of an attempt, as one text that replaces the last one: built here by handlers, and read here by pages."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final, NamedTuple

import factstore
from factstore import FactStoreError, Keyword, quoted
from overseer.errors import OverseerError

_MAX_TEXT: Final = 200
_ATTEMPT, _DONE, _OF, _TEXT = (Keyword(f":{name}") for name in ("attempt", "done", "of", "text"))


class Progress(NamedTuple):
    """How far an attempt is, by its own report."""

    attempt: int
    done: float
    of: float | None = None  # how much there is in all
    text: str = ""

    @property
    def part(self) -> float | None:
        """The part that is done, from 0 to 1; None if it is unknown."""
        return min(1.0, max(0.0, self.done / self.of)) if self.of else None


def reported(attempt: int, done: float, of: float | None, text: str) -> str:
    """Return a report as EDN. Raises: OverseerError(:job.error/bad-argument)."""
    for name, value in (("done", done), ("of", of)):
        if not (_is_number(value) or (name == "of" and value is None)):
            why = f"the progress of a job is a finite number, got {quoted(value)} for {name}"
            raise OverseerError(":job.error/bad-argument", why, got=value)
    report = {_ATTEMPT: attempt, _DONE: done, _TEXT: str(text)[:_MAX_TEXT].encode("utf-8", "replace").decode()}
    return factstore.edn.write(report if of is None else {**report, _OF: of})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and abs(value) < 2**63


def read_report(text: str) -> Progress | None:
    """Return the progress in a report; None for a text that is no report."""
    try:
        report = factstore.edn.read(text)
    except FactStoreError:
        return None
    if not isinstance(report, Mapping) or _ATTEMPT not in report or not _is_number(report.get(_DONE)):
        return None
    return Progress(report[_ATTEMPT], report[_DONE], report.get(_OF), str(report.get(_TEXT, "")))
