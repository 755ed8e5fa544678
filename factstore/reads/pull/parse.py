"""Pull patterns: EDN text or Python data → a tree of selections, checked against a schema.

    pattern   = [ (attr-spec | wildcard | map-spec)* ]
    attr-spec = attr-name | [attr-spec (option value)*] | (limit attr-spec n) | (default attr-spec value)
    attr-name = a keyword; `:x/_a` follows the references of `:x/a` backwards; `:db/id` is the id of the entity
    option    = :as key | :limit n | :default value | :xform name        n = a positive int | nil
    wildcard  = * | :ns/*                    all attributes, or all attributes of a namespace
    map-spec  = { attr-spec (pattern | depth) ... }
    depth     = a positive int | ...

Vectors and lists are the same here; keywords and symbols are the same as strings that look like them.
Law: a spec of an attribute replaces an earlier one of that attribute with the same key, and excludes the attribute
from the wildcard. If several attributes share a key, the map of an entity contains the first of them that the entity
has: the id, then the specs in their order, then the wildcard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import groupby
from typing import Any, Final, TypeAlias

from factstore import registry
from factstore.edn import read
from factstore.errors import PullError
from factstore.reads.pull.xforms import built_in
from factstore.schema.attribute import Attribute, Schema
from factstore.schema.reverse import forward_of
from factstore.values.quoting import as_name, did_you_mean, quoted
from factstore.values.types import Keyword

DB_ID: Final = Keyword(":db/id")
DEFAULT_LIMIT: Final = 1000
MAX_PATH: Final = 200  # from the whole form to a part of it; parsing is recursive
ABSENT: Final = object()  # no default; None is a default
Path: TypeAlias = tuple[Any, ...]
# How to read a selection in the shortest way: its key, the attribute's id, the function that loads a value if there is
# one, and the order of the values.
Leaf: TypeAlias = tuple[Any, int, Callable[[Any], Any] | None, Callable[[Any], Any] | None]
Step: TypeAlias = "tuple[Leaf, ...] | Selection"
_EXPANDED: Final = 256  # expansions of a pattern that are kept
_OPTIONS: Final = (":as", ":limit", ":default", ":xform")


class Fallback:
    """The temporary key of a selection whose own key an earlier selection may use; no two are equal."""

    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        self.key = key

    def __str__(self) -> str:
        return str(self.key)


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Which attribute to read of each entity, and the key of its values in the map."""

    key: Any
    attribute: Attribute | None  # None: an id, or an attribute that no entity can have
    reverse: bool = False
    is_id: bool = False
    limit: int | None = None
    default: Any = ABSENT
    xform: str | Callable[[Any], Any] | None = None
    pattern: Pattern | None = None  # of the referenced entities; None: their ids, or plain values
    depth: int | None = None  # the number of levels of a recursion; None: no limit
    recursive: bool = False  # the referenced entities are read with the pattern that contains this selection
    expands: bool = False  # a component without a pattern
    descends: bool = field(init=False)  # the values are entities that are pulled too
    tracks: bool = field(init=False)  # recursive, or leads to a recursion: the entities on the way are recorded
    single: bool = field(init=False)  # the result is one value, not a list
    leaf: Leaf | None = field(init=False)  # if it is bare: the result is one value, without xform or default
    load: Callable[[Any], Any] | None = field(init=False)  # stored form → what users read; None: the same

    def __post_init__(self) -> None:
        attribute, put = self.attribute, object.__setattr__
        single = attribute is None or (attribute.is_component if self.reverse else not attribute.many)
        put(self, "descends", self.recursive or self.pattern is not None)
        leads_on = self.pattern is not None and any(selection.recursive for selection in self.pattern.selections)
        put(self, "tracks", self.recursive or self.expands or leads_on)
        put(self, "single", single)
        bare = single and attribute is not None and not attribute.is_ref
        put(self, "load", None if attribute is None or attribute.reads_as_stored else attribute.load)
        leaf = None
        if bare and attribute is not None and self.xform is None and self.default is ABSENT:
            leaf = self.key, attribute.id, self.load, attribute.order_key
        put(self, "leaf", leaf)

    def at_end(self, ids: tuple[Selection, ...]) -> Selection | None:
        """Return the selection for the end of a recursion, where only ids are returned, if they are selected."""
        if not self.recursive:
            return self
        if ids:
            return replace(self, pattern=Pattern(ids), recursive=False, depth=None)
        shows = self.default is not ABSENT or self.xform is not None
        return replace(self, attribute=None, recursive=False, depth=None) if shows else None


@dataclass(frozen=True, eq=False)
class Pattern:
    """The selections of one level of a pattern."""

    selections: tuple[Selection, ...]
    everything: bool = False
    namespaces: frozenset[str] = frozenset()
    is_wild: bool = field(init=False)  # reads attributes that no selection names
    named: frozenset[int] = field(init=False)  # ids of the attributes that have selections
    taken: frozenset[Any] = field(init=False)  # keys of selections that can also be keys of the wildcard
    falls_back: bool = field(init=False)  # two selections can have the same key
    steps: tuple[Step, ...] = field(init=False)  # the selections in order; bare ones are read together
    leaves: tuple[Leaf, ...] = field(init=False)  # if all selections are bare; else none
    _expanded: dict[tuple[Schema, tuple[int, ...]], Pattern] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        named = (
            selection.attribute.id
            for selection in self.selections
            if selection.attribute is not None and not selection.reverse
        )
        object.__setattr__(self, "is_wild", self.everything or bool(self.namespaces))
        object.__setattr__(self, "named", frozenset(named))
        renamed = (
            selection.key
            for selection in self.selections
            if selection.attribute is None or selection.key != selection.attribute.ident
        )
        object.__setattr__(self, "taken", frozenset(renamed) - {DB_ID} if self.is_wild else frozenset())
        object.__setattr__(self, "falls_back", any(type(selection.key) is Fallback for selection in self.selections))
        runs = groupby(self.selections, key=lambda selection: selection.leaf is not None)
        steps: list[Step] = []
        for is_bare, run in runs:
            steps += [tuple(each.leaf for each in run if each.leaf is not None)] if is_bare else run
        object.__setattr__(self, "steps", tuple(steps))
        is_flat = len(steps) == 1 and type(steps[0]) is tuple and not self.is_wild and not self.falls_back
        object.__setattr__(self, "leaves", steps[0] if is_flat else ())

    def expanded(self, schema: Schema, attributes: tuple[int, ...]) -> Pattern:
        """Return the pattern with selections of these attributes instead of its wildcards."""
        expanded = self._expanded.get((schema, attributes))
        if expanded is None:
            if len(self._expanded) >= _EXPANDED:
                self._expanded.clear()
            selections = (*self.selections, *self._rest(schema, attributes))
            expanded = self._expanded[schema, attributes] = Pattern(selections)
        return expanded

    def _rest(self, schema: Schema, attributes: tuple[int, ...]) -> Iterator[Selection]:
        """Yield the selections of the attributes that a wildcard includes and no selection names."""
        for attribute in map(schema.attribute, attributes):
            selection = plain_selection(attribute)
            is_included = self.everything or selection.key.namespace in self.namespaces
            if is_included and attribute.id not in self.named:
                is_taken = selection.key in self.taken
                yield replace(selection, key=Fallback(selection.key)) if is_taken else selection

    @cached_property
    def ids(self) -> tuple[Selection, ...]:
        """The selections that show an entity's id."""
        return tuple(selection for selection in self.selections if selection.is_id)

    @cached_property
    def at_end(self) -> Pattern:
        """The pattern for the end of its recursions, which return only ids."""
        selections = (selection.at_end(self.ids) for selection in self.selections)
        return replace(self, selections=tuple(selection for selection in selections if selection is not None))


# The pattern of a component without a pattern.
EVERYTHING: Final = Pattern((Selection(DB_ID, None, is_id=True),), everything=True)


@lru_cache(maxsize=4096)
def plain_selection(attribute: Attribute) -> Selection:
    """Return the selection of an attribute without options, or of one that a wildcard includes."""
    return _selection(attribute.ident, attribute, reverse=False)


def _selection(key: Keyword, attribute: Attribute, *, reverse: bool) -> Selection:
    expands = attribute.is_component and not reverse
    limited = attribute.many or (reverse and not attribute.is_component)
    pattern = EVERYTHING if expands else None
    return Selection(
        key, attribute, reverse, limit=DEFAULT_LIMIT if limited else None, pattern=pattern, expands=expands
    )


def parse(schema: Schema, form: Any) -> Pattern:
    """Return the pattern of a form, for a schema.

    Raises: PullError(:db.error/invalid-pull, :db.error/not-an-attribute) with the `fragment` and the path `at` it;
        ReadError for text that is not EDN.
    """
    return _Parser(schema, read(form) if isinstance(form, str) else form).pattern()


class _Parser:
    """Parses one form; `at` is the path from the whole form to the current part."""

    def __init__(self, schema: Schema, form: Any) -> None:
        self.schema = schema
        self.form = form

    def pattern(self, form: Any = ABSENT, at: Path = ()) -> Pattern:
        form = self.form if form is ABSENT else form
        if len(at) > MAX_PATH:
            raise self.wrong("expected a pattern that is nested less deeply; use a recursion", "more", at[:4])
        if not _is_vector(form):
            raise self.wrong("a pattern is a vector of attributes, maps and *", form, at)
        selections: dict[Any, Selection] = {}
        everything, namespaces = False, set()
        for i, spec in enumerate(form):
            if _is_name(spec, "*", ":*"):
                everything = True
            elif isinstance(spec, str) and spec.startswith(":") and spec.endswith("/*"):
                namespaces.add(spec[1:-2])
            else:
                for selection in self.specs(spec, (*at, i)):
                    _add(selections, selection)
        if everything and not any(selection.is_id for selection in selections.values()):
            with_id = {_key_of(DB_ID): Selection(DB_ID, None, is_id=True)}
            for selection in selections.values():
                _add(with_id, selection)
            selections = with_id
        return Pattern(tuple(selections.values()), everything, frozenset(namespaces))

    def specs(self, spec: Any, at: Path) -> list[Selection]:
        if isinstance(spec, Mapping):
            return [self.map_entry(key, sub, at) for key, sub in spec.items()]
        return [self.attr_spec(spec, at)]

    def map_entry(self, key: Any, sub: Any, at: Path) -> Selection:
        selection = self.attr_spec(key, at)
        at = (*at, key)
        if selection.attribute is None and not selection.is_id:
            raise self.unknown(selection.key, at)
        if selection.attribute is None or not selection.attribute.is_ref:
            raise self.wrong(f"only references have a pattern; {quoted(key)} is no reference", sub, at)
        if _is_name(sub, "..."):
            return replace(selection, recursive=True, depth=None, pattern=None, expands=False)
        if type(sub) is int:
            if sub < 1:
                raise self.wrong("a recursion goes down a positive number of levels, or ...", sub, at)
            return replace(selection, recursive=True, depth=sub, pattern=None, expands=False)
        return replace(selection, pattern=self.pattern(sub, at), expands=False)

    def attr_spec(self, spec: Any, at: Path) -> Selection:
        if isinstance(spec, str) and spec.startswith(":"):
            return self.attr_name(spec, at)
        if _is_vector(spec) and spec and len(at) <= MAX_PATH:
            head = spec[0]
            if _is_name(head, "limit", "default"):
                if len(spec) != 3:
                    raise self.wrong(f"expected ({head} attribute value)", spec, at)
                return self.option(self.attr_spec(spec[1], (*at, 1)), f":{head}", spec[2], at)
            return self.options(self.attr_spec(head, (*at, 0)), spec, at)
        raise self.wrong("expected an attribute, [attribute option value ...], a map or *", spec, at)

    def attr_name(self, name: str, at: Path) -> Selection:
        try:
            key = Keyword(name)
        except ValueError as error:
            raise self.wrong(str(error), name, at) from None
        if key == DB_ID:
            return Selection(key, None, is_id=True)
        forward = forward_of(key)
        if forward is None:
            attribute = self.schema.find(key)
            return Selection(key, None) if attribute is None else _selection(key, attribute, reverse=False)
        attribute = self.schema.find(forward)
        if attribute is None:
            raise self.unknown(forward, at)
        if not attribute.is_ref:
            raise self.wrong(
                f"only references can be followed backwards; {forward} takes {attribute.value_type.wants}", name, at
            )
        return _selection(key, attribute, reverse=True)

    def options(self, selection: Selection, spec: Sequence[Any], at: Path) -> Selection:
        if len(spec) % 2 == 0:
            raise self.wrong(f"options come in pairs, {', '.join(_OPTIONS)} and a value each", spec, at)
        for i in range(1, len(spec), 2):
            selection = self.option(selection, spec[i], spec[i + 1], (*at, i))
        return selection

    def option(self, selection: Selection, name: Any, value: Any, at: Path) -> Selection:
        if not isinstance(name, str):
            raise self.wrong(f"expected one of the options {', '.join(_OPTIONS)}", name, at)
        if name == ":as":
            return replace(selection, key=self.as_key(value, at))
        if name == ":limit":
            return self.limited(selection, value, at)
        if name == ":default":
            return replace(selection, default=self.copied(value, at))
        if name == ":xform":
            return replace(selection, xform=self.xform(value, at))
        raise self.wrong(f"expected one of the options {', '.join(_OPTIONS)}", name, at)

    def as_key(self, value: Any, at: Path) -> Any:
        key = _as_key(value)
        try:
            hash(key)
        except (TypeError, RecursionError):
            raise self.wrong("the key of :as can be one of a dict", value, at) from None
        return key

    def copied(self, default: Any, at: Path) -> Any:
        """Return a copy of a default: the caller may change the form later, and the pattern is cached."""
        try:
            return deepcopy(default)
        except Exception as error:  # the code of the value can raise anything
            raise self.wrong(
                f"a :default can be copied, and copying raised {type(error).__name__}", default, at
            ) from error

    def limited(self, selection: Selection, limit: Any, at: Path) -> Selection:
        if limit is not None and (type(limit) is not int or limit < 1):
            raise self.wrong("a :limit is a positive int, or nil for none", limit, at)
        if selection.single and not selection.reverse and (selection.attribute is not None or selection.is_id):
            raise self.wrong(f"a :limit is for many values; {selection.key} has one", limit, at)
        return replace(selection, limit=limit)

    def xform(self, name: Any, at: Path) -> str | Callable[[Any], Any]:
        if callable(name):
            return name  # type: ignore[no-any-return]
        if not isinstance(name, str) or not (registry.lookup(name) or built_in(name)):
            near = registry.nearest(as_name(name))
            hint = did_you_mean(near)
            raise self.wrong(f"no function {as_name(name)} is registered for :xform{hint}", name, at)
        return str(name)

    def unknown(self, name: Keyword, at: Path) -> PullError:
        near = self.schema.nearest(name)
        hint = did_you_mean(near)
        return self.wrong(f"no attribute {name} is declared{hint}", name, at, ":db.error/not-an-attribute")

    def wrong(self, expected: str, fragment: Any, at: Path, code: str = ":db.error/invalid-pull") -> PullError:
        where = "".join(f"[{quoted(part)}]" for part in at)
        got = quoted(fragment)
        return PullError(code, f"{expected}; got {got} at pattern{where}", fragment=fragment, at=at, pattern=self.form)


def _is_vector(form: Any) -> bool:
    return isinstance(form, list | tuple)


def _is_name(form: Any, *names: str) -> bool:
    return isinstance(form, str) and form in names


def _as_key(key: Any) -> Any:
    """Return a string that looks like a keyword as a keyword, so that all keys of a result are alike."""
    if type(key) is str and key.startswith(":"):
        try:
            return Keyword(key)
        except ValueError:
            return key
    return tuple(key) if isinstance(key, list) else key


def _key_of(key: Any) -> tuple[Any, ...]:
    return type(key), key


def _add(selections: dict[Any, Selection], selection: Selection) -> None:
    """Add a selection to the selections of a pattern, by key."""
    key = _key_of(selection.key)
    first = selections.get(key)
    if first is None or (first.attribute is selection.attribute and first.reverse == selection.reverse):
        selections[key] = selection
        return
    if selection.is_id:  # an entity always has its id
        selections[key], selection = selection, first
    of = None if selection.attribute is None else selection.attribute.id, selection.reverse
    selections[(*key, *of)] = replace(selection, key=Fallback(selection.key))
