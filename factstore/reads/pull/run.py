"""Running a pattern: down level by level, collecting; then back up, settling what was collected.

    frame = one pattern and all the entities of a level it is to be read for, each with the map it fills
    down    for each step of a frame: gather its values, place them; references open a frame below
    up      in reverse order: maps that stayed empty are left out, limits and xforms see whole collections

Nothing here goes down on Python's stack: a chain of references may be as long as it likes. A frame of many entities reads
column by column, one of few entity by entity.
Law: the answer is that of reading every entity by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pyrsistent import PSet, pset

from factstore import registry
from factstore.errors import PullError
from factstore.reads.pull.parse import ABSENT, DB_ID, Fallback, Pattern, Step, plain_step
from factstore.reads.pull.xforms import built_in
from factstore.schema.attribute import IDENT
from factstore.values.quoting import quoted
from factstore.values.types import Keyword, Stored

if TYPE_CHECKING:
    from factstore.db.database import Database
    from factstore.reads.pull.columns import Ids

DB_IDENT: Final = Keyword(":db/ident")
NOBODY: Final = -(1 << 62)  # stands for an entity that a name does not lead to
FEW: Final = 32  # entities; up to here, asking one by one is cheaper than numpy's fixed price
_COLUMN_PRICE: Final = 4  # reading a column for many entities costs about what everything about four of them does

Found = list[Sequence[Stored]]  # the values of a step for each entity of a frame


class Trail(NamedTuple):
    """Where an entity stands in the recursions that led to it."""

    seen: PSet[int]  # entities met by recursions, and by what leads to one
    parts: PSet[int]  # entities met as components that no pattern names
    left: Mapping[Step, int]  # levels that a bounded recursion may still go down


START: Final = Trail(pset(), pset(), {})


class Frame(NamedTuple):
    """Entities to be read with one pattern; the lists are parallel."""

    pattern: Pattern
    eids: list[int]
    outs: list[dict[Any, Any]]
    trails: list[Trail] | None = None  # None: all at the start, as nothing goes down by itself above
    column: Ids | None = None  # the ids again, for a frame of many


class Unsettled(NamedTuple):
    """Keys of maps whose values are maps that are still being filled: for each of `outs` the list under the step's key."""

    step: Step
    outs: list[dict[Any, Any]]


def run_pattern(db: Database, pattern: Pattern, eids: list[int]) -> list[dict[Any, Any]]:
    """Return what a pattern finds of each entity, in order; {} where it finds nothing."""
    outs: list[dict[Any, Any]] = [{} for _ in eids]
    frames = [Frame(pattern, eids, outs)]
    unsettled: list[Unsettled] = []
    shared: list[dict[Any, Any]] = []  # maps with fallbacks
    while frames:
        frame = frames.pop()
        is_shared = frame.pattern.falls_back
        if len(frame.eids) > FEW:
            frame = _as_columns(frame)
        for step in frame.pattern.steps:
            if step.is_bare:
                _fill(db, frame, step)
            else:
                _take(db, frame, step, frames, unsettled)
        if frame.pattern.is_wild:
            for step, found in _rest(db, frame):
                is_shared = is_shared or type(step.key) is Fallback
                _place(db, frame, step, found, frames, unsettled)
        if is_shared:
            shared += frame.outs
    for item in reversed(unsettled):
        _settle(item)
    for out in shared:
        _fall_back(out)
    return outs


def _fall_back(out: dict[Any, Any]) -> None:
    """Put what steps found that share a key under that key: the first of them that found anything counts."""
    for fallback in [key for key in out if type(key) is Fallback]:
        out.setdefault(fallback.key, out.pop(fallback))


def _as_columns(frame: Frame) -> Frame:
    from factstore.reads.pull import columns

    return frame._replace(column=columns.Ids(frame.eids))


def _take(db: Database, frame: Frame, step: Step, frames: list[Frame], unsettled: list[Unsettled]) -> None:
    if step.is_id:
        for e, out in zip(frame.eids, frame.outs, strict=True):
            _put_id(out, step, None if e == NOBODY else e)
    elif step.attribute is None:
        _place(db, frame, step, [()] * len(frame.eids), frames, unsettled)
    else:
        found = _gather_singly(db, frame, step) if frame.column is None else frame.column.gather(db, step)
        _place(db, frame, step, found, frames, unsettled)


def _fill(db: Database, frame: Frame, step: Step) -> None:
    """Put the one value that each entity has of a bare step's attribute straight into its map."""
    if frame.column is not None:
        frame.column.fill(db, step, frame.outs)
        return
    assert step.attribute is not None
    key, load = step.key, step.load
    for out, values in zip(frame.outs, map(db.view.reader_of(step.attribute.id), frame.eids), strict=True):
        if values:
            value = values[0] if len(values) == 1 else _chosen(step, values)[0]
            out[key] = value if load is None else load(value)


def _gather_singly(db: Database, frame: Frame, step: Step) -> Found:
    assert step.attribute is not None
    a, view = step.attribute.id, db.view
    if step.reverse:
        return [view.holders_of(a, e) for e in frame.eids]
    return list(map(view.reader_of(a), frame.eids))


def _rest(db: Database, frame: Frame) -> list[tuple[Step, Found]]:
    """Gather what the wildcards of a frame ask for: the attributes that no step names."""
    pattern, schema = frame.pattern, db.schema
    by_column = frame.column is not None and _COLUMN_PRICE * len(db.view.attributes()) < len(frame.eids)
    found = _columns_about(db, frame) if by_column else _facts_about(db, frame)
    steps = [(plain_step(schema.attribute(a)), values) for a, values in found.items() if a not in pattern.named]
    if not pattern.everything:
        steps = [(step, values) for step, values in steps if step.key.namespace in pattern.namespaces]
    if pattern.taken:
        steps = [
            (replace(step, key=Fallback(step.key)) if step.key in pattern.taken else step, values)
            for step, values in steps
        ]
    return steps


def _facts_about(db: Database, frame: Frame) -> dict[int, Found]:
    found: dict[int, Found] = {}
    for i, e in enumerate(frame.eids):
        for fact in db.view.facts_about(e):
            values = found.get(fact[1])
            if values is None:
                values = found[fact[1]] = [()] * len(frame.eids)
            values[i] = [*values[i], fact[2]]
    return found


def _columns_about(db: Database, frame: Frame) -> dict[int, Found]:
    assert frame.column is not None
    return {a: frame.column.gather(db, plain_step(db.schema.attribute(a))) for a in db.view.attributes()}


def _place(
    db: Database, frame: Frame, step: Step, found: Found, frames: list[Frame], unsettled: list[Unsettled]
) -> None:
    """Put the values of a step into the maps of a frame, or open the frame that will find them."""
    if step.descends:
        for below in _descend(frame, step, found, unsettled):
            if below.eids:
                frames.append(below)
        return
    refers = step.reverse or (step.attribute is not None and step.attribute.is_ref)
    load: Callable[[Any], Any] | None = _references(db, frame, found).__getitem__ if refers else step.load
    for out, values in zip(frame.outs, found, strict=True):
        if not values:
            _put_absent(out, step)
        elif step.single:
            value = values[0] if len(values) == 1 else _chosen(step, values)[0]
            _put(out, step, value if load is None else load(value))
        else:
            chosen = _chosen(step, values)
            _put(out, step, chosen if load is None else list(map(load, chosen)))


def _chosen(step: Step, values: Sequence[Stored]) -> list[Stored]:
    """Return the values that are shown, in order; a single step finds several where the past allowed them, and shows the first."""
    assert step.attribute is not None
    ordered = sorted(values, key=None if step.reverse else step.attribute.order_key)
    return ordered[: 1 if step.single else step.limit]


class _References(dict[int, dict[Keyword, Any]]):
    """What stands for an entity that is referred to and not pulled: its id, and its ident when it has one."""

    def __init__(self, idents: Callable[[int], Sequence[Any]]) -> None:
        self._idents = idents

    def __missing__(self, e: int) -> dict[Keyword, Any]:
        found: dict[Keyword, Any] = {DB_ID: e}
        for ident in self._idents(e):
            found[DB_IDENT] = ident
        return found


def _references(db: Database, frame: Frame, found: Found) -> _References:
    if frame.column is not None:
        return _References(frame.column.idents(db, found))
    return _References(lambda e: () if db.schema.ident(e) is None else db.view.values_of(e, IDENT))


def _descend(frame: Frame, step: Step, found: Found, unsettled: list[Unsettled]) -> tuple[Frame, ...]:
    """Return the frames of the entities that a step refers to; the lists of their maps are noted as unsettled."""
    trails = frame.trails or ([START] * len(frame.eids) if step.tracks else None)
    pattern = frame.pattern if step.pattern is None else step.pattern
    below = Frame(pattern, [], [], None if trails is None else [])
    ends = Frame(pattern.at_end, [], [], []) if step.recursive else None
    recursions = trails if step.recursive else None
    outs: list[dict[Any, Any]] = []
    most = 1 if step.single else step.limit
    for i, (out, refs) in enumerate(zip(frame.outs, found, strict=True)):
        is_deepest = recursions is not None and recursions[i].left.get(step, step.depth) == 0
        if not refs or (is_deepest and not pattern.ids):
            _put_absent(out, step)
            continue
        chosen: Sequence[Any] = refs if len(refs) == 1 else sorted(refs)[:most]
        if is_deepest:
            maps: list[dict[Any, Any]] = [_ids_of(pattern, ref) for ref in chosen]
        elif trails is None:
            maps = [{} for _ in chosen]
            below.eids.extend(chosen)
            below.outs.extend(maps)
        else:
            maps = _enter(step, trails[i], chosen, below, ends)
        out[step.key] = maps
        outs.append(out)
    unsettled.append(Unsettled(step, outs))
    return (below,) if ends is None else (below, ends)


def _ids_of(pattern: Pattern, e: int) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for step in pattern.ids:
        _put_id(found, step, e)
    return found


def _enter(step: Step, trail: Trail, refs: Sequence[int], below: Frame, ends: Frame | None) -> list[dict[Any, Any]]:
    """Go one level down. A recursion shows an entity that it has met on the way here once more, and goes no further."""
    left = trail.left.get(step, step.depth) if step.recursive else None
    if left is not None:
        trail = trail._replace(left={**trail.left, step: left - 1})
    maps: list[dict[Any, Any]] = []
    for ref in refs:
        maps.append({})
        if step.expands and ref in trail.parts:
            maps[-1][DB_ID] = ref
            continue
        is_end = ends is not None and ref in trail.seen
        entered = ends if is_end and ends is not None else below
        entered.eids.append(ref)
        entered.outs.append(maps[-1])
        assert entered.trails is not None
        entered.trails.append(_passed(step, trail, ref))
    return maps


def _passed(step: Step, trail: Trail, ref: int) -> Trail:
    """Return the trail of an entity that a step leads to."""
    if step.expands:
        return trail._replace(parts=trail.parts.add(ref))
    return trail._replace(seen=trail.seen.add(ref)) if step.tracks else trail


def _settle(item: Unsettled) -> None:
    step, key = item.step, item.step.key
    is_plain = step.xform is None and not step.single
    for out in item.outs:
        if is_plain and out[key] and all(out[key]):
            continue
        kept = [found for found in out[key] if found]
        value: Any = (kept[0] if step.single else kept) if kept else None
        if step.xform is not None:
            value = _transformed(step, value)
        if value is None:
            del out[key]
        else:
            out[key] = value


def _put(out: dict[Any, Any], step: Step, value: Any) -> None:
    if step.xform is not None:
        value = _transformed(step, value)
        if value is None:
            return
    out[step.key] = value


def _put_id(out: dict[Any, Any], step: Step, e: int | None) -> None:
    if step.xform is None:
        out[step.key] = e  # None too: of an entity that is not there, it is what the pattern finds
    else:
        _put(out, step, e)


def _put_absent(out: dict[Any, Any], step: Step) -> None:
    default = step.default
    if default is not ABSENT:
        # Plans are shared by all who pull with the pattern; what one of them does to a list stays his.
        out[step.key] = deepcopy(default) if isinstance(default, list | dict | set) else default
    elif step.xform is not None:
        _put(out, step, None)


def _transformed(step: Step, value: Any) -> Any:
    function = step.xform
    if isinstance(function, str):
        function = registry.lookup(function) or built_in(function)
    if function is None:
        raise PullError(
            ":db.error/invalid-pull", f"no function {step.xform} is registered for :xform", fragment=step.xform
        )
    try:
        return function(value)
    except Exception as error:
        raise PullError(
            ":db.error/xform-failed",
            f":xform {step.xform} of {step.key} raised {type(error).__name__}: {error}; it was given {quoted(value)}",
            xform=step.xform,
            key=step.key,
            value=value,
        ) from error
