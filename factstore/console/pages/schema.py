"""The page of the schema: attributes by namespace with their rules, counts and docs, and which refers to which."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, Final

from factstore.console.facts import declared, size_of
from factstore.console.page import Answer, PageRequest, Ref, Table
from factstore.console.pages.drawing import Arrow, references
from factstore.schema.attribute import Attribute

if TYPE_CHECKING:
    from factstore.db.database import Database

_SAMPLE: Final = 100  # references of an attribute whose targets are read


def schema(request: PageRequest) -> Answer:
    """Return the page of the schema."""
    db = request.db
    spaces: defaultdict[str, list[tuple[Ref, str, str, int, bool, str]]] = defaultdict(list)
    for attribute in sorted(declared(request), key=lambda attribute: attribute.ident):
        size, exact = size_of(db, attribute)
        name = Ref(attribute.id, str(attribute.ident))
        row = (name, attribute.value_type.name, rules_of(attribute), size, exact, attribute.doc or "")
        spaces[space_of(attribute)].append(row)
    rows = [(row[0].label, *row[1:4], row[5]) for space in spaces.values() for row in space]
    table = Table(("attribute", "type", "rules", "facts", "doc"), rows)
    picture = references(list(_arrows(db, declared(request))))
    return Answer("schema.html", {"spaces": spaces, "picture": picture}, {"attributes": table})


def space_of(attribute: Attribute) -> str:
    """Return the namespace of an attribute's ident."""
    return attribute.ident.rpartition("/")[0].lstrip(":")


def rules_of(attribute: Attribute) -> str:
    """Return the rules of an attribute in words."""
    unique = None if attribute.unique is None else attribute.unique.rpartition("/")[2]
    given = {
        "many": attribute.many,
        f"unique {unique}": unique is not None,
        "indexed": attribute.index,
        "component": attribute.is_component,
        "full text": attribute.fulltext,
        "no history": attribute.no_history,
    }
    return ", ".join(name for name, holds in given.items() if holds)


def _arrows(db: Database, attributes: list[Attribute]) -> set[Arrow]:
    """Return which namespace refers to which, from the first references of each attribute."""
    found = set()
    for attribute in attributes:
        if attribute.is_ref:
            for datom in islice(db.datoms("aevt", attribute.ident), _SAMPLE):
                target = _space_of_entity(db, datom.v)
                if target:
                    found.add(Arrow(space_of(attribute), attribute.ident.rpartition("/")[2], target))
    return found


def _space_of_entity(db: Database, eid: int) -> str:
    """Return the namespace of most facts about an entity; that of its ident if it has one."""
    ident = db.ident(eid)
    if ident is not None:
        return ident.rpartition("/")[0].lstrip(":")
    spaces = [space_of(db.schema.attribute(datom.a)) for datom in islice(db.datoms("eavt", eid), 20)]
    return max(sorted(set(spaces)), key=spaces.count, default="")
