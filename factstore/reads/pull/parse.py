"""Pull patterns: EDN text or Python data, read against a schema into a tree of steps.

    pattern   = [ (attr-spec | wildcard | map-spec)* ]
    attr-spec = attr-name | [attr-spec (option value)*] | (limit attr-spec n) | (default attr-spec value)
    attr-name = a keyword; `:x/_a` follows the references of `:x/a` backwards; `:db/id` is the entity's id
    option    = :as key | :limit n | :default value | :xform name        n = a positive int | nil
    wildcard  = * | :ns/*                    everything, or everything of a namespace
    map-spec  = { attr-spec (pattern | depth) ... }
    depth     = a positive int | ...

Vectors and lists are the same here, and so are keywords and symbols and the strings that look like them.
Law: a spec of an attribute replaces an earlier one of that attribute with the same key, and takes the attribute out of the wildcard.
Where several attributes share a key, an entity shows the first of them that it has: ids, then specs in their order, then the wildcard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, Final, TypeAlias

from factstore import registry
from factstore.edn import read
from factstore.errors import PullError
from factstore.reads.pull.xforms import built_in
from factstore.schema.attribute import Attribute, Schema
from factstore.schema.reverse import forward_of
from factstore.values.quoting import as_name, quoted
from factstore.values.types import Keyword

DB_ID: Final = Keyword(":db/id")
DEFAULT_LIMIT: Final = 1000
MAX_PATH: Final = 200  # steps from the whole form to a part of it; parsing goes down on Python's stack
ABSENT: Final = object()  # no default was given; None is one
Path: TypeAlias = tuple[Any, ...]
_OPTIONS: Final = (":as", ":limit", ":default", ":xform")


class Fallback:
    """The key of a step while its own key may be taken by a step before it; each is a key of its own."""

    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        self.key = key

    def __str__(self) -> str:
        return str(self.key)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What to read of each entity, and under which key to put it."""

    key: Any
    attribute: Attribute | None  # None: an id, or an attribute that no entity can have
    reverse: bool = False
    is_id: bool = False
    limit: int | None = None
    default: Any = ABSENT
    xform: str | Callable[[Any], Any] | None = None
    pattern: Pattern | None = None  # of the entities referred to; None: their ids, or the values themselves
    depth: int | None = None  # how many levels a recursion goes down; None: to the end
    recursive: bool = False  # the pattern of the entities referred to is the one this step is in
    expands: bool = False  # a component without a pattern of its own
    descends: bool = field(init=False)  # the values are entities, to be pulled in turn
    tracks: bool = field(
        init=False
    )  # goes down by itself, or to where something does: it must be known where it has been
    single: bool = field(init=False)  # finds one value, not a list of them
    is_bare: bool = field(init=False)  # finds one plain value and puts it down as it is
    load: Callable[[Any], Any] | None = field(init=False)  # stored form → what users read; None is the identity

    def __post_init__(self) -> None:
        attribute, put = self.attribute, object.__setattr__
        loads = attribute is not None and (attribute.value_type.load is not None or attribute.is_tuple)
        single = attribute is None or (attribute.is_component if self.reverse else not attribute.many)
        put(self, "descends", self.recursive or self.pattern is not None)
        leads_on = self.pattern is not None and any(step.recursive for step in self.pattern.steps)
        put(self, "tracks", self.recursive or self.expands or leads_on)
        put(self, "single", single)
        bare = single and attribute is not None and not attribute.is_ref
        put(self, "is_bare", bare and self.xform is None and self.default is ABSENT)
        put(self, "load", attribute.load if loads and attribute is not None else None)

    def at_end(self, ids: tuple[Step, ...]) -> Step | None:
        """Return the step where recursions end: a recursion finds at most ids there, if the pattern asks for them."""
        if not self.recursive:
            return self
        if ids:
            return replace(self, pattern=Pattern(ids), recursive=False, depth=None)
        shows = self.default is not ABSENT or self.xform is not None
        return replace(self, attribute=None, recursive=False, depth=None) if shows else None


@dataclass(frozen=True, eq=False)
class Pattern:
    """The steps of one level."""

    steps: tuple[Step, ...]
    everything: bool = False
    namespaces: frozenset[str] = frozenset()
    is_wild: bool = field(init=False)  # there are attributes to be read that no step names
    named: frozenset[int] = field(init=False)  # attributes that have steps of their own, by id
    taken: frozenset[Any] = field(init=False)  # keys of steps that an attribute of the wildcard may be called by, too
    falls_back: bool = field(init=False)  # two of the steps may put a value under one key

    def __post_init__(self) -> None:
        named = (step.attribute.id for step in self.steps if step.attribute is not None and not step.reverse)
        object.__setattr__(self, "is_wild", self.everything or bool(self.namespaces))
        object.__setattr__(self, "named", frozenset(named))
        renamed = (step.key for step in self.steps if step.attribute is None or step.key != step.attribute.ident)
        object.__setattr__(self, "taken", frozenset(renamed) - {DB_ID} if self.is_wild else frozenset())
        object.__setattr__(self, "falls_back", any(type(step.key) is Fallback for step in self.steps))

    @cached_property
    def ids(self) -> tuple[Step, ...]:
        """The steps that show an entity's id."""
        return tuple(step for step in self.steps if step.is_id)

    @cached_property
    def at_end(self) -> Pattern:
        """The pattern where its recursions end: they show no more than ids."""
        steps = (step.at_end(self.ids) for step in self.steps)
        return replace(self, steps=tuple(step for step in steps if step is not None))


# What a component without a pattern of its own is pulled with.
EVERYTHING: Final = Pattern((Step(DB_ID, None, is_id=True),), everything=True)


@lru_cache(maxsize=4096)
def plain_step(attribute: Attribute) -> Step:
    """Return the step of an attribute named without options, or met by a wildcard."""
    return _step(attribute.ident, attribute, reverse=False)


def _step(key: Keyword, attribute: Attribute, *, reverse: bool) -> Step:
    expands = attribute.is_component and not reverse
    limited = attribute.many or (reverse and not attribute.is_component)
    pattern = EVERYTHING if expands else None
    return Step(key, attribute, reverse, limit=DEFAULT_LIMIT if limited else None, pattern=pattern, expands=expands)


def parse(schema: Schema, form: Any) -> Pattern:
    """Return the pattern that a form means under a schema.

    Raises: PullError(:db.error/invalid-pull, :db.error/not-an-attribute) with the `fragment` and the path `at` it;
        ReadError for text that is not EDN.
    """
    return _Parser(schema, read(form) if isinstance(form, str) else form).pattern()


class _Parser:
    """One form on its way to a pattern; `at` is the way from the whole form to the part in hand."""

    def __init__(self, schema: Schema, form: Any) -> None:
        self.schema = schema
        self.form = form

    def pattern(self, form: Any = ABSENT, at: Path = ()) -> Pattern:
        form = self.form if form is ABSENT else form
        if len(at) > MAX_PATH:
            raise self.wrong("a pattern is nested less deeply; use a recursion", "more", at[:4])
        if not _is_vector(form):
            raise self.wrong("a pattern is a vector of attributes, maps and *", form, at)
        steps: dict[Any, Step] = {}
        everything, namespaces = False, set()
        for i, spec in enumerate(form):
            if _is_name(spec, "*", ":*"):
                everything = True
            elif isinstance(spec, str) and spec.startswith(":") and spec.endswith("/*"):
                namespaces.add(spec[1:-2])
            else:
                for step in self.specs(spec, (*at, i)):
                    _add(steps, step)
        if everything and not any(step.is_id for step in steps.values()):
            found = {_key_of(DB_ID): Step(DB_ID, None, is_id=True)}
            for step in steps.values():
                _add(found, step)
            steps = found
        return Pattern(tuple(steps.values()), everything, frozenset(namespaces))

    def specs(self, spec: Any, at: Path) -> list[Step]:
        if isinstance(spec, Mapping):
            return [self.map_entry(key, sub, at) for key, sub in spec.items()]
        return [self.attr_spec(spec, at)]

    def map_entry(self, key: Any, sub: Any, at: Path) -> Step:
        step = self.attr_spec(key, at)
        at = (*at, key)
        if step.attribute is None and not step.is_id:
            raise self.unknown(step.key, at)
        if step.attribute is None or not step.attribute.is_ref:
            raise self.wrong(f"only a reference leads to a pattern; {quoted(key)} is none", sub, at)
        if _is_name(sub, "..."):
            return replace(step, recursive=True, depth=None, pattern=None, expands=False)
        if type(sub) is int:
            if sub < 1:
                raise self.wrong("a recursion goes down a positive number of levels, or ...", sub, at)
            return replace(step, recursive=True, depth=sub, pattern=None, expands=False)
        return replace(step, pattern=self.pattern(sub, at), expands=False)

    def attr_spec(self, spec: Any, at: Path) -> Step:
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

    def attr_name(self, name: str, at: Path) -> Step:
        try:
            key = Keyword(name)
        except ValueError as error:
            raise self.wrong(str(error), name, at) from None
        if key == DB_ID:
            return Step(key, None, is_id=True)
        forward = forward_of(key)
        if forward is None:
            attribute = self.schema.find(key)
            return Step(key, None) if attribute is None else _step(key, attribute, reverse=False)
        attribute = self.schema.find(forward)
        if attribute is None:
            raise self.unknown(forward, at)
        if not attribute.is_ref:
            raise self.wrong(
                f"only references can be followed backwards; {forward} takes {attribute.value_type.wants}", name, at
            )
        return _step(key, attribute, reverse=True)

    def options(self, step: Step, spec: Sequence[Any], at: Path) -> Step:
        if len(spec) % 2 == 0:
            raise self.wrong(f"options come in pairs, {', '.join(_OPTIONS)} and a value each", spec, at)
        for i in range(1, len(spec), 2):
            step = self.option(step, spec[i], spec[i + 1], (*at, i))
        return step

    def option(self, step: Step, name: Any, value: Any, at: Path) -> Step:
        if not isinstance(name, str):
            raise self.wrong(f"expected one of the options {', '.join(_OPTIONS)}", name, at)
        if name == ":as":
            return replace(step, key=self.as_key(value, at))
        if name == ":limit":
            return self.limited(step, value, at)
        if name == ":default":
            return replace(step, default=self.copied(value, at))
        if name == ":xform":
            return replace(step, xform=self.xform(value, at))
        raise self.wrong(f"expected one of the options {', '.join(_OPTIONS)}", name, at)

    def as_key(self, value: Any, at: Path) -> Any:
        key = _as_key(value)
        try:
            hash(key)
        except (TypeError, RecursionError):
            raise self.wrong("the key of :as can be one of a dict", value, at) from None
        return key

    def copied(self, default: Any, at: Path) -> Any:
        """Return a copy of a default: the plan outlives the form, which its owner may change."""
        try:
            return deepcopy(default)
        except Exception as error:  # of the value's own code
            raise self.wrong(
                f"a :default can be copied, and copying raised {type(error).__name__}", default, at
            ) from error

    def limited(self, step: Step, limit: Any, at: Path) -> Step:
        if limit is not None and (type(limit) is not int or limit < 1):
            raise self.wrong("a :limit is a positive int, or nil for none", limit, at)
        if step.single and not step.reverse and (step.attribute is not None or step.is_id):
            raise self.wrong(f"a :limit is for many values; {step.key} has one", limit, at)
        return replace(step, limit=limit)

    def xform(self, name: Any, at: Path) -> str | Callable[[Any], Any]:
        if callable(name):
            return name  # type: ignore[no-any-return]
        if not isinstance(name, str) or not (registry.lookup(name) or built_in(name)):
            near = registry.nearest(as_name(name))
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise self.wrong(f"no function {as_name(name)} is registered for :xform{hint}", name, at)
        return str(name)

    def unknown(self, name: Keyword, at: Path) -> PullError:
        near = self.schema.nearest(name)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
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
    """A string that looks like a keyword becomes one, so that all keys of a result look alike."""
    if type(key) is str and key.startswith(":"):
        try:
            return Keyword(key)
        except ValueError:
            return key
    return tuple(key) if isinstance(key, list) else key


def _key_of(key: Any) -> tuple[Any, ...]:
    return type(key), key


def _add(steps: dict[Any, Step], step: Step) -> None:
    """Add a step to those of a pattern, by key."""
    key = _key_of(step.key)
    first = steps.get(key)
    if first is None or (first.attribute is step.attribute and first.reverse == step.reverse):
        steps[key] = step
        return
    if step.is_id:  # an entity always has its id
        steps[key], step = step, first
    of = None if step.attribute is None else step.attribute.id, step.reverse
    steps[(*key, *of)] = replace(step, key=Fallback(step.key))
