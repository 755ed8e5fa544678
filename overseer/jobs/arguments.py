"""Arguments that a schedule gives its jobs: stored as EDN, and checked when they are given and when they are read.

The attributes of the job layer are checked here; the store's schema checks the others in the transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import factstore
from factstore import FactStoreError, Keyword, quoted
from overseer.errors import OverseerError
from overseer.schema import ATTRIBUTES

# A schedule sets these itself, or they change while the job runs.
_FIXED: Final = frozenset({":db/id", ":job/id", ":job/type", ":job/status", ":job/schedule", ":job/nominal"})


def _is_keyword(value: Any) -> bool:
    return isinstance(value, Keyword) or (isinstance(value, str) and value.startswith(":"))


def _is_long(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


_CHECKS: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    ":db.type/keyword": ("a keyword such as :mail", _is_keyword),
    ":db.type/long": ("a whole number", _is_long),
    ":db.type/string": ("a text", lambda value: isinstance(value, str)),
    ":db.type/instant": ("an aware datetime", lambda value: isinstance(value, datetime) and value.tzinfo is not None),
}
_OWN: Final = {
    attribute[":db/ident"]: _CHECKS[attribute[":db/valueType"]]
    for attribute in ATTRIBUTES
    if attribute[":db/valueType"] in _CHECKS
}


def check(args: Any, *, of: str) -> dict[str, Any]:
    """Return arguments of jobs after the checks that need no schema.

    Args:
        of: the owner of the arguments, for errors.
    Raises: OverseerError(:job.error/bad-schedule).
    """
    if not isinstance(args, Mapping) or not all(_is_keyword(key) for key in args):
        raise _bad(
            f"the arguments of {of} are a map from attributes such as :mail/to to values, got {quoted(args)}", args
        )
    for attribute, value in args.items():
        if attribute in _FIXED:
            raise _bad(f"{attribute} cannot be an argument of {of}: each job gets its own", args)
        what, accepts = _OWN.get(attribute, ("", None))
        if accepts is not None and not accepts(value):
            raise _bad(f"the argument {attribute} of {of} is {what}, got {quoted(value)}", args)
    return {str(attribute): value for attribute, value in args.items()}


@lru_cache(maxsize=4096)
def read(text: str, *, of: str) -> Mapping[str, Any]:
    """Return arguments that are stored as EDN. Raises: OverseerError(:job.error/bad-schedule)."""
    try:
        args = factstore.edn.read(text)
    except FactStoreError as error:
        raise _bad(f"the arguments of {of} are no EDN: {error.message}", text) from error
    return MappingProxyType(check(args, of=of))


def _bad(why: str, args: Any) -> OverseerError:
    return OverseerError(":job.error/bad-schedule", why, args=args)
