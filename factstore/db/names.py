"""Names in a database: which entity, attribute or stored value a caller's value stands for.

    entity      id | ident | [unique-attribute value] | an entity that was read
    attribute   id | ident
    value       of the attribute's type; for a reference, the name of an entity

`Database` inherits `Names`. Queries use `entity_or_none` and `stored_or_none`: there an invalid name is not an error,
but matches nothing. Transactions read names in `transact/terms.py`, which collects all problems.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from factstore.datom import N_MASK, TX_PARTITION, USER_PARTITION, partition_of
from factstore.errors import DatabaseError
from factstore.schema.attribute import Attribute, Schema
from factstore.values.quoting import described, quoted
from factstore.values.types import INSTANT, LONG_MAX, LONG_MIN, Keyword, Stored, is_naive, plain

if TYPE_CHECKING:
    from factstore.index.view import View


class Names:
    """The part of a database that resolves names. It creates no objects of its own."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def view(self) -> View: ...
        @property
        def schema(self) -> Schema: ...
        @property
        def basis_t(self) -> int: ...
        @property
        def next_n(self) -> int: ...

    def entid(self, name: object) -> int | None:
        """Return the entity id of an id, an ident or a lookup ref; None if there is no such entity, and for None.

        Args:
            name: an int is returned unchanged; a Keyword or str such as ":color/red"; a list or tuple
                `[attribute, value]`; an entity that was read.
        Raises: DatabaseError(:db.error/invalid-entity-id) for an int outside 64 bits; DatabaseError
            (:db.error/lookup-ref-attr-not-unique, :db.error/invalid-lookup-ref, :db.error/not-an-attribute).
        Source: Datomic API, entid.
        """
        if name is None:
            return None
        if type(name) is int:
            if LONG_MIN <= name <= LONG_MAX:
                return name
            raise DatabaseError(
                ":db.error/invalid-entity-id", "expected an entity id, got a number outside 64 bits", got=name
            )
        if isinstance(name, str):
            return self.schema.entid(name)
        if isinstance(name, list | tuple) and len(name) == 2:
            return self._lookup(name[0], name[1], name)
        eid = getattr(name, "eid", None)
        if type(eid) is int:
            return eid
        same = plain(name)
        if type(same) is int:
            return self.entid(same)
        raise DatabaseError(
            ":db.error/invalid-lookup-ref",
            f"expected an entity id, an ident or [attribute, value], got {quoted(name)}",
            name=name,
        )

    def _lookup(self, key: object, value: object, ref: object) -> int | None:
        attribute = self.attribute(key)
        if attribute.unique is None:
            raise DatabaseError(
                ":db.error/lookup-ref-attr-not-unique",
                f"a lookup ref needs a unique attribute; {attribute.ident} in {quoted(ref)} is not",
                attribute=attribute.ident,
                ref=ref,
            )
        try:
            stored = self.stored(attribute, value)
        except RecursionError:
            raise DatabaseError(
                ":db.error/invalid-lookup-ref", f"a lookup ref is nested too deep, got {quoted(ref)}", ref=ref
            ) from None
        if stored is None:
            return None
        holders = self.view.unique_holders_of(attribute.id, stored)
        return holders[0] if holders else None

    def stored(self, attribute: Attribute, value: object) -> Stored | None:
        """Return the stored form of a value, or None if no datom of this attribute can have the value.

        The value of a tuple attribute may also be the beginning of a tuple.
        Raises: DatabaseError(:db.error/wrong-type-for-attribute) for a naive datetime, which is no definite instant.
        """
        if value is None:
            return None
        if attribute.is_ref:
            return self.entid(value)
        try:
            return attribute.store(value, self.entid) if attribute.is_tuple else attribute.value_type.store(value)
        except ValueError as why:
            if attribute.value_type is INSTANT and is_naive(value):
                raise wrong_type(attribute, value, str(why)) from None
            return None

    def attribute(self, key: object) -> Attribute:
        """Return the attribute of this id or ident. Raises: DatabaseError(:db.error/not-an-attribute)."""
        if type(key) is not str and not isinstance(key, int | str):
            key = plain(key)
            if not isinstance(key, int | str):
                raise DatabaseError(
                    ":db.error/not-an-attribute",
                    f"expected an attribute's ident or id, got {quoted(key)}",
                    attribute=key,
                )
        return self.schema.attribute(key)

    def ident(self, name: object) -> Keyword | None:
        """Return the ident of an entity given by id or ident; None if it has none. Source: Datomic API, ident."""
        eid = self.entid(name)
        return None if eid is None else self.schema.ident(eid)

    def was_minted(self, eid: int) -> bool:
        """Return whether this entity id was ever assigned to an entity."""
        partition, n = partition_of(eid), eid & N_MASK
        if partition == USER_PARTITION:
            return n < self.next_n
        if partition == TX_PARTITION:
            return 0 < n <= self.basis_t
        # The n of an attribute is its id; entities of the other partitions have the remaining ones.
        is_known = partition == 0 and n < self.next_n
        return is_known and (self.schema.find(n) is not None or self.schema.ident(n) is not None)


def wrong_type(attribute: Attribute, value: object, why: str) -> DatabaseError:
    """Return the error for a value that the attribute cannot have."""
    return DatabaseError(
        ":db.error/wrong-type-for-attribute",
        f"{attribute.ident} takes {attribute.value_type.wants}, got {described(value)}{why and ': '}{why}",
        attribute=attribute.ident,
        value=value,
    )


def entity_or_none(names: Names, value: Any) -> int | None:
    """Return the entity that a value of a query stands for; None if it stands for none."""
    if type(value) is int:
        return value if LONG_MIN <= value <= LONG_MAX else None
    if isinstance(value, str):
        return names.schema.entid(value)
    if isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str | int):
        return names.entid(value)
    eid = getattr(value, "eid", None)  # an entity as `factstore.entity` returns it
    return eid if type(eid) is int else None


def stored_or_none(names: Names, attribute: Attribute, value: Any) -> Stored | None:
    """Return the stored form of a value of a query; None if the attribute cannot have it."""
    if attribute.is_ref:
        return entity_or_none(names, value)
    try:
        if attribute.is_tuple:
            return attribute.store(value, partial(entity_or_none, names))
        return attribute.value_type.store(value)
    except ValueError:
        return None
