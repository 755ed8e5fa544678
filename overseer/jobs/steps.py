"""Steps: parts of a handler whose results are kept, so that a later attempt does not run them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import factstore
from overseer.errors import OverseerError
from overseer.jobs import lookup
from overseer.jobs.states import Forms, Lease

if TYPE_CHECKING:
    from factstore import Database


def stored(db: Database, key: str) -> str | None:
    """Return the stored result of a step; None if it has none."""
    eid = db.entid([":step/key", key])
    return None if eid is None else lookup.value(db, eid, ":step/result")


def kept(lease: Lease, key: str, text: str) -> Forms:
    """Assert the result of a step."""
    step = {":db/id": "step", ":step/key": key, ":step/result": text, ":step/attempt": lease.attempt}
    return [step, {":db/id": lease.job, ":job/steps": "step"}]


def text_of(result: Any, key: str) -> str:
    """Return the result of a step as EDN. Raises: OverseerError(:job.error/bad-result)."""
    try:
        return factstore.edn.write(result)
    except Exception as error:  # the value's own methods may raise anything
        why = f"the result of the step {key} cannot be kept as EDN: {error}"
        raise OverseerError(":job.error/bad-result", why, step=key) from error


def value_of(text: str) -> Any:
    """Return a stored result."""
    return factstore.edn.read(text)
