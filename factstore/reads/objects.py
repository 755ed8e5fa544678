"""The entity of an object: the one that its id or one of its unique fields names.

Law: a transaction that asserts the object asserts facts about this entity, or about a new one if there is none.
"""

from __future__ import annotations

from typing import Any, Final

from factstore.db.database import Database
from factstore.schema.class_fields import slots_of

_DB_ID: Final = ":db/id"


def identified(db: Database, instance: Any) -> int | None:
    """Return the entity of an object; None if the database has none with its identity."""
    slots = slots_of(instance.__class__)
    fields = {slot.name: slot.stored(getattr(instance, slot.name)) for slot in slots}
    given = {slot.attribute: fields[slot.name] for slot in slots}
    if given.get(_DB_ID) is not None:
        return db.entid(given[_DB_ID])
    for slot in slots:
        value = fields[slot.name]
        if slot.declared.members:  # derived: the field may have the value from before a change of its members
            value = [fields.get(member, given.get(member)) for member in slot.declared.members]
        attribute = db.schema.find(slot.attribute)
        if attribute is not None and attribute.is_identity and value is not None:
            eid = db.entid([slot.attribute, value])
            if eid is not None:
                return eid
    return None
