"""Moves that no worker makes, for tests that need a job in a state."""

from __future__ import annotations

from typing import Any

from factstore import Database
from overseer.jobs import lookup


def moved(db: Database, job: int | str, to: str) -> list[Any]:
    """Return the form that gives a job, named by its entity or its `:job/id`, another status than it has in a database."""
    e = lookup.named(db, job)
    return [":db/cas", e, ":job/status", lookup.status(db, e), to]
