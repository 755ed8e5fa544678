"""How a line of a file becomes facts: checked on plain data, and on a store in memory."""

from __future__ import annotations

from itertools import islice

import factstore
from examples.flights import facts, schema, source
from examples.flights.facts import TABLES


def some_flights(count: int) -> list[source.Record]:
    return list(islice(source.flights(1), count))


def store() -> factstore.Connection:
    conn = factstore.connect("memory:")
    conn.transact(list(schema.ATTRIBUTES))
    return conn


def load(conn: factstore.Connection, table: str, records: list[source.Record]) -> None:
    how = TABLES[table]
    conn.transact(facts.stubs(how.names(records)))
    conn.load(how.keyed(records), how.mapping, progress=False)


def test_every_column_of_a_file_goes_to_an_attribute_of_the_schema() -> None:
    known = {form[":db/ident"] for form in schema.ATTRIBUTES}
    for table, how in TABLES.items():
        attributes = {into if isinstance(into, str) else into.attribute for into in how.mapping.values()}
        assert known >= attributes >= {how.identity}, table
        assert UNSTATED.get(table, set()) == source.COLUMNS[table].keys() - how.mapping.keys(), table


# The weather's calendar columns say nothing that its hour does not say.
UNSTATED = {"weather": {"year", "month", "day", "hour"}}


def test_no_two_flights_of_a_month_have_the_same_key() -> None:
    keys = [facts.flight_key(record) for record in source.flights(2)]
    assert len(keys) == len(set(keys))


def test_no_two_observations_have_the_same_key() -> None:
    keys = [facts.weather_key(record) for record in source.records("weather")]
    assert "EWR 2013-01-01T06Z" == keys[0]
    assert len(keys) == len(set(keys))


def test_what_is_named_often_is_named_once() -> None:
    names = TABLES["flights"].names([{"carrier": "UA", "origin": "EWR", "dest": "JFK"}, {"carrier": "UA", "origin": "JFK", "dest": "EWR"}])
    assert {(":airline/carrier", "UA"), (":airport/faa", "EWR"), (":airport/faa", "JFK")} == names


def test_a_cell_is_a_fact_of_its_flight() -> None:
    conn = store()
    records = some_flights(200)
    load(conn, "flights", records)
    for record in records:
        found = list(conn.db().datoms("eavt", [":flight/key", facts.flight_key(record)]))
        assert len(record) + 1 == len(found)


def test_loading_the_same_flights_again_changes_no_fact() -> None:
    conn = store()
    load(conn, "flights", some_flights(300))
    before = [datom[:3] for datom in conn.db().datoms("aevt", ":flight/key")]
    load(conn, "flights", some_flights(400))
    after = [datom[:3] for datom in conn.db().datoms("aevt", ":flight/key")]
    assert 300 == len(before)
    assert 400 == len(after)
    assert set(before) < set(after)


def test_an_airport_and_a_plane_that_no_file_knows_exist_by_name_alone() -> None:
    conn = store()
    load(conn, "flights", [{**some_flights(1)[0], "dest": "SJU", "tailnum": "N000XX"}])
    db = conn.db()
    for ref in ([":airport/faa", "SJU"], [":plane/tailnum", "N000XX"]):
        assert [ref[0]] == [db.ident(datom.a) for datom in db.datoms("eavt", ref)]


def test_a_stub_becomes_the_whole_plane_when_its_file_is_loaded_later() -> None:
    conn = store()
    load(conn, "flights", [next(record for record in source.flights(1) if record.get("tailnum") == "N14228")])
    before = conn.db().entid([":plane/tailnum", "N14228"])
    load(conn, "planes", list(source.records("planes")))
    after = conn.db().entid([":plane/tailnum", "N14228"])
    assert before == after
    assert "BOEING" == next(datom.v for datom in conn.db().datoms("eavt", after, ":plane/manufacturer"))
