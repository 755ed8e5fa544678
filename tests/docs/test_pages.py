"""README, documentation, docstrings and examples: what they say happens, happens."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import factstore
import overseer
from tests.docs.runner import run_page

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), ROOT / "tests/README.md", ROOT / "benchmarks/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))
MODULES = [
    found.name
    for package in (factstore, overseer)
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not found.name.startswith("overseer.demo") and not found.name.endswith("__main__")
]
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
FRAGMENT = re.compile(r"\]\((?!https?:|mailto:)(?P<path>[^)#\s]*)#(?P<heading>[^)\s]+)\)")
HEADING = re.compile(r"^#+ (?P<text>.+)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)(?P<path>[^)#\s]+)")


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_the_python_of_a_page_runs_and_gives_what_the_page_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page)


def test_the_readme_shows_the_fact_store_and_jobs_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_page(ROOT / "README.md") >= 2


def test_each_of_twenty_tasks_of_datomic_is_shown_in_clojure_and_runs_in_python() -> None:
    tasks = (ROOT / "docs/how-to/coming-from-datomic.md").read_text(encoding="utf-8").split("\n## ")[1:]
    assert 20 == len(tasks)
    for task in tasks:
        assert (1, 1) == (task.count("```clojure"), task.count("```python")), task


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    words = CODE.sub("", page.read_text(encoding="utf-8"))
    links = [found["path"] for found in LINK.finditer(words)]
    assert [] == [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_a_link_to_a_heading_names_one_that_the_page_has(page: Path) -> None:
    links = [(found["path"], found["heading"]) for found in FRAGMENT.finditer(CODE.sub("", page.read_text(encoding="utf-8")))]
    assert [] == [link for link in links if link[1] not in headings(page.parent / link[0] if link[0] else page)]


def headings(page: Path) -> set[str]:
    """Return the names by which GitHub links to the headings of a page."""
    texts = (found["text"] for found in HEADING.finditer(page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_are_true(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert 0 == result.failed


@pytest.mark.parametrize("example", EXAMPLES, ids=relative)
def test_an_example_prints_what_its_last_lines_say(example: Path, tmp_path: Path) -> None:
    """The answer stands in the file's closing comment, so that a reader sees it without running anything."""
    text = example.read_text(encoding="utf-8")
    source, _, answer = text.partition("\n# prints:\n")
    expected = "".join(line.removeprefix("#").removeprefix(" ") for line in answer.splitlines(keepends=True))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, str(example)], cwd=tmp_path, env=env, capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    assert (0, expected) == (done.returncode, done.stdout), done.stderr
    assert source.count("\n") < 60


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 2


def test_the_reference_is_what_its_script_makes_of_the_source() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/reference/generate.py"), "--check"], capture_output=True, text=True, timeout=60, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr


def test_each_class_of_an_error_on_the_page_of_errors_can_be_caught() -> None:
    rows = (ROOT / "docs/reference/errors.md").read_text(encoding="utf-8").split("\n| `:")[1:]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row.split(" | ")[1])}
    modules = [importlib.import_module(name) for name in ("factstore", "factstore.errors", "factstore.testing", "overseer")]
    kinds = {name: next((getattr(module, name) for module in modules if hasattr(module, name)), None) for name in named}
    assert len(kinds) > 20
    assert [] == [name for name, kind in kinds.items() if not (isinstance(kind, type) and issubclass(kind, Exception))]


def test_the_readme_states_the_purpose_and_the_cost_of_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Install\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    assert sorted(extras) == sorted(name for row in rows for name in re.findall(r"`([\w-]+)`", row))


def test_the_readme_lists_every_page() -> None:
    """Its section *Documentation* is the table of contents, also of the site; other pages list the decisions and the API."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Documentation\n")[2]
    listed = {found["path"] for found in LINK.finditer(section)}
    pages = [relative(page) for page in PAGES if page.parent.name not in ("decisions", "api")]
    assert [] == [page for page in pages if page not in listed and page != "README.md"]
