"""The console in a real browser: the slider, live pages, pages of other origins, and what every page asks of the network."""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import factstore
from factstore.console.pages import STORE
from tests.architecture.source import ROOT
from tests.factstore.console.browsing import WIDTHS, check_page, session, settled, tab
from tests.factstore.console.shop import fill, serving, ticking

SHOWN = [
    "/", "/schema", "/transactions", "/transactions/6", "/difference?from=6&t=12", "/search?for=miller", "/index?index=aevt&start=:order/customer", "/transact",
    "/query?q=[:find ?name (count ?o) :where [?c :customer/name ?name] [?o :order/customer ?c]]", "/entity/[:customer/email \"ann@x.example\"]", "/entity/[:order/number 1003]?t=12&from=9", "/names",
]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("console") / "shop.facts")
    with factstore.connect(path, clock=ticking()) as conn:
        fill(conn)
    return path


@pytest.fixture(scope="module")
def conn(store: str) -> Iterator[factstore.Connection]:
    with factstore.connect(store) as made:
        yield made


@pytest.fixture(scope="module")
def console_link(conn: factstore.Connection) -> Iterator[str]:
    with serving(conn) as link:
        yield link


@pytest.fixture(scope="module")
def signed_in(browser: Any, console_link: str) -> Any:
    """The cookie of the console, as the state of a browser context."""
    return session(browser, console_link)


@pytest.fixture
def page(browser: Any, signed_in: Any, console_link: str) -> Iterator[Any]:
    with tab(browser, signed_in, console_link) as opened:
        yield opened


@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_is_whole_in_light_and_dark_and_asks_only_the_console(page: Any, width: str) -> None:
    page.set_viewport_size({"width": WIDTHS[width], "height": 800})
    for path in SHOWN:
        check_page(page, path, width)
    assert [] == page.foreign and [] == page.problems


def test_the_pages_that_are_looked_at_are_all_that_there_are() -> None:
    first = {path.split("/")[1].partition("?")[0] for path in SHOWN}
    assert {each.path.split("/")[1] for each in STORE.pages} - {"erase"} == first


def test_the_slider_dragged_by_mouse_changes_page_and_link_and_reload_keeps_it(page: Any) -> None:
    page.goto('/entity/[:customer/email "ann@x.example"]')
    page.wait_for_selector(".live")
    assert "Ann Smith" in page.inner_text("main")
    track = page.locator("time-slider .track").bounding_box()
    page.mouse.move(track["x"] + track["width"], track["y"] + 26)
    page.mouse.down()
    page.mouse.move(track["x"] + track["width"] / 2, track["y"] + 26, steps=5)
    page.mouse.up()
    settled(
        page,
        "location.search === '?t=' + document.querySelector('#handle-t').getAttribute('aria-valuenow')"
        " && !document.querySelector('main').textContent.includes('Ann Smith') && document.querySelector('main').textContent.includes('Ann Miller')",
    )
    address, text = page.url, page.inner_text("main")
    assert all("t=" in href for href in page.eval_on_selector_all("#places a", "all => all.map((a) => a.getAttribute('href'))"))
    page.reload()
    page.wait_for_selector("#to-live")
    assert address == page.url and text == page.inner_text("main")
    page.click("#to-live")
    settled(page, "!location.search.includes('t=') && document.querySelector('main').textContent.includes('Ann Smith')")
    page.go_back()
    settled(page, "location.search.includes('t=') && document.querySelector('main').textContent.includes('Ann Miller')")
    assert [] == page.problems


def test_the_slider_is_moved_by_keys(page: Any, conn: factstore.Connection) -> None:
    newest = conn.db().basis_t
    page.goto("/difference")
    page.wait_for_selector(".live")
    page.focus("#handle-t")
    page.keyboard.press("ArrowLeft")
    settled(
        page, f"location.search === '?t={newest - 1}' && document.querySelector('main .lead').textContent.includes('to t {newest - 1}')"
    )
    assert "handle-t" == page.evaluate("document.activeElement.id")
    assert str(newest - 1) == page.get_attribute("#handle-t", "aria-valuenow")
    page.focus("#handle-from")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    settled(page, "location.search.includes('from=2') && document.querySelector('main .lead').textContent.includes('From t 2')")
    page.focus("#handle-t")
    page.keyboard.press("End")
    settled(page, "!location.search.includes('t=' + 1) && document.querySelector('.live')")
    page.keyboard.press("Home")
    settled(page, "location.search.includes('t=0')")
    assert [] == page.problems


def test_a_commit_of_another_process_appears_without_reload(page: Any, store: str) -> None:
    page.goto("/transactions")
    page.wait_for_selector(".live")
    page.evaluate("window.kept = true")
    code = f"import factstore; c = factstore.connect({store!r}); c.transact([{{':customer/name': 'Zoe', ':db/id': 'datomic.tx'}}, {{':db/id': 'datomic.tx', ':audit/reason': 'from elsewhere'}}]); c.close()"
    subprocess.run([sys.executable, "-c", code], check=True)
    settled(page, "document.querySelector('main').textContent.includes('from elsewhere')")
    assert page.evaluate("window.kept"), "the page was not loaded again"
    assert [] == page.problems


def test_a_page_of_a_past_moment_stays_as_it_is(page: Any, conn: factstore.Connection) -> None:
    page.goto("/?t=5")
    page.wait_for_selector("#to-live")
    before = page.inner_text("main")
    other = page.context.new_page()
    other.goto("/transactions")
    t = conn.transact([{":db/id": "datomic.tx", ":audit/reason": "later"}]).t
    settled(other, f"document.querySelector('main').textContent.includes('t {t}')")
    assert before == page.inner_text("main")


def test_a_page_of_another_origin_cannot_write(page: Any, conn: factstore.Connection, console_link: str) -> None:
    """A form and a fetch of another origin: the cookie is not sent, and the request is rejected by its metadata, too."""
    target = console_link.partition("/?")[0]
    for origin_host in ("127.0.0.1", "localhost"):  # the same site as the console, and another one
        with _elsewhere(
            f'<form method=post action="{target}/transact"><input name=do value=commit><input name=key value=k><input name=text value=\'[{{:customer/name "Eve"}}]\'></form>'
        ) as origin:
            before = conn.db().basis_t
            page.goto(origin.replace("127.0.0.1", origin_host))
            with page.expect_navigation() as navigation:
                page.evaluate("document.forms[0].submit()")
            assert 403 == navigation.value.status
            page.goto(origin.replace("127.0.0.1", origin_host))
            page.evaluate(
                f"fetch('{target}/transact', {{method: 'POST', mode: 'no-cors', credentials: 'include', body: new URLSearchParams({{do: 'commit', key: 'k', text: '[]'}})}}).catch(() => null)"
            )
            assert "rejected" == page.evaluate(
                f"fetch('{target}/schema.json', {{credentials: 'include'}}).then(() => 'read', () => 'rejected')"
            )
            assert before == conn.db().basis_t


class _elsewhere:
    """A server of one page on another port."""

    def __init__(self, html: str) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/html")
                self.end_headers()
                self.wfile.write(html.encode())

            def log_message(self, *_: object) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}/"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def test_a_transaction_is_tried_and_committed_with_the_keyboard(page: Any, conn: factstore.Connection) -> None:
    page.goto("/transact")
    page.focus("#text")
    page.keyboard.type("[{:customer/na")
    page.wait_for_selector(".choices li")
    page.keyboard.press("Enter")
    page.keyboard.type(' "Dora"}]')
    with page.expect_navigation():
        page.keyboard.press("Control+Enter")
    assert '[{:customer/name "Dora"}]' == page.input_value("#text")
    before = conn.db().basis_t
    with page.expect_navigation():
        page.click("text=Commit as ann")
    assert "Dora" in page.inner_text("main") and before < conn.db().basis_t
    assert [] == page.problems


def test_the_pictures_of_the_docs_are_screenshots(page: Any, tmp_path: Path) -> None:
    """With FACTSTORE_SCREENSHOTS=1, the pictures of docs/how-to/open-the-console.md are made again."""
    folder = ROOT / "docs" / "pictures" if os.environ.get("FACTSTORE_SCREENSHOTS") else tmp_path
    page.set_viewport_size({"width": 1100, "height": 640})
    page.goto("/entity/[:order/number 1003]?t=12&from=9")
    page.wait_for_selector("#to-live")
    page.screenshot(path=folder / "console.png")
    assert (folder / "console.png").stat().st_size > 10_000


def test_pages_work_without_script(browser: Any, signed_in: Any, console_link: str) -> None:
    context = browser.new_context(storage_state=signed_in, base_url=console_link.partition("/?")[0], java_script_enabled=False)
    page = context.new_page()
    for path in SHOWN:
        assert 200 == page.goto(path).status and page.inner_text("h1")
    context.close()


def test_the_command_prints_one_link_that_opens_the_console(browser: Any, store: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "factstore", "console", store, "--read-only", "--backup", store, "--name", "eve"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        link = server.stdout.readline().strip()
        context = browser.new_context()
        page = context.new_page()
        try:
            page.goto(link)
            assert "read-only" in page.inner_text("header") and "token" not in page.url
            page.goto(link.partition("/?")[0] + "/schema")
            assert ":order/number" in page.inner_text("main")
            page.goto(link.partition("/?")[0] + "/difference/backup?name=shop.facts")
            assert "The backup and the store have the same facts" in page.inner_text("main")
            page.goto(link.partition("/?")[0] + "/schema")  # a live page stays open until the end
        finally:
            server.send_signal(signal.SIGINT)
            assert ("", "factstore: interrupted\n") == server.communicate()
            context.close()
