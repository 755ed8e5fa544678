"""The attributes of the demonstration, as tx-data: what the CSV files hold, what the handlers conclude, and what loads say of themselves.

Law: an attribute is named after the file and the column it comes from; a column that is not available is a fact that is not there.
"""

from __future__ import annotations

from typing import Any, Final

IDENTITY: Final = {":db/unique": ":db.unique/identity"}
INDEXED: Final = {":db/index": True}

# name, type, properties, doc
_ROWS: Final[tuple[tuple[str, str, dict[str, Any], str], ...]] = (
    ("airline/carrier", "string", IDENTITY, "Two-letter code of an airline."),
    ("airline/name", "string", {}, "Full name of an airline."),
    ("airport/faa", "string", IDENTITY, "FAA code of an airport; some destinations are known by nothing else."),
    ("airport/name", "string", {}, "Name of an airport."),
    ("airport/lat", "double", {}, "Degrees north."),
    ("airport/lon", "double", {}, "Degrees east."),
    ("airport/alt", "long", {}, "Altitude in feet."),
    ("airport/tz", "long", {}, "Hours from UTC, in winter."),
    ("airport/dst", "string", {}, "Whether daylight saving time is kept: A, U or N."),
    ("airport/tzone", "string", {}, "IANA time zone."),
    ("plane/tailnum", "string", IDENTITY, "Tail number of a plane; some that flew are known by nothing else."),
    ("plane/year", "long", {}, "Year of manufacture."),
    ("plane/type", "string", {}, "Type of a plane."),
    ("plane/manufacturer", "string", {}, "Who made it."),
    ("plane/model", "string", {}, "Which model."),
    ("plane/engines", "long", {}, "How many engines."),
    ("plane/seats", "long", {}, "How many seats."),
    ("plane/speed", "long", {}, "Average cruising speed in miles per hour."),
    ("plane/engine", "string", {}, "Kind of engine."),
    ("weather/key", "string", IDENTITY, "Airport and hour: what tells one observation from another."),
    ("weather/origin", "ref", {}, "The airport of an observation."),
    ("weather/time-hour", "instant", INDEXED, "The hour of an observation."),
    ("weather/temp", "double", {}, "Temperature in °F."),
    ("weather/dewp", "double", {}, "Dew point in °F."),
    ("weather/humid", "double", {}, "Relative humidity in per cent."),
    ("weather/wind-dir", "long", {}, "Direction of the wind in degrees."),
    ("weather/wind-speed", "double", {}, "Speed of the wind in miles per hour."),
    ("weather/wind-gust", "double", {}, "Speed of gusts in miles per hour."),
    ("weather/precip", "double", {}, "Precipitation in inches."),
    ("weather/pressure", "double", {}, "Pressure at sea level in millibars."),
    ("weather/visib", "double", {}, "Visibility in miles."),
    ("flight/key", "string", IDENTITY, "Day, carrier, number, origin and hour: what tells one flight from another."),
    ("flight/year", "long", {}, "Year of departure."),
    ("flight/month", "long", INDEXED, "Month of departure."),
    ("flight/day", "long", {}, "Day of departure."),
    ("flight/dep-time", "long", {}, "Actual departure, local time, as hhmm; absent when it never left."),
    ("flight/sched-dep-time", "long", {}, "Scheduled departure, local time, as hhmm."),
    ("flight/dep-delay", "long", {}, "Minutes late at departure; negative when early."),
    ("flight/arr-time", "long", {}, "Actual arrival, local time, as hhmm."),
    ("flight/sched-arr-time", "long", {}, "Scheduled arrival, local time, as hhmm."),
    ("flight/arr-delay", "long", {}, "Minutes late at arrival; negative when early."),
    ("flight/carrier", "ref", {}, "The airline."),
    ("flight/flight", "long", {}, "Flight number."),
    ("flight/tailnum", "ref", {}, "The plane."),
    ("flight/origin", "ref", {}, "The airport it left, one of New York's three."),
    ("flight/dest", "ref", {}, "The airport it went to."),
    ("flight/air-time", "long", {}, "Minutes in the air."),
    ("flight/distance", "long", {}, "Miles flown."),
    ("flight/hour", "long", {}, "Hour of the scheduled departure, local time."),
    ("flight/minute", "long", {}, "Minute of the scheduled departure."),
    ("flight/time-hour", "instant", INDEXED, "The hour of the scheduled departure."),
    ("delay/key", "string", IDENTITY, "What a summary is about; computing it again replaces it."),
    ("delay/kind", "keyword", INDEXED, ":delay.kind/carrier, route, wind, visibility or rain."),
    ("delay/carrier", "ref", {}, "The airline of a summary."),
    ("delay/month", "long", {}, "The month of a summary."),
    ("delay/origin", "ref", {}, "Where the flights of a summary left."),
    ("delay/dest", "ref", {}, "Where the flights of a summary went."),
    ("delay/band", "long", {}, "The place of a weather summary's band among those of its kind."),
    ("delay/label", "string", {}, "A weather summary's band, in words."),
    ("delay/flights", "long", {}, "How many flights a summary is about."),
    ("delay/minutes", "double", {}, "How late they left, on average."),
    ("delay/late", "long", {}, "How many of them left more than a quarter of an hour late."),
    ("delay/job", "ref", {}, "The job that computed a summary."),
    ("source/table", "string", IDENTITY, "A CSV file, by the name of its table."),
    ("source/bytes", "long", {}, "How large the file is."),
    ("load/job", "ref", {}, "On a transaction: the job that made it."),
    ("demo/months", "long", {}, "How many months of the year a run loads; an argument of its jobs."),
    ("demo/html", "string", {}, "Where a run's report goes; an argument of its jobs."),
)


def _declaration(name: str, value_type: str, properties: dict[str, Any], doc: str) -> dict[str, Any]:
    return {
        ":db/ident": f":{name}",
        ":db/valueType": f":db.type/{value_type}",
        ":db/cardinality": ":db.cardinality/one",
        ":db/doc": doc,
        **properties,
    }


ATTRIBUTES: Final = tuple(_declaration(*row) for row in _ROWS)
