"""What the pages show, and what their exports contain."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from markupsafe import escape

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


@pytest.mark.parametrize("given", ["2026-11-24T03:12Z", "1970-01-01T00:00:00+00:00", "0", "1", "-5m", "-0s", "-1h30m"])
def test_a_moment_is_a_t_or_in_words(shop: Client, given: str) -> None:
    assert 200 == shop.get("/", params={"t": given}).status_code


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "٣", "9" * 30, "2026-13-01", "2026-11-24T03:12", "-5 m"])
def test_a_wrong_moment_is_an_error_page_with_the_error_of_as_of(shop: Client, given: str) -> None:
    answer = shop.get("/", params={"t": given})
    with factstore.connect("memory:") as conn, pytest.raises(factstore.DatabaseError) as expected:
        conn.db().as_of(given)
    assert 400 == answer.status_code and ":db.error/invalid-point" == expected.value.code
    assert str(escape(expected.value.message)) in answer.text


@pytest.mark.parametrize("given", ["999999", "2999-01-01T00:00Z", "3000"])
@pytest.mark.parametrize("name", ["t", "from"])
@pytest.mark.parametrize("page", ["/", "/index", "/schema.json", "/schema.csv"])
def test_a_moment_of_the_future_is_an_error_that_names_the_newest_one(shop: Client, page: str, name: str, given: str) -> None:
    answer = shop.get(page, params={name: given})
    newest = shop.get("/schema.json").json()["t"]
    expected = f"the moment '{given}' is in the future: the newest transaction has t {newest} and is of 20"
    assert 400 == answer.status_code
    assert expected in unescape(answer.text)
    assert 200 == shop.get(page, params={name: str(newest)}).status_code
    assert 400 == shop.get(page, params={name: str(newest + 1)}).status_code


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
    formulas = {"q": "[:find ?text ?n :in $ [[?text ?n]] :order-by ?n]", "inputs": '[["=1+1" -1] ["a;=1" 2]]'}
    assert '"text","n"\r\n"\'=1+1",-1\r\n"a;=1",2\r\n' == shop.get("/query.csv", params=formulas).text
    assert '["=1+1" -1]' in shop.get("/query.edn", params=formulas).text
    assert [list(row) for row in expected] == list(factstore.edn.read_all(shop.get("/query.edn", params=asked).text))
    table = pyarrow.parquet.read_table(io.BytesIO(shop.get("/query.parquet", params=asked).content))
    assert expected == [tuple(row.values()) for row in table.to_pylist()]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ('1 "a" :k nil', ["1", "a", ":k", ""]),
        ("1 1180591620717411303424", ["1", "1180591620717411303424"]),
        ("1 true 2.5", ["1", "true", "2.5"]),
        ("1 2", [1, 2]),
    ],
)
def test_a_column_of_parquet_with_values_of_several_types_is_text(shop: Client, cells: str, expected: list[Any]) -> None:
    rows = " ".join(f"[{i} {cell}]" for i, cell in enumerate(cells.split()))
    asked = {"q": "[:find ?i ?x :in $ [[?i ?x]] :order-by ?i]", "inputs": f"[{rows}]"}
    answer = shop.get("/query.parquet", params=asked)
    assert 200 == answer.status_code, answer.text
    assert expected == [list(row.values())[1] for row in pyarrow.parquet.read_table(io.BytesIO(answer.content)).to_pylist()]


@pytest.mark.parametrize("suffix", ["json", "csv", "ndjson", "edn", "parquet"])
def test_numbers_that_json_does_not_have_are_exported_as_text(shop: Client, suffix: str) -> None:
    query = '[:find ?x ?y :where [(bigint 1E+5000M) ?x] [(parse-double "NaN") ?y]]'
    answer = shop.get(f"/query.{suffix}", params={"q": query})
    assert 200 == answer.status_code, answer.text
    if suffix == "json":
        assert [[f"1{'0' * 5000}", "##NaN"]] == [list(row.values()) for row in json.loads(answer.text, parse_constant=pytest.fail)["rows"]]


def test_an_entity_with_a_number_of_any_length_is_not_found(shop: Client) -> None:
    assert 404 == shop.get(f"/entity/{'9' * 5000}").status_code


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


def marks(shop: Client, query: str, inputs: str = "") -> tuple[int, int, str]:
    """Return the numbers of bars and of points in the chart of a query, and the page."""
    text = main(shop.get("/query", params={"q": query, "inputs": inputs}).text)
    picture = text.partition('<svg id="chart"')[2].partition("</svg>")[0]
    return picture.count("<rect"), picture.count('r="2.5"'), text


def test_a_result_of_categories_and_numbers_has_bars(shop: Client) -> None:
    bars, _, text = marks(shop, "[:find ?title (sum ?n) (max ?n) :with ?l :where [?l :line/title ?title] [?l :line/count ?n]]")
    assert 24 == bars
    assert "(sum ?n), (max ?n) by title" in text and "12 categories: (sum ?n) 1 to 4, (max ?n) 1 to 4." in text


def test_a_result_of_instants_and_numbers_has_a_line(shop: Client) -> None:
    times = " ".join(f'[#inst "2026-01-{day:02}" {day % 3 - 1}]' for day in range(31, 0, -1))
    found = marks(shop, "[:find ?when ?n :in $ [[?when ?n] ...]]", f"[{times}]")
    assert (0, 31) == found[:2]
    assert "From 2026-01-01 00:00:00 to 2026-01-31 00:00:00: n -1 to 1." in found[2]


def test_a_chart_is_bounded_and_states_what_it_leaves_out(shop: Client) -> None:
    rows = " ".join(f'["c{n}" {n} 1 2 3.5]' for n in range(1000))
    bars, _, text = marks(shop, "[:find ?c ?n ?x ?y ?z :in $ [[?c ?n ?x ?y ?z] ...]]", f"[{rows}]")
    assert 120 == bars
    assert "The first 3 of 4 columns are drawn." in text and "The first 40 of 1,000 rows are drawn." in text
    times = " ".join(f'[#inst "2026-01-01T{n // 60:02}:{n % 60:02}" {n}]' for n in range(1000))
    _, points, text = marks(shop, "[:find ?when ?n :in $ [[?when ?n] ...]]", f"[{times}]")
    assert 100 == points and "n 0 to 999." in text and "100 of 1,000 instants are drawn" in text


@pytest.mark.parametrize(
    "rows",
    [
        '["a" 1]',  # one row
        '["a" 1] ["b" "c"]',
        '["a" "b"] ["c" "d"]',
        "[1 2] [3 4]",
        '["a" 1] ["b" ##NaN]',
        '["a" 1] ["b" ##Inf]',
        '["a" 1] ["b" 1e300]',
        f'["a" 1] ["b" 1{"0" * 400}N]',
        '["a" true] ["b" false]',
        '[#inst "2026-01-01" 1] [#inst "2026-01-01" 2]',
        '[#inst "2026-01-01" 1] ["b" 2]',
        "[[1] 1] [[2] 2]",
    ],
)
def test_a_result_that_does_not_suit_a_chart_has_none(shop: Client, rows: str) -> None:
    text = marks(shop, "[:find ?c ?n :in $ [[?c ?n] ...]]", f"[{rows}]")[2]
    assert 'id="chart"' not in text and "<h2>" in text


def test_names_in_a_chart_are_escaped(shop: Client) -> None:
    bars, _, text = marks(shop, "[:find ?c ?n :in $ [[?c ?n] ...]]", '[["<script>x" 1] ["</svg><b>" 2]]')
    assert 2 == bars and "<script>x" not in text and "<b>" not in text


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
    "text", ["", "{", "1", "[1]", "[{:no/such 1}]", "[[:db/add [:order/number 1000] :order/number 1001]]", "[[:db.fn/nothing]]", "(" * 5000,
             "9" * 5000, f"[{{:customer/name {'9' * 5000}}}]"], ids=lambda text: text[:40]
)  # fmt: skip
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


def test_the_difference_offers_the_backups_of_the_console_and_no_others(conn: factstore.Connection) -> None:
    with factstore.connect("memory:") as other:
        fill(other, 20)
        gone = other.transact(
            [{":db/id": "x", ":customer/email": "eve@x.example", ":order/customer": [":customer/email", "ann@x.example"]}]
        )
        before = other.db().basis_t
        shop = client(conn, backups={"nightly <1>": other})
        assert 'href="/difference/backup?name=nightly+%3C1%3E"' in shop.get("/difference").text
        text = main(shop.get("/difference/backup", params={"name": "nightly <1>"}).text)
        assert f"the backup nightly &lt;1&gt; at t {before}" in text and "eve@x.example" in text
        assert f"/entity/{gone.tempids['x']}" not in text, "only the backup has this entity"
        for name in ("", "weekly", "memory:", "../shop.facts"):
            assert 404 == shop.get("/difference/backup", params={"name": name}).status_code
        assert before == other.db().basis_t
    assert "/difference/backup" not in client(conn).get("/difference").text


def test_trying_shows_the_net_difference_by_entity(shop: Client) -> None:
    tx = '[{:customer/email "ann@x.example" :customer/name "Ann Jones"} {:db/id "d" :customer/email "dora@x.example"}]'
    text = main(shop.post("/transact", data={"text": tx, "do": "try"}).text).partition("The difference")[2]
    assert 2 == text.count('<tr class="added">') and 1 == text.count('<tr class="gone">') and 2 == text.count('<tr class="group">')
    assert "Ann Smith" in text and "Ann Jones" in text and "dora@x.example</th>" in text
    none = main(shop.post("/transact", data={"text": '[{:customer/email "ann@x.example"}]', "do": "try"}).text)
    assert "No fact would change." in none


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
        *(f"/{page}/{'9' * digits}" for page in ("transactions", "erase", "entity") for digits in (20, 4000, 5000)),
    ],
    ids=lambda path: path[:40],
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
