"""How a line of a file becomes facts: checked on forms alone, and on a store in memory."""

from __future__ import annotations

from itertools import islice
from typing import Any

import factstore
from examples.flights import facts, schema, source


def some_flights(count: int) -> list[source.Record]:
    return list(islice(source.flights(1), count))


def forms_of(records: list[source.Record]) -> list[dict[str, Any]]:
    named = facts.Named()
    flights = [facts.flight(record, named) for record in records]
    return [*named.forms.values(), *flights]


def store() -> factstore.Connection:
    conn = factstore.connect("memory:")
    conn.transact(list(schema.ATTRIBUTES))
    return conn


def test_every_cell_of_a_flight_is_a_fact_and_its_key_one_more() -> None:
    for record in some_flights(500):
        assert len(record) + 1 == len(facts.flight(record, facts.Named()))


def test_no_two_flights_of_a_month_have_the_same_key() -> None:
    keys = [facts.flight_key(record) for record in source.flights(2)]
    assert len(keys) == len(set(keys))


def test_what_is_named_twice_is_stated_once() -> None:
    named = facts.Named()
    assert named.ref(":airport/faa", "EWR") == named.ref(":airport/faa", "EWR")
    assert [{":db/id": "airport/faa EWR", ":airport/faa": "EWR"}] == list(named.forms.values())


def test_every_attribute_of_a_form_is_in_the_schema() -> None:
    known = {form[":db/ident"] for form in schema.ATTRIBUTES}
    assert known >= {attribute for table in facts.ATTRIBUTES.values() for attribute in table.values()} - UNSTATED
    assert known >= {attribute for form in forms_of(some_flights(200)) for attribute in form} - {":db/id"}


# The weather's calendar columns say nothing that its hour does not say.
UNSTATED = {":weather/year", ":weather/month", ":weather/day", ":weather/hour"}


def test_loading_the_same_flights_again_adds_nothing_but_the_transaction() -> None:
    conn = store()
    conn.transact(forms_of(some_flights(300)))
    again = conn.transact(forms_of(some_flights(300)))
    assert [":db/txInstant"] == [again.db_after.ident(datom.a) for datom in again.tx_data]


def test_an_airport_and_a_plane_that_no_file_knows_exist_by_name_alone() -> None:
    conn = store()
    conn.transact(forms_of([{**some_flights(1)[0], "dest": "SJU", "tailnum": "N000XX"}]))
    db = conn.db()
    for ref in ([":airport/faa", "SJU"], [":plane/tailnum", "N000XX"]):
        assert [ref[0]] == [db.ident(datom.a) for datom in db.datoms("eavt", ref)]


def test_a_stub_becomes_the_whole_plane_when_its_file_is_loaded_later() -> None:
    conn = store()
    flight = next(record for record in source.flights(1) if record.get("tailnum") == "N14228")
    conn.transact(forms_of([flight]))
    before = conn.db().entid([":plane/tailnum", "N14228"])
    conn.transact([facts.plain("planes", record) for record in source.records("planes")])
    after = conn.db().entid([":plane/tailnum", "N14228"])
    assert before == after
    assert "BOEING" == next(datom.v for datom in conn.db().datoms("eavt", after, ":plane/manufacturer"))


def test_an_observation_refers_to_its_airport_and_keeps_its_hour() -> None:
    named = facts.Named()
    record = next(source.records("weather"))
    form = facts.observation(record, named)
    assert "EWR 2013-01-01T06Z" == form[":weather/key"]
    assert [{":db/id": form[":weather/origin"], ":airport/faa": "EWR"}] == list(named.forms.values())
    assert record["time_hour"] == form[":weather/time-hour"]
