"""The forms after which a stored entity is exactly an object. They are data; nothing is committed here.

    a field with a value       that value, and no other
    a field without a value    no value
    a set                      exactly its values
    a part (a component)       the same for the part; parts that the object no longer has are retracted
    another object             a reference to it; its own values are added, and nothing about it is retracted
    a reverse reference        added

Law: after these forms the fields of the entity are those of the object, and saving it again changes nothing.
"""

from __future__ import annotations

from typing import Any, Final

from factstore.db.database import Database
from factstore.errors import PullError, TransactError
from factstore.reads.objects import identified
from factstore.reads.pull import pull
from factstore.schema.class_fields import Slot, is_instance, map_of, slots_of
from factstore.schema.class_kinds import KINDS
from factstore.schema.reverse import forward_of
from factstore.transact import set_exactly
from factstore.values.quoting import quoted

_DB_ID: Final = ":db/id"
_LONGEST_CHAIN: Final = 200  # parts of parts


def check_object(instance: Any) -> None:
    """Raise TransactError(:db.error/invalid-tx-form) for a value that is no object of a class with fields."""
    if not is_instance(instance):
        text = f"expected an object of {KINDS}, got {quoted(instance)}"
        raise TransactError(":db.error/invalid-tx-form", text, got=instance)


def form_of(db: Database, instance: Any, tempid: str) -> dict[str, Any]:
    """Return the map form of an object, about its entity if the database has it, else about a new one.

    Raises: TransactError(:db.error/invalid-tx-form).
    """
    check_object(instance)
    eid = identified(db, instance)
    form = {name: value for name, value in map_of(instance).items() if value is not None}
    return {**form, _DB_ID: tempid if eid is None else eid}


class Saving:
    """The forms that save an object and its parts, and the entity of the object."""

    def __init__(self, db: Database, instance: Any) -> None:
        """Collect the forms. Raises: TransactError; DatabaseError for an attribute that is not declared."""
        check_object(instance)
        self._db = db
        self.forms: list[Any] = []
        self._names: list[int | str] = []
        self.entity = self._saved(instance, identified(db, instance), 0)

    def _saved(self, instance: Any, eid: int | None, depth: int) -> int | str:
        if depth > _LONGEST_CHAIN:
            text = f"expected parts that are nested less deeply, got {quoted(instance)}"
            raise TransactError(":db.error/invalid-tx-data", text, path="tx-data")
        name = f"object {len(self._names)}" if eid is None else eid
        self._names.append(name)
        for slot in slots_of(instance.__class__):
            if slot.attribute != _DB_ID and not slot.declared.members and slot.declared.stamp is None:
                self._field(name, slot, slot.stored(getattr(instance, slot.name)), depth)
        return name

    def _field(self, name: int | str, slot: Slot, value: Any, depth: int) -> None:
        if forward_of(slot.attribute) is not None:
            self.forms += [{_DB_ID: name, slot.attribute: value}] if value else []
            return
        attribute = self._db.attribute(slot.attribute)
        values = [] if value is None else list(value) if slot.collection is not None else [value]
        if attribute.is_component:
            eids = [] if isinstance(name, str) else list(map(int, self._db.view.values_of(name, attribute.id)))
            old = {eid: self._part(slot, eid) for eid in eids}
            values = [self._of_part(each, old, depth) for each in values]
            self.forms += [[":db/retractEntity", eid] for eid in eids if eid not in values]
        if values or not isinstance(name, str):
            self.forms.append(set_exactly(name, slot.attribute, values))

    def _of_part(self, value: Any, old: dict[int, Any], depth: int) -> Any:
        if not is_instance(value):
            return value
        eid = identified(self._db, value)
        if eid is None:  # a part without an identity is kept if it is equal
            eid = next((eid for eid, part in old.items() if part == value and eid not in self._names), None)
        return self._saved(value, eid, depth + 1)

    def _part(self, slot: Slot, eid: int) -> Any:
        try:
            return None if slot.shape is None else pull(self._db, slot.shape, eid)
        except PullError:
            return None  # it lacks a field, so it equals no object
