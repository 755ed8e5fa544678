"""Habits that a reader of the source may count on."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, modules

VAGUE = re.compile(r"(^|_)(utils?|helpers?|managers?|misc|common|stuff)(_|$)", re.IGNORECASE)
NAKED = re.compile(r"\b(FIXME|XXX|HACK|TODO(?!\(#\d+\)))\b")


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
