"""The site of the documentation, as `make site` builds it: without a warning, complete, and searched in a browser as files."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import docutils.core
import docutils.utils
import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
import overseer
from factstore.query.answer.explain import ExplainedStep
from factstore.schema.attribute import Schema
from overseer.jobs.queues import Allowance

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "docs/site"), str(ROOT / "docs/reference")]

import api  # noqa: E402
import contents  # noqa: E402
import docstrings  # noqa: E402
import generate  # noqa: E402

PUBLIC = [f"{package}.{name}" for task, (_, package, _) in generate.TASKS.items() for name in generate.names_of(task)[1]]
LISTED = contents.groups((ROOT / "README.md").read_text(encoding="utf-8"))


class Page(NamedTuple):
    links: list[str]
    anchors: set[str]


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found = Page([], set())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.found.links.append(value)
            elif name in ("id", "name") and value:
                self.found.anchors.add(value)


@cache
def parsed(path: Path) -> Page:
    reader = _Links()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader.found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with every warning as an error: a link that leads nowhere, a page that no other lists, a type without a page."""
    out = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going", "-d", out / "doctrees", "-c", "docs/site", "."]
    done = subprocess.run([*build, out / "html"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    return out / "html"


@pytest.mark.slow
def test_every_link_inside_the_site_leads_to_a_file_and_an_anchor(site: Path) -> None:
    assert [] == list(broken(site))


def broken(site: Path) -> Iterator[tuple[str, str]]:
    for page in sorted(site.rglob("*.html")):
        for link in parsed(page).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            html = target.suffix == ".html" and target.exists()
            if not target.exists() or (parts.fragment and html and unquote(parts.fragment) not in parsed(target).anchors):
                yield str(page.relative_to(site)), link


def test_every_page_that_the_readme_lists_is_in_the_site(site: Path) -> None:
    pages = [path for _, paths in LISTED for path in paths]
    assert len(pages) > 40
    assert [] == [path for path in pages if not (site / path).with_suffix(".html").exists()]


def test_every_public_name_has_an_anchor_on_a_page_of_the_api(site: Path) -> None:
    anchors = {anchor for page in (site / "docs/reference/api").glob("*.html") for anchor in parsed(page).anchors}
    assert [] == [name for name in PUBLIC if name not in anchors and f"module-{name}" not in anchors]


@pytest.mark.parametrize("task", generate.TASKS)
def test_each_class_that_a_signature_names_is_public_or_in_the_table_of_the_page(task: str) -> None:
    module, names = generate.names_of(task)
    named = {kind for name in names for kind in generate.classes_named(getattr(module, name))}
    text = (ROOT / f"docs/reference/api/{task}.md").read_text(encoding="utf-8")
    assert [] == [kind for kind in named if not generate.is_public(kind) and f"| `{kind.__name__}` |" not in text]


@pytest.mark.parametrize(
    ("thing", "kind"),
    [
        (overseer.JobGraph, overseer.Node),  # what a method returns
        (factstore.dumps.dump, factstore.dumps.Manifest),
        (factstore.Explanation, ExplainedStep),  # a field
        (overseer.JobStore, Allowance),  # by its module
        (factstore.Database, Schema),  # imported for annotations only
    ],
)
def test_the_classes_that_signatures_name_are_found(thing: Any, kind: type) -> None:
    assert kind in set(generate.classes_named(thing))


def test_the_types_of_a_signature_are_links(site: Path) -> None:
    links = parsed(site / "docs/reference/api/store.html").links
    assert {"#factstore.Connection", "transact.html#factstore.TxReport"} <= set(links)
    assert "https://docs.python.org/3/library/datetime.html#datetime.datetime" in links


def test_the_first_file_of_the_site_leads_to_the_readme(site: Path) -> None:
    assert 'url=README.html"' in (site / "index.html").read_text(encoding="utf-8")


def test_llms_txt_lists_the_pages_and_llms_full_txt_contains_them(site: Path) -> None:
    index, full = ((site / name).read_text(encoding="utf-8") for name in ("llms.txt", "llms-full.txt"))
    linked = re.findall(r"^- \[[^\]]+\]\(([^)]+)\): ", index, re.MULTILINE)
    assert [path.removesuffix(".md") + ".html" for _, paths in LISTED for path in paths] == linked
    assert [] == [link for link in linked if not (site / link).exists()]
    for path in ("README.md", "docs/how-to/retry-safely.md", "docs/reference/api/query.md"):
        assert (ROOT / path).read_text(encoding="utf-8").strip() in full


@pytest.fixture(scope="module")
def view(browser: Any) -> Iterator[Any]:
    page = browser.new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("requestfailed", lambda request: page.problems.append(request.url))
    yield page
    page.close()


@pytest.mark.parametrize(
    ("words", "title"),
    [("excise", "Read the past, compare databases, and excise facts"), ("transact_async", "factstore.Connection.transact_async")],
)
def test_a_search_from_files_finds_the_page_without_a_server(site: Path, view: Any, words: str, title: str) -> None:
    view.goto((site / "index.html").as_uri())
    view.wait_for_url("**/README.html")
    view.locator("input[name=q]").first.fill(words)
    view.keyboard.press("Enter")
    view.wait_for_url("**/search.html?q=*")
    found = view.locator("#search-results li a", has_text=title).first
    found.click()
    view.wait_for_url(re.compile(r"/docs/.*\.html"))
    assert words in view.locator("article").inner_text().lower()
    assert [] == view.problems


TEXTS = st.lists(
    st.sampled_from(
        [
            "",
            "",
            "Args:",
            "Raises: ",
            "- ",
            "    ",
            "        ",
            ">>> 1",
            "`code`",
            "`",
            "*",
            "**",
            "|x|",
            "a_",
            "_a",
            ":x:",
            "[1]_",
            "x: y",
            "..",
            "\\",
            "::",
            "<a>",
        ]
    )
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=5),
    max_size=12,
)


@given(TEXTS, st.lists(st.booleans(), min_size=12, max_size=12))
def test_any_docstring_becomes_valid_markup(pieces: list[str], breaks: list[bool]) -> None:
    text = "".join(piece + ("\n" if end else " ") for piece, end in zip(pieces, breaks, strict=False))
    docutils.core.publish_doctree("\n".join(docstrings.rst(text)), settings_overrides={"halt_level": 2, "report_level": 5})


def test_a_docstring_keeps_its_parts() -> None:
    text = "Do *it* with `x`.\n\nArgs:\n    **a: first\n        line.\nRaises: `Bad`.\n\n>>> 1\n1\n\n    as it stands"
    shown = docutils.core.publish_doctree("\n".join(docstrings.rst(text))).pformat()
    for part in ("Do *it* with ", "<literal>\n            x", "param a", "first line.", "Raises", "<doctest_block", "as it stands"):
        assert part in shown


def test_a_name_that_has_a_page_becomes_a_link() -> None:
    assert "\\ :py:obj:`Rows <factstore.Rows>`\\ " in docstrings.rst("See `Rows` and `rows`.", {"Rows": "factstore.Rows"}.get)[0]


def test_the_types_of_a_package_that_is_not_installed_do_not_stop_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["from typing import TYPE_CHECKING", "if TYPE_CHECKING:", "    import not_installed", "    from decimal import Decimal"]
    (tmp_path / "annotated_names.py").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("annotated_names")
    api.import_annotated_types(module)
    assert "decimal.Decimal" == f"{module.Decimal.__module__}.{module.Decimal.__qualname__}"


def test_the_groups_of_pages_are_the_bullets_of_the_section() -> None:
    text = "# A\n\n- No: [x](x.md)\n\n## Documentation\n\n- One: [a](a.md), [b](c/b.md#x),\n  [c](c.md).\n- Two: [s](https://x.md)\n\n## More\n"
    assert [("One", ["a.md", "c.md"]), ("Two", [])] == contents.groups(text)
