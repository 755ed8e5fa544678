"""Tools: a plain function as a tool with a name, a description, a schema of its arguments, and a check of them.

    def history(session: Session, entity: str, at: str | int | None = None) -> Answer:
        \"""Return …                                    the description: the docstring up to Args
        Args:
            entity: an entity id, …                    the description of the argument
        \"""

An argument whose default is None may be left out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType, UnionType
from typing import Any, Final, NamedTuple, TypeAlias, get_args, get_origin, get_type_hints

from factstore.errors import FactStoreError
from factstore.values.quoting import quoted

# An answer: values by name. A long list is an iterator, which is read no further than the limits allow.
Answer: TypeAlias = Mapping[str, Any]
Function: TypeAlias = Callable[..., Answer]

_JSON_TYPES: Final[Mapping[type, str]] = MappingProxyType({str: "string", int: "integer", bool: "boolean"})


class Argument(NamedTuple):
    """One argument of a tool."""

    types: tuple[type, ...]
    required: bool
    doc: str

    def accepts(self, value: Any) -> bool:
        """Tell whether a JSON value is of the types of the argument."""
        return type(value) in self.types or (value is None and not self.required)

    def expected(self) -> str:
        """Return the types in words."""
        return " or ".join(f"a {_JSON_TYPES[kind]}" for kind in self.types).replace("a integer", "an integer")


class Tool(NamedTuple):
    """A function that clients may call."""

    name: str
    doc: str
    arguments: Mapping[str, Argument]
    function: Function
    writes: bool

    @classmethod
    def of(cls, function: Function, *, writes: bool) -> Tool:
        """Return the tool of a function."""
        doc, docs = _docs(inspect.getdoc(function) or "")
        hints = get_type_hints(function)
        parameters = list(inspect.signature(function).parameters.values())[1:]
        arguments = {
            each.name: Argument(_types(hints[each.name]), each.default is each.empty, docs.get(each.name, ""))
            for each in parameters
        }
        return cls(function.__name__, doc, MappingProxyType(arguments), function, writes)

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the arguments."""
        return {
            "type": "object",
            "properties": {name: _schema(each) for name, each in self.arguments.items()},
            "required": [name for name, each in self.arguments.items() if each.required],
            "additionalProperties": False,
        }

    def checked(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the arguments of a call. Raises: FactStoreError(:db.error/invalid-argument) with all faults."""
        faults = [f"it has no argument {name}" for name in given if name not in self.arguments]
        for name, argument in self.arguments.items():
            if argument.required and name not in given:
                faults.append(f"{name} is missing")
            elif name in given and not argument.accepts(given[name]):
                faults.append(f"{name} is {argument.expected()}, got {quoted(given[name])}")
        if faults:
            takes = ", ".join(name if each.required else f"{name}?" for name, each in self.arguments.items())
            text = f"the tool {self.name} takes {takes or 'no arguments'}; {'; '.join(faults)}"
            raise FactStoreError(":db.error/invalid-argument", text, tool=self.name, faults=faults)
        return given


def _schema(argument: Argument) -> dict[str, Any]:
    names = [_JSON_TYPES[kind] for kind in argument.types]
    return {"type": names[0] if len(names) == 1 else names, "description": argument.doc}


def _types(hint: Any) -> tuple[type, ...]:
    kinds = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    return tuple(kind for kind in kinds if kind is not type(None))


def _docs(text: str) -> tuple[str, dict[str, str]]:
    """Split a docstring into its description and those of its arguments."""
    doc, _, rest = text.partition("\n\nArgs:\n")
    docs: dict[str, str] = {}
    name = ""
    for line in _indented(rest.splitlines()):
        if line.startswith("    " * 2):
            docs[name] += f" {line.strip()}"
        else:
            name, _, first = line.strip().partition(": ")
            docs[name] = first
    return doc, docs


def _indented(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        if not line.startswith("    "):
            return
        yield line
