"""Readers: the cells of a file as values of an attribute that the schema declares.

    a text                ──► by the value type of the attribute; EDN for tuples, base64 for bytes
    #symbol "" in CSV     ──► a symbol, a URI or bytes whose own text would mean that there is no value
    a cell [… …] of CSV   ──► the values of an attribute of cardinality many, as EDN
    a number, a list, …   ──► as it is, if the type has it exactly

Law: a cell that an export wrote is read as the values that it was written for. A ValueError states what was expected.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final, NamedTuple

from factstore import edn
from factstore.errors import ReadError
from factstore.schema.attribute import Attribute
from factstore.tables import texts
from factstore.tables.cells import is_missing_cell
from factstore.tables.texts import MISSING
from factstore.upkeep.imports.guess import Guess, in_utc
from factstore.values.quoting import quoted
from factstore.values.types import Symbol, Uri

_EXACT: Final = 1 << 53  # each whole number up to it is a double


class Reader(NamedTuple):
    """How the cells of a column become values.

    Args:
        item: from one value of the file to one of the attribute; None: nothing is to convert.
        split: from a cell to its values in the file.
        is_many: the attribute takes several values.
        is_text: the cells are texts, and some of them mean that there is no value.
    """

    item: Callable[[Any], Any] | None
    split: Callable[[Any], list[Any]]
    is_many: bool
    is_text: bool

    def one(self) -> Callable[[Any], Any] | None:
        """Return the function from a cell with one value to this value, or to None."""
        item = self.item
        if not self.is_text or item is None:
            return item
        return lambda cell: None if cell in MISSING else item(cell)

    def values(self, cell: Any) -> list[Any]:
        """Return the values of a cell. Raises: ValueError."""
        if is_missing_cell(cell) or (self.is_text and cell in MISSING):
            return []
        items = [item for item in self.split(cell) if not is_missing_cell(item) and item != {}]
        return items if self.item is None else [self.item(item) for item in items]


def reader_of(attribute: Attribute | None, guess: Guess, *, is_text: bool) -> Reader:
    """Return the reader of a column with a guessed type, into a declared attribute or a new one (None)."""
    is_many = guess.is_many if attribute is None else attribute.many
    is_tuple = attribute is not None and attribute.is_tuple
    item = _item(attribute, guess, is_text=is_text)
    split = partial(_split, is_tuple=is_tuple and not is_many)
    if attribute is not None and is_many and is_text:
        split = partial(_split_text, attribute)
    return Reader(item, split, is_many, is_text)


def _item(attribute: Attribute | None, guess: Guess, *, is_text: bool) -> Callable[[Any], Any] | None:
    kind = guess.kind if attribute is None or attribute.is_ref else attribute.value_type.name
    if attribute is not None and attribute.is_tuple:
        return partial(_tuple, attribute)
    if kind == guess.kind and (guess.convert is not None or not is_text):
        return guess.convert
    kind = kind or "string"
    return _OF_CSV[kind] if is_text and kind in _OF_CSV else partial(_value, kind)


def _split(cell: Any, *, is_tuple: bool) -> list[Any]:
    return [cell] if is_tuple or not isinstance(cell, list) else cell


def _split_text(attribute: Attribute, text: str) -> list[Any]:
    """Return the values of a text of CSV: those of an EDN vector, or the text itself.

    Raises: ValueError for a text in brackets that is no vector of values of the attribute: it could be meant as one.
    """
    if not (text.startswith("[") and text.endswith("]")):
        return [text]
    wants = attribute.value_type.wants
    hint = f'expected an EDN vector, such as ["a" "b"], each item {wants}; write a text in brackets as ["[a]"]'
    try:
        items: list[Any] = edn.read(text)
        for item in items if attribute.value_type.name == "string" else ():
            attribute.value_type.store(item)
    except (ReadError, ValueError) as error:
        raise ValueError(hint) from error
    return items


def _tuple(attribute: Attribute, value: Any) -> Any:
    """Return a list, or a text in EDN, as a tuple. Raises: ValueError."""
    try:
        slots = edn.read(value) if type(value) is str else value
    except ReadError as error:
        raise ValueError(f"expected a tuple in EDN, such as [1 2], got {quoted(value)}") from error
    kinds = [kind.name for kind in attribute.tuple_slot_types]
    if not isinstance(slots, list | tuple) or not kinds:
        return slots
    return [None if slot is None else _value(kinds[i % len(kinds)], slot) for i, slot in enumerate(slots)]


def _value(kind: str, value: Any) -> Any:
    """Return a value as one of a type, if it is a text or exactly the same; other values are unchanged.

    Raises: ValueError for a text that is none of the type.
    """
    if type(value) is str:
        return _OF_TEXT[kind](value) if kind in _OF_TEXT else value
    if type(value) is int and kind in ("double", "float") and abs(value) <= _EXACT:
        return float(value)
    if type(value) is int and kind == "bigdec":
        return Decimal(value)
    return in_utc(value) if kind == "instant" and isinstance(value, date) else value


def _instant(text: str) -> datetime:
    return in_utc(texts.instant(text))


def _tagged(kind: type, read: Callable[[str], Any], text: Any) -> Any:
    """Return the value of a text, or of EDN with a tag, which an export writes for a text that is none of its own."""
    if type(text) is not str:
        return text  # an item of a vector
    if not text.startswith("#"):
        return read(text)
    try:
        value = edn.read(text)
    except ReadError:
        return read(text)
    return value if type(value) is kind else read(text)


def _bytes(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (NotBase64, ValueError) as error:
        raise ValueError("expected base64") from error


_OF_TEXT: Final[Mapping[str, Callable[[str], Any]]] = {
    **texts.READERS,
    "instant": _instant,
    "bytes": _bytes,
}
_OF_CSV: Final[Mapping[str, Callable[[Any], Any]]] = {
    "bytes": partial(_tagged, bytes, _bytes),
    "symbol": partial(_tagged, Symbol, Symbol),
    "uri": partial(_tagged, Uri, Uri),
}
