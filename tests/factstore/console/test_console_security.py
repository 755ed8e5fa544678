"""The ten points of the console's security, each as a request that must be rejected."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

import factstore
from factstore.console import OneTimeLink, Page, PageRequest, console, page
from factstore.console.pages import STORE
from factstore.errors import DatabaseError, ReadOnly, StorageError
from tests.factstore.console.shop import HOST, SAME, Client, client, fill

TRY = {"text": '[{:customer/email "new@x.example"}]', "do": "try"}


@pytest.fixture
def conn() -> Iterator[factstore.Connection]:
    with factstore.connect("memory:") as made:
        fill(made)
        yield made


def addresses() -> list[str]:
    return [
        each.path.replace("{t:int}", "3").replace("{name:path}", ":order.status/new").replace("{eid:int}", "17592186044416")
        for each in STORE.pages
    ]


def test_another_address_than_loopback_needs_a_token_file(tmp_path: Path) -> None:
    from factstore.console import server

    with pytest.raises(StorageError) as caught:
        server.run(str(tmp_path / "x.facts"), server.Options(host="0.0.0.0"), print)
    assert ":db.error/not-loopback" == caught.value.code
    (tmp_path / "token").write_text("short")
    with pytest.raises(StorageError, match="at least 16"):
        server.run(str(tmp_path / "x.facts"), server.Options(host="0.0.0.0", token_file=str(tmp_path / "token")), print)


@pytest.mark.parametrize("path", [*addresses(), "/live", "/static/console.js", "/schema.json", "/query.csv?q=x"])
def test_nothing_is_shown_without_signing_in(conn: factstore.Connection, path: str) -> None:
    assert 401 == client(conn, signed_in=False).get(path).status_code


def test_an_application_that_does_not_know_the_person_shows_nothing(conn: factstore.Connection) -> None:
    answer = Client(console(conn, authorize=lambda _request: None)).get("/schema")
    assert 401 == answer.status_code
    assert "this application" in answer.text


def test_the_link_works_once_and_leaves_a_strict_cookie(conn: factstore.Connection) -> None:
    app = console(conn)
    token = app.state.authorize.token
    first, second = (Client(app) for _ in range(2))
    answer = first.get("/schema", params={"token": token, "t": "2"})
    assert 303 == answer.status_code and "/schema?t=2" == answer.headers["location"]
    cookie = answer.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=strict", "path=/"))
    assert 200 == first.get("/").status_code
    assert 401 == second.get("/", params={"token": token}).status_code
    assert 401 == second.get("/").status_code
    assert 401 == second.get("/", params={"token": "wrong"}).status_code
    assert 303 == first.get("/", params={"token": token}).status_code  # the browser that has signed in already


@pytest.mark.parametrize("host", ["evil.test", "evil.test:80", "127.0.0.1.evil.test", "", "localhost@evil.test"])
@pytest.mark.parametrize("path", ["/", "/live", "/static/console.js", "/schema.json"])
def test_a_forged_host_is_rejected(conn: factstore.Connection, host: str, path: str) -> None:
    assert 421 == client(conn).get(path, headers={"host": host}).status_code


@pytest.mark.parametrize("headers", [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"sec-fetch-site": ""}])
@pytest.mark.parametrize("path", ["/transact", "/query", "/erase/17592186044416"])
def test_a_page_of_another_origin_cannot_write(conn: factstore.Connection, headers: dict[str, str], path: str) -> None:
    before = conn.db().basis_t
    assert 403 == client(conn).post(path, data=TRY, headers=headers).status_code
    assert before == conn.db().basis_t


def test_without_fetch_metadata_the_origin_decides(conn: factstore.Connection) -> None:
    signed_in = client(conn)
    del signed_in.headers["sec-fetch-site"]
    assert 403 == signed_in.post("/transact", data=TRY).status_code
    assert 403 == signed_in.post("/transact", data=TRY, headers={"origin": "http://evil.test"}).status_code
    assert 403 == signed_in.post("/transact", data=TRY, headers={"origin": "null"}).status_code
    assert 200 == signed_in.post("/transact", data=TRY, headers={"origin": HOST}).status_code


def test_a_program_writes_with_the_bearer_token_only(conn: factstore.Connection) -> None:
    app = console(conn, authorize=OneTimeLink(name="robot", bearer="a token of some length"))
    program = Client(app)
    assert 403 == program.post("/transact", data=TRY).status_code
    assert 403 == program.post("/transact", data=TRY, headers={"authorization": "Bearer wrong"}).status_code
    assert 200 == program.post("/transact", data=TRY, headers={"authorization": "Bearer a token of some length"}).status_code


@pytest.mark.parametrize("path", [*addresses(), "/no-such-page", "/entity/99999999"])
def test_every_answer_has_the_headers_and_no_inline_script_or_style(conn: factstore.Connection, path: str) -> None:
    answer = client(conn).get(path)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';") and "unsafe" not in policy
    expected = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-store"}
    assert expected == {name: answer.headers[name] for name in expected}
    assert not any(each in answer.text for each in ("<style", " style=", " onclick", "javascript:", "<script>"))


def test_a_read_only_console_has_no_way_to_write(conn: factstore.Connection) -> None:
    before, reader = conn.db().basis_t, client(conn, read_only=True)
    for each in STORE.pages:
        if each.writes:
            path = each.path.replace("{eid:int}", "17592186044416")
            for method in ("POST", "PUT", "DELETE", "PATCH"):
                assert 403 == reader.request(method, path).status_code
    assert 403 == reader.get("/transact").status_code
    for path in addresses():
        assert '<form method="post"' not in reader.get(path).text
    assert 'href="/transact"' not in reader.get("/").text
    assert before == conn.db().basis_t


def test_a_read_only_console_cannot_write_even_if_a_view_tries(tmp_path: Path) -> None:
    uri = str(tmp_path / "shop.facts")
    with factstore.connect(uri) as made:
        fill(made)
    with factstore.connect(uri, read_only=True) as opened:
        tries = PageRequest(opened, page.Moment(1), page.Hidden())
        with pytest.raises(ReadOnly):
            tries.conn.transact([{":db/doc": "x"}])


def test_a_query_stops_at_the_limit_of_rows(conn: factstore.Connection) -> None:
    wide = "[:find ?a ?b ?c :where [?a :db/ident] [?b :db/ident] [?c :db/ident]]"
    answer = client(conn).get("/query", params={"q": wide})
    assert 400 == answer.status_code and ":db.error/query-too-large" in answer.text


def test_a_query_ends_when_the_browser_has_gone(conn: factstore.Connection) -> None:
    """The request is cancelled while its view runs: the view sees its flag."""
    running, ended = threading.Event(), threading.Event()

    def view(request: PageRequest) -> Any:
        running.set()
        if request.cancel.wait(60):
            ended.set()
        return page.Answer("names.html", {}, {"names": page.Table((), ())})

    extension = page.Extension("Test", (Page("/slow", "", view),), Path())
    app = console(conn, authorize=lambda _request: "ann", extensions=[extension])
    messages = iter([{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}])

    async def receive() -> dict[str, Any]:
        import anyio

        await anyio.to_thread.run_sync(running.wait)
        return next(messages, {"type": "http.disconnect"})

    async def send(_message: Any) -> None: ...

    import anyio

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/slow",
        "raw_path": b"/slow",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "server": ("localhost", 80),
    }
    anyio.run(app, scope, receive, send)
    assert ended.is_set()


HIDDEN = [
    "/entity/[:customer/email%20%22ann@x.example%22]",
    "/index?index=aevt&start=:customer/phone",
    "/index?index=eavt",
    "/difference",
    "/transactions/2",
    "/schema",
    "/search?for=55",
    "/query?q=[:find%20?v%20:where%20[_%20:customer/phone%20?v]]",
    "/query?q=[:find%20?v%20:where%20[_%20?a%20?v]]",
    "/query?q=[:find%20(pull%20?e%20[*])%20:where%20[?e%20:customer/name]]",
]


@pytest.mark.parametrize("path", HIDDEN)
@pytest.mark.parametrize("suffix", ["", ".json", ".csv", ".edn"])
def test_hidden_attributes_are_on_no_page_and_in_no_export(conn: factstore.Connection, path: str, suffix: str) -> None:
    plain, question, query = path.partition("?")
    address = f"{plain}{suffix}{question}{query}"
    for t in ("", "5"):
        answer = client(conn, hide=[":customer/phone"]).get(
            address, params={**({"t": t} if t else {}), **dict(pair.split("=") for pair in query.split("&") if pair)}
        )
        assert answer.status_code in (200, 400) and "+44" not in answer.text


def test_an_attribute_of_a_backup_stays_hidden_after_it_was_renamed(conn: factstore.Connection) -> None:
    with factstore.connect("memory:") as backup:
        fill(backup)
        conn.transact([{":db/id": ":customer/phone", ":db/ident": ":customer/mobile"}])
        eid = conn.db().entid([":customer/email", "ann@x.example"])
        conn.transact([[":db/add", eid, ":customer/mobile", "+44 new"]])
        for hidden, found in (([":customer/mobile"], False), ([], True)):
            answer = client(conn, hide=hidden, backups={"old": backup}).get("/difference/backup", params={"name": "old"})
            assert 200 == answer.status_code and found is ("+44" in answer.text)


def test_the_facts_would_be_shown_if_they_were_not_hidden(conn: factstore.Connection) -> None:
    assert "+44" in client(conn).get(HIDDEN[0]).text


def test_errors_of_a_transaction_do_not_show_hidden_values(conn: factstore.Connection) -> None:
    guess = '[[:db/cas [:customer/email "ann@x.example"] :customer/phone "x" "y"]]'
    answer = client(conn, hide=[":customer/phone"]).post("/transact", data={"text": guess, "do": "try"})
    assert 400 == answer.status_code and ":db.error/cas-failed" in answer.text and "+44" not in answer.text


def test_a_hidden_attribute_must_exist(conn: factstore.Connection) -> None:
    with pytest.raises(DatabaseError, match="customer/phnoe"):
        console(conn, hide=[":customer/phnoe"])


def test_every_transaction_states_who_made_it(conn: factstore.Connection) -> None:
    signed_in = client(conn)
    tried = signed_in.post("/transact", data=TRY).text
    key = tried.partition('name="key" value="')[2].partition('"')[0]
    answers = [signed_in.post("/transact", data={**TRY, "do": "commit", "key": key}) for _ in range(2)]
    assert {303} == {answer.status_code for answer in answers}
    assert 1 == len({answer.headers["location"] for answer in answers}), "a button that is pressed twice commits once"
    signed_in.post("/query", data={"q": "[:find ?e :where [?e :db/doc]]", "name": "docs"})
    made = factstore.q("[:find [?by ...] :where [?tx :console/by ?by]]", conn.db())
    assert ["ann"] == made
    assert 2 == len(factstore.q("[:find ?tx :where [?tx :console/by]]", conn.db()))


def test_nothing_is_committed_without_a_try(conn: factstore.Connection) -> None:
    before = conn.db().basis_t
    assert 400 == client(conn).post("/transact", data={**TRY, "do": "commit"}).status_code
    assert before == conn.db().basis_t


def test_erasing_needs_the_number_of_facts(conn: factstore.Connection) -> None:
    signed_in = client(conn)
    eid = conn.db().entid([":order/number", 1003])
    page_text = signed_in.get(f"/erase/{eid}").text
    count = page_text.partition("<label>type ")[2].partition(" ")[0]
    for wrong in ("", "1", str(int(count) + 1), "all"):
        assert 409 == signed_in.post(f"/erase/{eid}", data={"count": wrong}).status_code
    assert conn.db().entid([":order/number", 1003])
    answer = signed_in.post(f"/erase/{eid}", data={"count": count})
    assert 303 == answer.status_code
    assert [] == list(conn.db().history().datoms("eavt", eid))
    t = int(answer.headers["location"].rpartition("/")[2])
    assert "ann" in signed_in.get(f"/transactions/{t}").text
    assert 409 == signed_in.post(f"/erase/{eid}", data={"count": "0"}).status_code


def test_a_mounted_console_asks_the_application(conn: factstore.Connection) -> None:
    async def user(request: Any) -> str | None:
        return request.headers.get("x-user")

    app = Starlette(routes=[Mount("/console", console(conn, authorize=user, hosts=["shop.example"]))])
    outside = Client(app, "http://shop.example", SAME)
    assert 401 == outside.get("/console/").status_code
    answer = outside.get("/console/entity/:order.status/new", headers={"x-user": "eve"})
    assert 200 == answer.status_code
    assert 'href="/console/static/console.css"' in answer.text and 'href="/console/schema"' in answer.text
    assert 200 == outside.get("/console/schema.csv", headers={"x-user": "eve"}).status_code
    assert 421 == outside.get("/console/", headers={"x-user": "eve", "host": "127.0.0.1"}).status_code


def test_importing_factstore_or_its_command_line_loads_no_server() -> None:
    code = "import sys, json, factstore, factstore.cli, overseer; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout))
    assert set() == loaded & {"starlette", "jinja2", "uvicorn", "anyio", "factstore.console"}


def test_every_page_that_takes_a_form_is_known_to_write(conn: factstore.Connection) -> None:
    shared = console(conn, read_only=True)
    assert not [route for route in shared.routes if "POST" in (getattr(route, "methods", None) or ())]
