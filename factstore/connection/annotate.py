"""Annotations: what is said of every transaction that is made within a block, such as who made it and why.

Kept in a context variable: threads and tasks that run beside the block are not in it.
Law: what a block says was checked when it began, so that only the transaction itself can make a transaction in it fail.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from factstore.errors import TransactError
from factstore.schema.classes import name_of
from factstore.transact import with_
from factstore.values.quoting import described

if TYPE_CHECKING:
    from factstore.db.database import Database

Annotations = Mapping[str, Any]

# By the identity of what the transactions are made with: a block of one connection says nothing of another's transactions.
_said: Final[ContextVar[Mapping[int, Annotations]]] = ContextVar("annotations")
_NOTHING: Final[Mapping[int, Annotations]] = {}
in_force = _said.get  # in_force(None): None where no block was ever entered


def annotations_of(owner: object) -> Annotations:
    """Return what is said of transactions made here with this owner."""
    return _said.get(_NOTHING).get(id(owner), {})


@contextmanager
def annotating(owner: object, db: Database, said: Annotations) -> Iterator[None]:
    """Say this, and what the blocks around say, of the transactions made in the block; see `Connection.annotate`."""
    if said:
        with_(db, [{":db/id": "datomic.tx", **said}])
    token = _said.set({**_said.get(_NOTHING), id(owner): {**annotations_of(owner), **said}})
    try:
        yield
    finally:
        _said.reset(token)


def named(mapping: Annotations | None, words: Mapping[str, Any]) -> dict[str, Any]:
    """Return annotations under the idents of their attributes: words are in the namespace of transactions.

    >>> named({":audit/source": "import"}, {"ticket_no": 7})
    {':audit/source': 'import', ':tx/ticket-no': 7}
    """
    if mapping is not None and not isinstance(mapping, Mapping):
        text = f"expected a mapping from attributes to values, got {described(mapping)}"
        raise TransactError(":db.error/invalid-tx-form", text, expected="a mapping", got=mapping)
    return {**(mapping or {}), **{f":tx/{name_of(word)}": value for word, value in words.items()}}
