"""Files and folders that pages name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A page names a file from the top of the repository or from one of the packages, or, without a folder, by its name alone.
BASES = (ROOT, ROOT / "factstore", ROOT / "overseer")
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "tests/README.md", "benchmarks/README.md")),
    *(ROOT / "docs" / name for name in ("architecture.md", "glossary.md", "explanation/failures.md")),
    *sorted((ROOT / "docs/decisions").glob("*.md")),
]
PATH = re.compile(
    r"(?<![\w/.*{-])(?:[\w.-]+/)*[\w-]+\.(?:py|edn|svg)\b|(?<![\w/.*{-])(?:(?:factstore|overseer|tests|docs|benchmarks|examples)/)+(?:[\w-]+/)*"
)
CODE = re.compile(r"^```\n.*?^```$|^ {4}.*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
# Files that users of the packages have, not this repository.
OF_USERS = frozenset({"run_peers.py", "001-phone.edn", "001-colors.edn", "people.edn", "log.edn", "batches.svg"})


def exists(name: str, names: frozenset[str]) -> bool:
    return any((base / name).exists() for base in BASES) or ("/" not in name and name in names)


@pytest.fixture(scope="module")
def names() -> frozenset[str]:
    return frozenset(path.name for top in ("factstore", "overseer", "tests", "benchmarks", "docs") for path in (ROOT / top).rglob("*"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_files_and_folders_that_exist(page: Path, names: frozenset[str]) -> None:
    text = page.read_text(encoding="utf-8")
    paths = {match[0] for code in CODE.finditer(text) for match in PATH.finditer(code[0])}
    assert [] == sorted(path for path in paths if path not in OF_USERS and not exists(path, names))


def test_the_page_about_the_source_names_many_of_its_files() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert len({match[0] for code in CODE.finditer(page) for match in PATH.finditer(code[0])}) >= 20
