"""Runs the Python in a Markdown page: the blocks of a page, top to bottom, are one program.

block   = a fence whose info string is `python`, or `python raises=NAME` for one that must end in that error
answer  = a comment `# → VALUE` after an expression, or alone on the next line: an equal value, or the text that the value prints as

As a script, `python tests/docs/runner.py PAGE…` runs pages in the current folder. It uses the packages that are installed and imports
nothing else of this repository, so that the pages can be checked against a wheel.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

FENCE = re.compile(r"^```python(?: raises=(?P<error>\w+))?\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
ANSWER = re.compile(r"# → (?P<text>.*)$")
ALONE = re.compile(r"^# → ")


class Block(NamedTuple):
    code: str
    line: int  # of its first line of code, counted from 1
    error: str | None


def blocks(text: str) -> Iterator[Block]:
    for found in FENCE.finditer(text):
        yield Block(found["code"], text.count("\n", 0, found.start("code")) + 1, found["error"])


def run_page(path: Path) -> int:
    """Run a page's blocks; return how many there were. Raises what a block raises, with the page's name and line in the trace."""
    # A module of its own, since dataclasses look up the module that they stand in.
    module = sys.modules[path.stem] = ModuleType(path.stem)
    try:
        return _run_blocks(path, vars(module))
    finally:
        del sys.modules[path.stem]


def _run_blocks(path: Path, scope: dict[str, Any]) -> int:
    count = 0
    for count, block in enumerate(blocks(path.read_text(encoding="utf-8")), 1):  # noqa: B007
        try:
            _run(block, path, scope)
        except Exception as error:
            if type(error).__name__ != block.error:
                raise
        else:
            assert block.error is None, f"{path}:{block.line}: expected {block.error}, and nothing was raised"
    return count


def _run(block: Block, path: Path, scope: dict[str, Any]) -> None:
    lines = [*block.code.splitlines(), ""]
    for node in ast.parse("\n" * (block.line - 1) + block.code, str(path)).body:
        assert node.end_lineno is not None
        last, following = lines[node.end_lineno - block.line :][:2]
        answer = ANSWER.search(following if ALONE.match(following) else last)
        if isinstance(node, ast.Expr) and answer:
            _compare(eval(compile(ast.Expression(node.value), str(path), "eval"), scope), answer["text"], scope, f"{path}:{node.lineno}")
        else:
            exec(compile(ast.Module([node], []), str(path), "exec"), scope)


def _compare(got: Any, text: str, scope: dict[str, Any], where: str) -> None:
    if repr(got) == text:
        return
    try:
        expected = eval(text, scope)
    except (SyntaxError, NameError):
        expected = None
    assert expected == got, f"{where}: the page says {text}, it is {got!r}"


def main() -> None:
    for page in map(Path, sys.argv[1:]):
        count = run_page(page)
        assert count, f"{page}: expected blocks of Python, found none"
        print(f"{page.name}: {count} blocks of Python ran as the page says")


if __name__ == "__main__":
    main()
