"""A console in a real browser, as tests of several folders open it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

WIDTHS = {"narrow": 360, "wide": 1200}
_UNLABELLED = (
    "[...document.querySelectorAll('input:not([type=hidden]), textarea, select')].filter((e) => !e.labels.length).map((e) => e.name)"
)
_CLIPPED = """[...document.querySelectorAll('a, button, h1, h2, td, dd, label')].filter((e) =>
    !e.closest('.scroll, .unseen, .skip, .choices') && !e.matches('.skip, .unseen')
    && (e.getBoundingClientRect().right > innerWidth + 1 || e.getBoundingClientRect().left < -1)).map((e) => e.textContent)"""
_OVERLAPPING = """[...document.querySelectorAll('main button, main input:not([type=hidden]), main select, main h1, main h2')].filter((e, i, all) => {
    const a = e.getBoundingClientRect();
    return a.width && all.slice(i + 1).some((other) => {
        const b = other.getBoundingClientRect();
        return b.width && a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
    });
}).map((e) => e.outerHTML.slice(0, 80))"""


def session(browser: Any, link: str) -> Any:
    """Use the link of a console once; return its cookie as the state of a browser context."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(link)
    assert "token" not in page.url
    state = context.storage_state()
    context.close()
    return state


@contextmanager
def tab(browser: Any, state: Any, link: str) -> Iterator[Any]:
    """Open a page; its `problems` are messages of the console and errors, and `foreign` requests to other origins."""
    base = link.partition("/?")[0]
    context = browser.new_context(storage_state=state, base_url=base, viewport={"width": 1200, "height": 800})
    page = context.new_page()
    page.problems, page.foreign = [], []
    page.on("console", lambda message: page.problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith((base, "data:")) else page.foreign.append(request.url))
    yield page
    context.close()


def settled(page: Any, script: str) -> None:
    """Wait until an expression is true, also on the page that a click is about to open.

    playwright's own wait evaluates text in the page, which the page's policy forbids.
    """
    wait = f"""() => new Promise((done, failed) => {{
            let fault = '';
            const holds = () => {{  // a page that opens has not all its elements yet
                try {{ return ({script}); }} catch (error) {{ fault = error; return false; }}
            }};
            setTimeout(() => failed(new Error(`never so: ${{fault}} ${{document.body?.textContent}}`)), 30000);
            const look = () => holds() ? done() : requestAnimationFrame(look);
            look();
        }})"""
    while True:
        try:
            page.evaluate(wait)
        except Exception as error:  # playwright is imported where a browser is there only
            if "context was destroyed" not in str(error):
                raise
            page.wait_for_load_state()  # another page has opened meanwhile
        else:
            return


def shows(page: Any, text: str) -> None:
    """Wait until the page contains a text."""
    settled(page, f"document.querySelector('main').textContent.replace(/\\s+/g, ' ').includes({text!r})")


def check_page(page: Any, path: str, width: str) -> None:
    """Open a page and check it in light and dark; with axe if it is wide, because the narrow one has the same elements."""
    page.emulate_media(color_scheme="light")
    assert 200 == page.goto(path).status, path
    check_layout(page, path)
    if width == "wide":
        page.evaluate(_axe())
        check_access(page, path)
    page.emulate_media(color_scheme="dark")
    check_layout(page, path)
    if width == "wide":
        check_access(page, path, "color-contrast")


def check_layout(page: Any, path: str) -> None:
    """Check that nothing is cut off, unlabelled, or on top of another control."""
    page.wait_for_selector("time-slider .says span")
    assert 0 == page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"), path
    for faults in (_UNLABELLED, _CLIPPED, _OVERLAPPING):
        found = page.evaluate(faults)
        assert [] == found, f"{path}: {found}"
    assert 1 == page.locator("h1").count(), path


def check_access(page: Any, path: str, *rules: str) -> None:
    """Check by rules of axe, or by all of them, that the page has no serious fault for people with a screen reader or a keyboard."""
    found = page.evaluate(
        f"axe.run({{resultTypes: ['violations'], {f'runOnly: {list(rules)}' if rules else ''}}}).then((all) => all.violations)"
    )
    serious = [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")]
    assert [] == serious, f"{path}: {serious}"


def _axe() -> str:
    spec = find_spec("axe_core_python")
    assert spec is not None and spec.origin is not None
    return (Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")
