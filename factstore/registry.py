"""The registry of the callables that queries, schemas and tx-data can call by name.

Text can never import or run other code: a name that is not registered is an error, which lists similar names.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, TypeVar, overload

from factstore.errors import FactStoreError
from factstore.values.quoting import quoted

F = TypeVar("F", bound=Callable[..., Any])

_callables: dict[str, Callable[..., Any]] = {}


@overload
def register(name: str, /) -> Callable[[F], F]: ...
@overload
def register(name: str, function: F, /) -> F: ...
def register(name: str, function: Callable[..., Any] | None = None, /) -> Callable[..., Any]:
    """Register a callable under a name for queries, predicates of the schema, tx-data and :xform of pull.

    Args:
        name: as written in the text, with a namespace: "orders/total".
        function: the callable; without it, `register` returns a decorator.
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
    """Return the callable registered under this name; None if there is none."""
    return _callables.get(name)


def nearest(name: str) -> list[str]:
    """Return up to three registered names that are similar to `name`."""
    return difflib.get_close_matches(name, list(_callables), n=3)
