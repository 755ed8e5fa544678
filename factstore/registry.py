"""The registry of named callables: what query text, schema and tx-data may call by name, and nothing else.

Text can never import or run arbitrary code: a name that is not registered here is an error that lists what is near.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from factstore.errors import FactStoreError
from factstore.values.quoting import quoted

_callables: dict[str, Callable[..., Any]] = {}


def register(name: str, function: Callable[..., Any] | None = None, /) -> Any:
    """Make a callable known by name to queries, predicates of the schema, transaction functions and pull's :xform.

    Args:
        name: as it stands in the text, with a namespace: "orders/total".
        function: the callable; without it this is a decorator.
    Returns: the function, or the decorator.
    Raises: FactStoreError(:db.error/invalid-function).

    >>> register("doc/double", lambda x: 2 * x)(21)
    42
    """
    if not isinstance(name, str) or "/" not in name.strip("/"):
        raise FactStoreError(
            ":db.error/invalid-function",
            f"a registered name has a namespace, as in 'orders/total'; got {quoted(name)}",
            name=name,
        )

    def keep(function: Callable[..., Any]) -> Callable[..., Any]:
        if not callable(function):
            raise FactStoreError(
                ":db.error/invalid-function", f"{name} needs a callable, got {quoted(function)}", name=name
            )
        _callables[name] = function
        return function

    return keep if function is None else keep(function)


def lookup(name: str) -> Callable[..., Any] | None:
    """Return the callable registered under this name; None when there is none."""
    return _callables.get(name)


def nearest(name: str) -> list[str]:
    """Return up to three registered names that look most like `name`."""
    return difflib.get_close_matches(name, list(_callables), n=3)
