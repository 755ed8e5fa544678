"""Functions that read a database: get-else, get-some, missing?, fulltext, and those of the log, tx-ids and tx-data.

Each gets its arguments as whole columns, so that one read serves all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from factstore.datom import tx_of
from factstore.db.names import entity_or_none
from factstore.errors import QueryError
from factstore.query.language.dialect import invalid, shown
from factstore.query.relations.relation import Column, strict
from factstore.query.sources.access import FEW
from factstore.query.sources.convert import as_entities, loaded
from factstore.query.sources.database import Facts
from factstore.reads import fulltext
from factstore.values.types import order_key

if TYPE_CHECKING:
    from factstore.db.database import Database
    from factstore.schema.attribute import Attribute


def _database(source: Any, form: Any) -> Facts:
    if not hasattr(source, "view"):
        raise QueryError(
            ":db.error/invalid-inputs", f"expected a database, got {shown(source)}, in {shown(form)}", form=form
        )
    return Facts(source)


def _values(db: Database, attribute: Attribute, entities: Column) -> list[list[Any]]:
    """Return for each entity its values of an attribute; none for a value that names no entity."""
    values_by_row: list[list[Any]] = [[] for _ in entities.data]
    ids, mask = as_entities(db, entities)
    rows_of_entities = list(range(len(values_by_row))) if mask is None else [i for i, known in enumerate(mask) if known]
    if len(rows_of_entities) <= FEW:
        for i, eid in zip(rows_of_entities, ids.machine(), strict=True):
            values_by_row[i] = loaded(attribute, list(db.view.values_of(eid, attribute.id))).values()
        return values_by_row
    rows, at = db.view.of_entities(attribute.id, ids.array())
    for i, value in zip(at.tolist(), loaded(attribute, rows.v).values(), strict=True):
        values_by_row[rows_of_entities[i]].append(value)
    return values_by_row


def _by_attribute(facts: Facts, entities: Column, attributes: Column, form: Any) -> list[tuple[Attribute, list[Any]]]:
    """Return for each row the attribute that it names and the values of its entity."""
    rows_by_attribute: dict[Any, list[int]] = {}
    for i, key in enumerate(attributes.values()):
        rows_by_attribute.setdefault(strict(key), []).append(i)
    names = attributes.values()
    pairs: list[Any] = [None] * len(names)
    for which in rows_by_attribute.values():
        attribute = facts.attribute(names[which[0]], form)
        for i, values in zip(which, _values(facts.db, attribute, entities.take(which)), strict=True):
            pairs[i] = attribute, values
    return pairs


def _first(values: list[Any]) -> Any:
    """Return the first value in the order of the index; the past of an attribute can have several."""
    return values[0] if len(values) == 1 else min(values, key=order_key)


def _get_else(args: list[Any], form: Any) -> list[Any]:
    source, entities, attributes, defaults = _arguments(args, 4, form)
    results = []
    pairs = _by_attribute(_database(source, form), entities, attributes, form)
    for (attribute, values), default in zip(pairs, defaults.values(), strict=True):
        if attribute.many:
            raise invalid(f"get-else needs an attribute of cardinality one; {attribute.ident} has many values", form)
        if default is None:
            raise invalid("get-else needs a default other than nil", form)
        results.append(_first(values) if values else default)
    return results


def _get_some(args: list[Any], form: Any) -> list[Any]:
    if len(args) < 3:
        raise invalid("get-some takes a source, an entity and attributes", form)
    facts, entities = _database(args[0], form), args[1]
    results: list[Any] = [None] * len(entities.data)
    for attributes in args[2:]:
        for i, (attribute, values) in enumerate(_by_attribute(facts, entities, attributes, form)):
            if values and results[i] is None:
                results[i] = attribute.id, _first(values)
    return results


def _is_missing(args: list[Any], form: Any) -> list[Any]:
    source, entities, attributes = _arguments(args, 3, form)
    facts = _database(source, form)
    reverse = [
        name for name in set(map(str, attributes.values())) if name.rpartition("/")[2].lstrip(":").startswith("_")
    ]
    if reverse:
        return [
            _has_no_referrer(facts, e, str(a), form)
            for e, a in zip(entities.values(), attributes.values(), strict=True)
        ]
    return [not values for _, values in _by_attribute(facts, entities, attributes, form)]


def _has_no_referrer(facts: Facts, value: Any, name: str, form: Any) -> bool:
    space, slash, last = name.rpartition("/")
    attribute = facts.attribute(f"{space}{slash}{last.replace('_', '', 1)}", form)
    eid = entity_or_none(facts.db, value)
    return eid is None or not facts.db.view.holders_of(attribute.id, eid)


def _arguments(args: list[Any], count: int, form: Any) -> list[Any]:
    if len(args) != count:
        raise invalid(f"expected {count} arguments, got {len(args)}", form)
    return args


def _fulltext(args: list[Any], form: Any) -> list[Any]:
    source, attributes, searches = _arguments(args, 3, form)
    facts = _database(source, form)
    pairs = zip(attributes.values(), searches.values(), strict=True)
    return [fulltext.search(facts.db, facts.attribute(attribute, form), words) for attribute, words in pairs]


def _tx_ids(args: list[Any], form: Any) -> list[Any]:
    log, starts, ends = _arguments(args, 3, form)
    return [
        tuple(tx_of(transaction.t) for transaction in _log(log, form).tx_range(start, end))
        for start, end in zip(starts.values(), ends.values(), strict=True)
    ]


def _tx_data(args: list[Any], form: Any) -> list[Any]:
    log, points = _arguments(args, 2, form)
    results = []
    for point in points.values():
        transaction = next(iter(_log(log, form).tx_range(point, None)), None)
        results.append(None if transaction is None else tuple(map(tuple, transaction.data)))
    return results


def _log(value: Any, form: Any) -> Any:
    if isinstance(value, Column):  # the log is the value of a variable, the same in all rows
        value = value.values()[0]
    if not hasattr(value, "tx_range"):
        raise QueryError(":db.error/invalid-inputs", f"expected a log, got {shown(value)}, in {shown(form)}", form=form)
    return value


LOOKUPS: Final[Mapping[str, Callable[[list[Any], Any], list[Any]]]] = {
    "get-else": _get_else,
    "get-some": _get_some,
    "missing?": _is_missing,
    "fulltext": _fulltext,
    "tx-ids": _tx_ids,
    "tx-data": _tx_data,
}
