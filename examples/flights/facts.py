"""From a line of a file to facts: which column goes to which attribute, what identifies a line, and what it refers to by name.

Pure: reads no store. Law: whatever a line refers to can be stated beside it, any number of times. A plane that flew but is in
no register, or an airport that is in no list, exists by its name alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from factstore import Into

from .source import COLUMNS, Record

Form = dict[str, Any]
Name = tuple[str, str]  # an attribute that is an identity, and the value by which an entity is known


class Table(NamedTuple):
    """How the lines of one file become facts."""

    mapping: Mapping[str, str | Into]  # column → attribute; a reference says by which attribute it is looked up
    identity: str  # the attribute that identifies a line
    key: Callable[[Record], str] | None = None  # makes the column "key", where no column of the file identifies a line

    def keyed(self, records: Iterable[Record]) -> list[Record]:
        """Return records, each with its key."""
        return list(records) if self.key is None else [{**record, "key": self.key(record)} for record in records]

    def names(self, records: Iterable[Record]) -> set[Name]:
        """Return what records refer to by name."""
        lookups = [
            (column, into.lookup) for column, into in self.mapping.items() if isinstance(into, Into) and into.lookup
        ]
        return {(lookup, record[column]) for record in records for column, lookup in lookups if column in record}

    @property
    def referred(self) -> frozenset[str]:
        """The attributes by which lines of this file refer to others."""
        return frozenset(into.lookup for into in self.mapping.values() if isinstance(into, Into) and into.lookup)


def flight_key(record: Record) -> str:
    """Return what tells a flight from all others.

    >>> flight_key(dict(year=2013, month=1, day=1, carrier="UA", flight=1545, origin="EWR", sched_dep_time=515))
    '2013-01-01 UA 1545 EWR 0515'
    """
    day = f"{record['year']}-{record['month']:02}-{record['day']:02}"
    return f"{day} {record['carrier']} {record['flight']} {record['origin']} {record['sched_dep_time']:04}"


def weather_key(record: Record) -> str:
    """Return what tells an observation from all others: "EWR 2013-01-01T06Z"."""
    return f"{record['origin']} {record['time_hour']:%Y-%m-%dT%H}Z"


def stubs(names: Iterable[Name]) -> list[Form]:
    """Return the forms that make what is named exist, if it does not yet."""
    return [{identity: name} for identity, name in sorted(names)]


def _mapping(table: str, *, without: frozenset[str] = frozenset(), **lookups: str) -> dict[str, str | Into]:
    entity = table.removesuffix("s")
    attributes = {
        column: f":{entity}/{column.replace('_', '-')}" for column in ("key", *COLUMNS[table]) if column not in without
    }
    return {
        column: Into(attribute, lookup=lookups[column]) if column in lookups else attribute
        for column, attribute in attributes.items()
    }


_KEYLESS: Final = frozenset({"key"})
# The weather's calendar columns say nothing that its hour does not say.
_CALENDAR: Final = frozenset({"year", "month", "day", "hour"})

TABLES: Final[Mapping[str, Table]] = {
    "airlines": Table(_mapping("airlines", without=_KEYLESS), ":airline/carrier"),
    "airports": Table(_mapping("airports", without=_KEYLESS), ":airport/faa"),
    "planes": Table(_mapping("planes", without=_KEYLESS), ":plane/tailnum"),
    "weather": Table(_mapping("weather", without=_CALENDAR, origin=":airport/faa"), ":weather/key", weather_key),
    "flights": Table(
        _mapping(
            "flights", carrier=":airline/carrier", tailnum=":plane/tailnum", origin=":airport/faa", dest=":airport/faa"
        ),
        ":flight/key",
        flight_key,
    ),
}
