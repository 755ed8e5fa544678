"""What the pages show, and what their exports contain."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

import factstore
from factstore.console import Answer, Extension, Page, PageRequest, Table
from tests.factstore.console.shop import Client, client, fill

ANN = '/entity/[:customer/email "ann@x.example"]'


@pytest.fixture(scope="module")
def conn() -> Iterator[factstore.Connection]:
    with factstore.connect("memory:") as made:
        fill(made)
        yield made


@pytest.fixture(scope="module")
def shop(conn: factstore.Connection) -> Client:
    return client(conn)


def main(text: str) -> str:
    return text.partition('<main id="content"')[2].partition("</main>")[0]


def test_the_overview_counts_the_store(shop: Client, conn: factstore.Connection) -> None:
    rows = {row["namespace"]: row["facts"] for row in shop.get("/index.json").json().get("namespaces", [])} or {
        row["namespace"]: row["facts"] for row in shop.get("/.json").json()["namespaces"]
    }
    assert len(list(conn.db().datoms("aevt", ":line/count"))) * 2 == rows["line"]


def test_an_entity_has_its_facts_references_and_history_with_who_and_why(shop: Client) -> None:
    found = shop.get(f"{ANN}.json".replace('"]', '"]')).json()
    assert {(":customer/name", "Ann Smith")} <= {(row["attribute"], row["value"]) for row in found["facts"]}
    assert 4 == len(found["references"])
    names = [row for row in found["history"] if row["attribute"] == ":customer/name"]
    assert [True, False, True] == [row["added"] for row in names] or [False, True, True] == [row["added"] for row in names]
    assert "ann" in names[-1]["why"]


def test_a_past_moment_shows_the_past_and_is_kept_in_every_link(shop: Client) -> None:
    text = shop.get(ANN, params={"t": "5", "from": "2"}).text
    assert "Ann Miller" in text and "Ann Smith" not in text
    links = [part.partition('"')[0] for part in text.split('<a href="')[1:]]
    assert all("t=5&amp;from=2" in link for link in links if link.startswith("/")), links


@pytest.mark.parametrize("given", ["2026-11-24T03:12", "1970-01-01T00:00:00+00:00", "2999-01-01", "0", "999999"])
def test_a_moment_is_a_t_or_an_instant(shop: Client, given: str) -> None:
    assert 200 == shop.get("/", params={"t": given}).status_code


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "٣", "9" * 30, "2026-13-01"])
def test_a_wrong_moment_is_an_error_page(shop: Client, given: str) -> None:
    answer = shop.get("/", params={"t": given})
    assert 400 == answer.status_code and ":db.error/invalid-point" in answer.text


@pytest.mark.parametrize("name", ["99999", ":no/such", "[:customer/email", "x y", '[:customer/email "nobody"]', "[1 2 3]", "-1", "%00"])
def test_an_unknown_entity_is_not_found(shop: Client, name: str) -> None:
    assert 404 == shop.get(f"/entity/{name}").status_code


def test_each_export_has_the_rows_of_the_query(shop: Client) -> None:
    asked = {"q": "[:find ?n ?name :where [?o :order/number ?n] [?o :order/customer ?c] [?c :customer/name ?name] :order-by ?n]"}
    expected = [(1000 + i, ("Ann Smith", "Bob Miller", "Cleo Miller")[i % 3]) for i in range(12)]
    rows = shop.get("/query.json", params=asked).json()["rows"]
    assert expected == [tuple(row.values()) for row in rows]
    assert rows == [json.loads(line) for line in shop.get("/query.ndjson", params=asked).text.splitlines()]
    _, *lines = csv.reader(io.StringIO(shop.get("/query.csv", params=asked).text))
    assert [[str(n), name] for n, name in expected] == lines
    assert [list(row) for row in expected] == list(factstore.edn.read_all(shop.get("/query.edn", params=asked).text))
    table = pyarrow.parquet.read_table(io.BytesIO(shop.get("/query.parquet", params=asked).content))
    assert expected == [tuple(row.values()) for row in table.to_pylist()]


def test_a_page_without_a_table_says_so(shop: Client) -> None:
    assert 400 == shop.get("/transact.csv").status_code


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("[:find ?n :where [?e :customer/nam ?n]]", ":customer/nam"),
        ("[:find ?n\n :where [?e :customer/name ?n}]", "}"),
        ("[:find ?n ?x :where [?e :customer/name ?n]]", "?x"),
        ("[:find ?n :where [?e :customer/name ?n] [(nofn ?n)]]", "nofn"),
    ],
)
def test_an_error_in_a_query_is_marked_in_its_text(shop: Client, text: str, marked: str) -> None:
    answer = shop.get("/query", params={"q": text})
    assert 400 == answer.status_code and f"<mark>{marked}" in answer.text


def test_a_query_takes_inputs_and_shows_its_steps(shop: Client) -> None:
    asked = {"q": "[:find ?e :in $ ?n :where [?e :order/number ?n]]", "inputs": "1003"}
    text = main(shop.get("/query", params=asked).text)
    assert "1 row" in text and "[?e :order/number ?n]" in text and "<rect" in text


def test_a_saved_query_is_a_fact_with_a_past() -> None:
    with factstore.connect("memory:") as conn:
        fill(conn, 1)
        shop, before = client(conn), conn.db().basis_t
        for text in ("[:find ?e :where [?e :db/doc]]", "[:find ?a :where [?a :db/ident]]"):
            assert 303 == shop.post("/query", data={"q": text, "name": "mine <1>"}).status_code
        assert "mine &lt;1&gt;" in shop.get("/query").text
        assert "mine" not in shop.get("/query", params={"t": str(before)}).text
        assert 400 == shop.post("/query", data={"q": "x", "name": " "}).status_code


def test_trying_commits_nothing_and_shows_the_datoms(shop: Client, conn: factstore.Connection) -> None:
    before = conn.db().basis_t
    text = shop.post("/transact", data={"text": '[{:db/id "new" :customer/name "Dora"}]', "do": "try"}).text
    assert "1 datom would be committed" in text and "Dora" in text and "Commit as ann" in text
    assert before == conn.db().basis_t


@pytest.mark.parametrize(
    "text", ["", "{", "1", "[1]", "[{:no/such 1}]", "[[:db/add [:order/number 1000] :order/number 1001]]", "[[:db.fn/nothing]]", "(" * 5000]
)
@pytest.mark.parametrize("do", ["try", "commit"])
def test_a_wrong_transaction_is_explained(shop: Client, conn: factstore.Connection, text: str, do: str) -> None:
    before = conn.db().basis_t
    answer = shop.post("/transact", data={"text": text, "do": do, "key": "k"})
    assert 400 == answer.status_code and ":db.error/" in answer.text
    assert before == conn.db().basis_t


def test_values_are_escaped() -> None:
    with factstore.connect("memory:") as conn:
        fill(conn, 1)
        eid = conn.transact([{":db/id": "x", ":customer/name": "<script>alert(1)</script>", ":customer/email": '"><b>'}]).tempids["x"]
        for path in (
            f"/entity/{eid}",
            "/",
            "/index?index=aevt&start=:customer/name",
            "/difference",
            "/search?for=script",
            "/transactions/3",
        ):
            text = client(conn).get(path).text
            assert "<script>alert" not in text and '"><b>' not in text


def test_transactions_can_be_filtered_by_attribute_and_author(shop: Client) -> None:
    by_bob = shop.get("/transactions.json", params={"by": "Bob"}).json()["transactions"]
    assert 6 == len(by_bob) and all("bob" in row["why"] for row in by_bob)
    paid = shop.get("/transactions.json", params={"attribute": ":order/number"}).json()["transactions"]
    assert 12 == len(paid)
    assert 400 == shop.get("/transactions", params={"attribute": ":no/such"}).status_code


def test_the_difference_is_that_of_the_two_moments(shop: Client, conn: factstore.Connection) -> None:
    found = shop.get("/difference.json", params={"from": "5", "t": "9"}).json()["changes"]
    db = conn.db()
    net = [d for d in factstore.diff(db.as_of(5), db.as_of(9)) if factstore.part(d.e) != ":db.part/tx"]
    assert len(net) == len(found)


@pytest.mark.parametrize("index", ["eavt", "aevt", "avet", "vaet"])
def test_the_browser_of_an_index_pages_through_all_of_it(shop: Client, conn: factstore.Connection, index: str) -> None:
    start = {"avet": ":customer/email", "vaet": "0"}.get(index, "")
    rows: list[Any] = []
    while True:
        asked = {"index": index, "start": start, "skip": str(len(rows))}
        page = shop.get("/index.json", params=asked).json()["datoms"]
        rows += page
        if len(page) < 100:
            break
    parts = list(factstore.edn.read_all(start))
    assert len(list(conn.db().seek_datoms(index, *parts))) == len(rows)


@pytest.mark.parametrize(
    "path",
    [
        "/index?index=nothing",
        "/index?start=1 2 3 4 5",
        "/index?start=[",
        '/search?for="',
        "/query?q=1",
        "/query?q=[:find ?e :where [?e]]&inputs=[",
        "/transactions/0",
        "/transactions/9999",
        "/erase/1",
    ],
)
def test_wrong_addresses_are_errors_of_the_caller(shop: Client, path: str) -> None:
    assert shop.get(path).status_code in (200, 400, 404)


def test_words_and_names_are_found(shop: Client) -> None:
    assert {"Bob Miller", "Cleo Miller"} == {row["value"] for row in shop.get("/search.json", params={"for": "miller"}).json()["found"]}
    assert ":order/number" in shop.get("/search.csv", params={"for": "number"}).text
    assert ":order.status/new" in shop.get("/search.csv", params={"for": ":order.status/new"}).text


def test_a_package_adds_pages_under_a_heading_of_its_own(conn: factstore.Connection, tmp_path: Path) -> None:
    (tmp_path / "orders.html").write_text('{% extends "base.html" %}{% block content %}<h1>{{ count }} orders</h1>{% endblock %}')

    def orders(request: PageRequest) -> Answer:
        found = request.rows("[:find ?n :where [_ :order/number ?n]]", request.db)
        return Answer("orders.html", {"count": len(found)}, {"orders": Table(("number",), list(found))})

    shop = client(conn, extensions=[Extension("Orders", (Page("/orders", "Orders", orders),), tmp_path)])
    assert "12 orders" in shop.get("/orders").text and "0 orders" in shop.get("/orders", params={"t": "2"}).text
    assert 'aria-label="Orders"' in shop.get("/schema").text
    assert 13 == len(shop.get("/orders.csv").text.splitlines())
