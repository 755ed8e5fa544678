"""Reverse attribute names: `:order/_lines` follows the references of `:order/lines` backwards."""

from __future__ import annotations

from functools import lru_cache

from factstore.values.types import Keyword


@lru_cache(maxsize=4096)
def forward_of(name: str) -> Keyword | None:
    """Return the attribute whose references a reverse name follows; None for other names.

    >>> forward_of(":order/_lines"), forward_of(":_child"), forward_of(":order/lines")
    (:order/lines, :child, None)
    """
    head, slash, tail = name.rpartition("/")
    if not slash:
        head, tail = ":", name[1:]
    try:
        return Keyword(f"{head}{slash}{tail[1:]}") if tail.startswith("_") and len(tail) > 1 else None
    except ValueError:
        return None  # not a name at all
