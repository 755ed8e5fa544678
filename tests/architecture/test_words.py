"""Habits that a reader of the source and of its documentation may count on."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture import words
from tests.architecture.source import ROOT, modules

VAGUE = re.compile(r"(^|_)(utils?|helpers?|managers?|misc|common|stuff)(_|$)", re.IGNORECASE)
NAKED = re.compile(r"\b(FIXME|XXX|HACK|TODO(?!\(#\d+\)))\b")
# Written from docstrings, help texts and messages, so they are as plain as the source.
GENERATED = {"api.md", "cli.md", "errors.md", "job-attributes.md", "settings.md"}
PAGES = [
    *(
        ROOT / name
        for name in (
            "README.md",
            "CONTRIBUTING.md",
            "SECURITY.md",
            "benchmarks/README.md",
            "tests/README.md",
            "tests/conformance/README.md",
        )
    ),
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name not in GENERATED and path.parent.name != "api"),
    *sorted((ROOT / ".github").rglob("*.md")),
]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield re.sub(r"(?<=[a-z])(?=[A-Z])", "_", node.name)


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_a_module_opens_with_what_it_owns(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not text.strip() or ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_names_say_what_a_thing_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [] == [name for name in (path.stem, *names(tree)) if VAGUE.search(name)]


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_what_is_left_to_do_is_an_issue_with_a_number(path: Path) -> None:
    assert [] == [line for line in path.read_text(encoding="utf-8").splitlines() if NAKED.search(line)]


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_no_error_is_swallowed_unnamed(path: Path) -> None:
    handlers = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ExceptHandler))
    broad = [node for node in handlers if node.type is None or (isinstance(node.type, ast.Name) and node.type.id.endswith("Exception"))]
    assert [] == [f"{relative(path)}:{node.lineno}" for node in broad if all(isinstance(x, ast.Pass) for x in node.body)]


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_a_page_uses_plain_words(page: Path) -> None:
    text = words.of_page(page.read_text(encoding="utf-8"))
    assert [] == [*words.phrases(text, list(words.INSTEAD)), *words.headless(text)]


def test_the_changelog_uses_plain_words_for_what_is_not_released_yet() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    text = words.of_page(re.split(r"^## \[\d", changelog, maxsplit=1, flags=re.MULTILINE)[0])
    assert [] == [*words.phrases(text, list(words.INSTEAD)), *words.headless(text)]


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_docstrings_comments_and_messages_use_plain_words(path: Path) -> None:
    assert [] == [found for text in words.of_source(path) for found in words.phrases(text, list(words.INSTEAD))]


def test_a_phrase_is_found_with_its_line_and_code_is_left_alone() -> None:
    page = "A line.\n\n```text\nfor ever\n```\n\n`anew` is code. It is built anew.\nWhat is old is deleted. What is old?"
    text = words.of_page(page)
    assert ["line 7: 'anew'; instead: again, from the log"] == list(words.phrases(text, list(words.INSTEAD)))
    assert ["line 8: 'What is old is deleted.'; instead: name the subject"] == list(words.headless(text))
