"""Executes a pattern: first downwards, level by level, to read values; then upwards, to finish nested maps.

    frame = a pattern, the entities of one level that are read with it, and the map of each entity
    down    for each selection of a frame: read the values and put them into the maps; references make a new frame
    up      in reverse order: empty maps are removed, and xforms are applied to whole collections

It is not recursive, so a chain of references can have any length. A frame of many entities is read column by column, a
frame of few entities one by one.
Law: the result is the same as when each entity is pulled alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from pyrsistent import PSet, pset

from factstore import registry
from factstore.errors import PullError
from factstore.reads.pull.parse import ABSENT, DB_ID, Fallback, Pattern, Selection
from factstore.reads.pull.singles import Singles
from factstore.reads.pull.xforms import built_in
from factstore.values.quoting import quoted
from factstore.values.types import Keyword, Stored

if TYPE_CHECKING:
    from factstore.db.database import Database
    from factstore.reads.pull.columns import Ids

DB_IDENT: Final = Keyword(":db/ident")
NO_ENTITY: Final = -(1 << 62)  # instead of an entity, if a name leads to none
FEW: Final = 32  # entities up to which reading one by one is faster than numpy
_COLUMN_PRICE: Final = 4  # reading a column of many entities takes about as long as all facts of four entities

ValuesByEntity = list[Sequence[Stored]]  # the values of a selection, for each entity of a frame


Reader: TypeAlias = "Ids | Singles"


class Trail(NamedTuple):
    """The state of the recursions that led to an entity."""

    seen: PSet[int]  # entities that recursions, and selections that lead to one, have passed
    parts: PSet[int]  # entities that were pulled as components without a pattern
    left: Mapping[Selection, int]  # the number of levels that remain for a recursion with a depth


START: Final = Trail(pset(), pset(), {})


class Frame(NamedTuple):
    """Entities to be read with one pattern; the lists are parallel."""

    pattern: Pattern
    eids: list[int]
    outs: list[dict[Any, Any]]
    trails: list[Trail] | None = None  # None: there is no recursion above

    def reader(self, db: Database) -> Reader:
        """Return the way in which its entities are read."""
        size = len(self.eids)
        if size <= FEW or (self.pattern.is_wild and size <= _COLUMN_PRICE * len(db.view.attributes())):
            return Singles(db, self.eids)
        from factstore.reads.pull import columns

        return columns.Ids(db, self.eids)


class Unfinished(NamedTuple):
    """Maps with nested maps that are not complete yet: in each of `outs`, the list at the key of the selection."""

    selection: Selection
    outs: list[dict[Any, Any]]


def run_pattern(db: Database, pattern: Pattern, eids: list[int]) -> list[dict[Any, Any]]:
    """Return the map of each entity, in the same order; {} if the entity has no selected fact."""
    outs: list[dict[Any, Any]] = [{} for _ in eids]
    frames = [Frame(pattern, eids, outs)]
    unfinished: list[Unfinished] = []
    shared: list[dict[Any, Any]] = []  # maps with fallback keys
    while frames:
        frame = frames.pop()
        reader, plain = frame.reader(db), frame.pattern
        if plain.is_wild:
            plain = plain.expanded(db.schema, reader.attributes())
        for step in plain.steps:
            if isinstance(step, tuple):
                reader.fill(step, frame.outs)
            else:
                _take(reader, frame, step, frames, unfinished)
        if plain.falls_back:
            shared += frame.outs
    for item in reversed(unfinished):
        _finish(item)
    for out in shared:
        _fall_back(out)
    return outs


def _fall_back(out: dict[Any, Any]) -> None:
    """Move each value from its fallback key to its own key, unless an earlier selection has filled that key."""
    for fallback in [key for key in out if type(key) is Fallback]:
        out.setdefault(fallback.key, out.pop(fallback))


def _take(
    reader: Reader, frame: Frame, selection: Selection, frames: list[Frame], unfinished: list[Unfinished]
) -> None:
    if selection.is_id:
        for e, out in zip(frame.eids, frame.outs):
            _put_id(out, selection, None if e == NO_ENTITY else e)
    elif selection.attribute is None:
        _place(reader, frame, selection, [()] * len(frame.eids), frames, unfinished)
    else:
        _place(reader, frame, selection, reader.gather(selection), frames, unfinished)


def _place(
    reader: Reader,
    frame: Frame,
    selection: Selection,
    values_by_entity: ValuesByEntity,
    frames: list[Frame],
    unfinished: list[Unfinished],
) -> None:
    """Put the values of a selection into the maps of a frame, or make the frame that reads the referenced entities."""
    if selection.descends:
        for below in _descend(frame, selection, values_by_entity, unfinished):
            if below.eids:
                frames.append(below)
        return
    refers = selection.reverse or (selection.attribute is not None and selection.attribute.is_ref)
    load: Callable[[Any], Any] | None = (
        _References(reader.idents(values_by_entity)).__getitem__ if refers else selection.load
    )
    for out, values in zip(frame.outs, values_by_entity, strict=True):
        if not values:
            _put_absent(out, selection)
        elif selection.single:
            value = values[0] if len(values) == 1 else _chosen(selection, values)[0]
            _put(out, selection, value if load is None else load(value))
        else:
            chosen = _chosen(selection, values)
            _put(out, selection, chosen if load is None else list(map(load, chosen)))


def _chosen(selection: Selection, values: Sequence[Stored]) -> list[Stored]:
    """Return the values for the map, in order; one value of a single attribute, though its past may have several."""
    assert selection.attribute is not None
    ordered = sorted(values, key=None if selection.reverse else selection.attribute.order_key)
    return ordered[: 1 if selection.single else selection.limit]


class _References(dict[int, dict[Keyword, Any]]):
    """The maps of entities that are referenced and not pulled: the id, and the ident if there is one."""

    def __init__(self, idents: Callable[[int], Sequence[Any]]) -> None:
        self._idents = idents

    def __missing__(self, e: int) -> dict[Keyword, Any]:
        reference: dict[Keyword, Any] = {DB_ID: e}
        for ident in self._idents(e):
            reference[DB_IDENT] = ident
        return reference


def _descend(
    frame: Frame, selection: Selection, values_by_entity: ValuesByEntity, unfinished: list[Unfinished]
) -> tuple[Frame, ...]:
    """Return the frames of the entities that a selection refers to; their maps are noted as unfinished."""
    trails = frame.trails or ([START] * len(frame.eids) if selection.tracks else None)
    pattern = frame.pattern if selection.pattern is None else selection.pattern
    below = Frame(pattern, [], [], None if trails is None else [])
    ends = Frame(pattern.at_end, [], [], []) if selection.recursive else None
    recursions = trails if selection.recursive else None
    outs: list[dict[Any, Any]] = []
    most = 1 if selection.single else selection.limit
    for i, (out, refs) in enumerate(zip(frame.outs, values_by_entity, strict=True)):
        is_deepest = recursions is not None and recursions[i].left.get(selection, selection.depth) == 0
        if not refs or (is_deepest and not pattern.ids):
            _put_absent(out, selection)
            continue
        chosen: Sequence[Any] = refs if len(refs) == 1 else sorted(refs)[:most]
        if is_deepest:
            maps: list[dict[Any, Any]] = [_ids_of(pattern, ref) for ref in chosen]
        elif trails is None:
            maps = [{} for _ in chosen]
            below.eids.extend(chosen)
            below.outs.extend(maps)
        else:
            maps = _enter(selection, trails[i], chosen, below, ends)
        out[selection.key] = maps
        outs.append(out)
    unfinished.append(Unfinished(selection, outs))
    return (below,) if ends is None else (below, ends)


def _ids_of(pattern: Pattern, e: int) -> dict[Any, Any]:
    out: dict[Any, Any] = {}
    for selection in pattern.ids:
        _put_id(out, selection, e)
    return out


def _enter(
    selection: Selection, trail: Trail, refs: Sequence[int], below: Frame, ends: Frame | None
) -> list[dict[Any, Any]]:
    """Return the maps of referenced entities, one level down; a recursion ends at an entity of its own path."""
    left = trail.left.get(selection, selection.depth) if selection.recursive else None
    if left is not None:
        trail = trail._replace(left={**trail.left, selection: left - 1})
    maps: list[dict[Any, Any]] = []
    for ref in refs:
        maps.append({})
        if selection.expands and ref in trail.parts:
            maps[-1][DB_ID] = ref
            continue
        is_end = ends is not None and ref in trail.seen
        entered = ends if is_end and ends is not None else below
        entered.eids.append(ref)
        entered.outs.append(maps[-1])
        assert entered.trails is not None
        entered.trails.append(_passed(selection, trail, ref))
    return maps


def _passed(selection: Selection, trail: Trail, ref: int) -> Trail:
    """Return the trail of an entity that a selection refers to."""
    if selection.expands:
        return trail._replace(parts=trail.parts.add(ref))
    return trail._replace(seen=trail.seen.add(ref)) if selection.tracks else trail


def _finish(item: Unfinished) -> None:
    selection, key = item.selection, item.selection.key
    is_plain = selection.xform is None and not selection.single
    for out in item.outs:
        if is_plain and out[key] and all(out[key]):
            continue
        kept = [each for each in out[key] if each]
        value: Any = (kept[0] if selection.single else kept) if kept else None
        if selection.xform is not None:
            value = _transformed(selection, value)
        if value is None:
            del out[key]
        else:
            out[key] = value


def _put(out: dict[Any, Any], selection: Selection, value: Any) -> None:
    if selection.xform is not None:
        value = _transformed(selection, value)
        if value is None:
            return
    out[selection.key] = value


def _put_id(out: dict[Any, Any], selection: Selection, e: int | None) -> None:
    if selection.xform is None:
        out[selection.key] = e  # None too: the id of an entity that does not exist
    else:
        _put(out, selection, e)


def _put_absent(out: dict[Any, Any], selection: Selection) -> None:
    default = selection.default
    if default is not ABSENT:
        # Cached patterns are shared, so each caller gets a copy that it may change.
        out[selection.key] = deepcopy(default) if isinstance(default, list | dict | set) else default
    elif selection.xform is not None:
        _put(out, selection, None)


def _transformed(selection: Selection, value: Any) -> Any:
    function = selection.xform
    if isinstance(function, str):
        function = registry.lookup(function) or built_in(function)
    if function is None:
        raise PullError(
            ":db.error/invalid-pull",
            f"no function {selection.xform} is registered for :xform",
            fragment=selection.xform,
        )
    try:
        return function(value)
    except Exception as error:
        raise PullError(
            ":db.error/xform-failed",
            f":xform {selection.xform} of {selection.key} raised {type(error).__name__}: {error}; "
            f"it was given {quoted(value)}",
            xform=selection.xform,
            key=selection.key,
            value=value,
        ) from error
