"""The datoms of a read: an iterator that can also be sliced and converted to a table.

    iterating       passes over the datoms once, and creates each when it is reached
    [n], [a:b]      and tables read from the beginning again, at any position of the iterator

Law: the datoms and their order are the same for all ways of reading, because their database does not change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from operator import index
from sys import maxsize
from typing import TYPE_CHECKING, Any, Final, overload

from factstore import edn
from factstore.datom import Datom, Fact, tx_of
from factstore.rendering import html_table, text_table
from factstore.values.process_bound import ProcessBound
from factstore.values.quoting import quoted

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

    from factstore.schema.attribute import Schema

MOST_SHOWN: Final = 50  # datoms in a notebook
_HEADER: Final = ("e", "a", "v", "tx", "added")
_AS_THEY_ARE: Final = (
    "long",
    "ref",
    "double",
    "float",
    "boolean",
    "string",
    "instant",
    "bytes",
    "bigdec",
)  # types of values that tables can contain


def datom_of(schema: Schema, fact: Fact) -> Datom:
    """Return a fact as a datom."""
    e, a, v, t, added = fact
    return Datom(e, a, schema.attribute(a).load(v), tx_of(t), added)


class Datoms(ProcessBound, Iterator[Datom]):
    """The datoms of a read, in the order of its index: an iterator, a sequence without a length, and a table."""

    _instead = "send its datoms, as in list(datoms)"
    __slots__ = ("_iterator", "_made", "_read", "_schema", "_size")

    def __init__(
        self,
        schema: Schema,
        read: Callable[[], Iterator[Fact]],
        size: Callable[[], int] | None = None,
        made: Callable[[], Iterable[Datom]] | None = None,
    ) -> None:
        self._schema = schema
        self._read = read
        self._size = size  # returns their number without reading them
        self._made = made  # returns the datoms where they are in memory
        self._iterator: Iterator[Datom] | None = None

    def __iter__(self) -> Iterator[Datom]:
        if self._iterator is None:
            self._iterator = self._datoms(self._read()) if self._made is None else iter(self._made())
        return self._iterator

    def __next__(self) -> Datom:
        return next(self.__iter__())

    def _datoms(self, facts: Iterator[Fact]) -> Iterator[Datom]:
        schema = self._schema
        return (datom_of(schema, fact) for fact in facts)

    @overload
    def __getitem__(self, at: int) -> Datom: ...
    @overload
    def __getitem__(self, at: slice) -> list[Datom]: ...
    def __getitem__(self, at: int | slice) -> Datom | list[Datom]:
        if isinstance(at, slice):
            return list(self._datoms(self._slice(at)))
        position = index(at)  # raises TypeError, like any sequence
        if abs(position) < maxsize:
            for fact in self._slice(slice(position, position + 1 or None)):
                return datom_of(self._schema, fact)
        raise IndexError(f"there is no datom {quoted(at)}")

    def _slice(self, at: slice) -> Iterator[Fact]:
        """Return a part of the facts, without creating other datoms or reading later facts."""
        if any(part is not None and part < 0 for part in (at.start, at.stop, at.step)):
            return iter(list(self._read())[at])
        return islice(self._read(), at.start, at.stop, at.step)

    def count(self) -> int:
        """Return the number of datoms; for a whole attribute and for a range, without reading them."""
        return sum(1 for _ in self._read()) if self._size is None else self._size()

    def columns(self) -> dict[str, list[Any]]:
        """Return the datoms as columns e, a, v, tx, added: attributes by ident, values as tables can contain them.

        Numbers, text, booleans, instants and bytes are unchanged if all attributes have the same such type. Otherwise
        values are text: keywords, symbols, URIs and UUIDs as they are written; values of several types as EDN.
        """
        facts = list(self._read())
        attributes = {a: self._schema.attribute(a) for a in {fact[1] for fact in facts}}
        kinds = {attribute.value_type.name for attribute in attributes.values()}
        values = [attributes[a].load(v) for _, a, v, _, _ in facts]
        if len(kinds) > 1 or kinds & {"tuple", "bigint"}:
            values = [edn.write(list(value) if type(value) is tuple else value) for value in values]
        elif not kinds <= set(_AS_THEY_ARE):
            values = list(map(str, values))
        return {
            "e": [fact[0] for fact in facts],
            "a": [str(attributes[fact[1]].ident) for fact in facts],
            "v": values,
            "tx": [tx_of(fact[3]) for fact in facts],
            "added": [fact[4] for fact in facts],
        }

    def arrow(self) -> pyarrow.Table:
        """Return the datoms as an Arrow table; see `columns`."""
        import pyarrow

        return pyarrow.table(self.columns())

    def df(self) -> pandas.DataFrame:
        """Return the datoms as a pandas data frame; see `columns`."""
        import pandas

        return pandas.DataFrame(self.columns())

    def polars(self) -> polars.DataFrame:
        """Return the datoms as a polars data frame; see `columns`."""
        import polars

        return polars.DataFrame(self.columns())

    def __repr__(self) -> str:
        return f"<Datoms {', '.join(map(str, self[:3]))}{', …' if self[3:4] else ''}>"

    def __str__(self) -> str:
        return text_table(_HEADER, self._rows(self[:MOST_SHOWN]))

    def _repr_html_(self) -> str:
        datoms = self[: MOST_SHOWN + 1]
        shown = datoms[:MOST_SHOWN]
        caption = (
            f"the first {MOST_SHOWN} datoms"
            if len(datoms) > MOST_SHOWN
            else f"{len(shown)} datom{'' if len(shown) == 1 else 's'}"
        )
        return html_table(caption, _HEADER, self._rows(shown), added=[datom.added for datom in shown])

    def _rows(self, datoms: list[Datom]) -> Iterator[tuple[object, ...]]:
        return ((d.e, self._schema.attribute(d.a).ident, d.v, d.tx, d.added) for d in datoms)
