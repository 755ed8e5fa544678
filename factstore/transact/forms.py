"""Forms: what the caller wrote, and where in it something stands.

Owns the way in (EDN text or Python data) and the way problems are told: with the path into the tx-data, all of a stage at
once. A place is the index of a form, or a path of steps; its text is made only when there is a problem to tell, so that
tx-data without problems pays nothing for it.

    place = index | (step …)        step = index | key of a map | Call
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, cast

from factstore.errors import TransactError
from factstore.schema.attribute import Attribute, Schema
from factstore.schema.classes import is_instance, map_of
from factstore.transact.text import read_text
from factstore.values.quoting import described, quoted

Place: TypeAlias = int | tuple[Any, ...]


class Call(NamedTuple):
    """A step into what a transaction function returned."""

    name: str
    forms: Sequence[Any]


def steps_of(place: Place) -> tuple[Any, ...]:
    """Return a place as its steps."""
    return (place,) if type(place) is int else place  # type: ignore[return-value]


def read_forms(tx_data: Any) -> list[Any]:
    """Return the forms of a transaction. Raises: TransactError(:db.error/invalid-tx-data), ReadError for text that is not EDN."""
    forms = read_text(tx_data) if isinstance(tx_data, str) else tx_data
    if type(forms) is list:
        return forms
    if isinstance(forms, str | bytes | Mapping) or not isinstance(forms, Iterable):
        hint = "; put it into a list" if isinstance(forms, Mapping) else ""
        raise TransactError(
            ":db.error/invalid-tx-data",
            f"expected a list of forms as tx-data, got {shown(forms)}{hint}",
            got=forms,
            path="tx-data",
        )
    return list(forms)


def set_exactly(e: Any, a: Any, values: Iterable[Any]) -> list[Any]:
    """Return the form that makes these the values an entity has of an attribute, and no others.

    Args:
        e: an entity in any form, a tempid too.
        values: what may stand for a value, in any order; nested maps for references. Of an attribute with one value at most one.
    A form beside it that adds another value contradicts it: `:db.error/datoms-conflict`.

    >>> set_exactly([":person/email", "ann@x"], ":person/nick", ["Annie"])
    [':db/setExactly', [':person/email', 'ann@x'], ':person/nick', ['Annie']]
    """
    return [":db/setExactly", e, a, list(values)]


class Problems:
    """What is wrong with a transaction, collected stage by stage."""

    __slots__ = ("_forms", "_schema", "found")

    def __init__(self, forms: Sequence[Any], schema: Schema) -> None:
        self._forms = forms
        self._schema = schema
        self.found: list[TransactError] = []

    def add(
        self,
        code: str,
        message: str,
        place: Place | None = None,
        attribute: Attribute | None = None,
        kind: type[TransactError] = TransactError,
        **data: Any,
    ) -> None:
        """Note a problem at a place; with an attribute also: in this attribute of the map that stands there."""
        if attribute is not None:
            data["attribute"] = attribute.ident
        if place is not None:
            path, form = self.locate(place, attribute)
            message, data = f"{message}, at {path}", {**data, "path": path, "form": form}
        self.found.append(kind(code, message, **data))

    def locate(self, place: Place, attribute: Attribute | None = None) -> tuple[str, Any]:
        """Return the text of a path and the form or value that stands there."""
        path, at = "tx-data", cast(Any, self._forms)
        for step in steps_of(place):
            if is_instance(at):
                at = map_of(at)
            if type(step) is Call:
                path, at = f"{path} → {step.name}", step.forms
            else:
                path, at = f"{path}[{_step(step)}]", _into(at, step)
        if attribute is not None and is_instance(at):
            at = map_of(at)
        if attribute is not None and isinstance(at, Mapping):
            path += "".join(f"[{_step(key)}]" for key in at if self._is_named(key, attribute))
        return path if len(path) <= _LONGEST_PATH else f"{path[: _LONGEST_PATH - 1]}…", at

    def _is_named(self, key: object, attribute: Attribute) -> bool:
        return isinstance(key, str | int) and self._schema.find(key) is attribute

    def raise_any(self) -> None:
        """Raise the first problem, which then knows of all of them as `problems`."""
        if not self.found:
            return
        first, *others = self.found
        more = f" (and {len(others)} more problem{'s' * (len(others) > 1)}, see `problems`)" if others else ""
        problems = tuple(problem.to_dict() for problem in self.found)
        raise type(first)(first.code, first.message + more, **first.data, problems=problems)


def _into(at: Any, step: Any) -> Any:
    if isinstance(at, Mapping):
        return at.get(step)
    return list(at)[step] if isinstance(step, int) else at


def _step(step: Any) -> str:
    return quoted(str(step) if isinstance(step, str) else step, _LONGEST)


_LONGEST: Final = 80
_LONGEST_PATH: Final = 300


def shown(value: Any) -> str:
    """Return a value as an error names it: shortened, with its Python type."""
    return described(value, _LONGEST)
