"""Annotations: facts about every transaction that is committed within a block, such as its author and reason.

They are stored in a context variable, so they do not apply to threads and tasks that run beside the block.
Law: annotations are checked when the block begins, so a transaction in the block can fail only because of its own
    forms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from factstore.errors import TransactError
from factstore.schema.class_fields import name_of
from factstore.transact import with_
from factstore.values.quoting import described

if TYPE_CHECKING:
    from factstore.db.database import Database

Annotations = Mapping[str, Any]

# Keys are identities of connections: a block of one connection does not apply to transactions of another.
_by_owner: Final[ContextVar[Mapping[int, Annotations]]] = ContextVar("annotations")
_NOTHING: Final[Mapping[int, Annotations]] = {}
in_force = _by_owner.get  # in_force(None) is None if no block was entered in this context


def annotations_of(owner: object) -> Annotations:
    """Return the annotations of transactions that this context commits with a connection."""
    return _by_owner.get(_NOTHING).get(id(owner), {})


@contextmanager
def annotating(owner: object, db: Database, annotations: Annotations) -> Iterator[None]:
    """Add annotations to those of the enclosing blocks, for a `with` block; see `Connection.annotate`."""
    if annotations:
        with_(db, [{":db/id": "datomic.tx", **annotations}])
    before = _by_owner.get(_NOTHING)
    try:
        _by_owner.set({**before, id(owner): {**annotations_of(owner), **annotations}})
        yield
    finally:
        _by_owner.set(before)


def named(mapping: Annotations | None, words: Mapping[str, Any]) -> dict[str, Any]:
    """Return annotations by the idents of their attributes; keyword arguments are in the namespace `tx`.

    >>> named({":audit/source": "import"}, {"ticket_no": 7})
    {':audit/source': 'import', ':tx/ticket-no': 7}
    """
    if mapping is not None and not isinstance(mapping, Mapping):
        text = f"expected a mapping from attributes to values, got {described(mapping)}"
        raise TransactError(":db.error/invalid-tx-form", text, expected="a mapping", got=mapping)
    return {**(mapping or {}), **{f":tx/{name_of(word)}": value for word, value in words.items()}}
