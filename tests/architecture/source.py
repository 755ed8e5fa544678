"""The source of both packages, as the architecture tests look at it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("factstore", "overseer")


class Function(NamedTuple):
    """A function of the source, its docstring and decorators included."""

    where: str
    lines: int
    complexity: int  # McCabe's: one more than the number of branches


_BRANCHES = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.comprehension,
    ast.match_case,
    ast.Lambda,
)


def modules(*packages: str) -> list[Path]:
    return sorted(path for package in packages or PACKAGES for path in (ROOT / package).rglob("*.py"))


def folders() -> list[Path]:
    return sorted({path.parent for path in modules()})


def functions(package: str) -> list[Function]:
    return [found for path in modules(package) for found in _functions(path)]


def _functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            where = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
            yield Function(where, node.end_lineno - node.lineno + 1, _complexity(node))


def _complexity(function: ast.AST) -> int:
    """Return the cyclomatic complexity of a function, without that of the functions and classes inside it (McCabe, 1976)."""
    branches, inner = 1, list(ast.iter_child_nodes(function))
    while inner:
        node = inner.pop()
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            branches += isinstance(node, _BRANCHES)
            inner += ast.iter_child_nodes(node)
    return branches
