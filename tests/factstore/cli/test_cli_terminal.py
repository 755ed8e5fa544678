"""The commands on a real terminal: what a person sees, also with wide characters, without colors, and after Ctrl-C."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import factstore

pexpect = pytest.importorskip("pexpect")
pyte = pytest.importorskip("pyte")

ROWS = [
    ("Ann", "short"),
    ("日本語テキスト", "wide"),
    ("한국어", "also wide"),
    ("e\u0301te\u0301", "combining"),
    ("\x1b[2J\x1b]0;owned\x07", "controls"),
    ("x" * 100, "long"),
]
QUERY = "[:find ?name ?note :where [?e :p/name ?name] [?e :p/note ?note]]"
BARS = {"│", "┃"}
COLOR = re.compile(r"\x1b\[[0-9;]*(?:3[0-7]|38|4[0-7]|48|9[0-7])[0-9;]*m")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("terminal") / "s.facts")
    with factstore.connect(path) as conn:
        text = {":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"}
        conn.transact([{":db/ident": ":p/name", **text}, {":db/ident": ":p/note", **text}])
        conn.transact([{":p/name": name, ":p/note": note} for name, note in ROWS])
    return path


@contextmanager
def terminal(*arguments: str, columns: int = 60, **environment: str) -> Iterator[Any]:
    """Run a command on a terminal of a width."""
    bare = {
        "PATH": "/usr/bin:/bin",
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        "PYTHONUTF8": "1",
        "PYTHONPATH": str(Path(factstore.__file__).parent.parent),
    }
    process = pexpect.spawn(
        sys.executable, ["-m", "factstore", *arguments], dimensions=(40, columns), env={**bare, **environment}, encoding="utf-8", timeout=60
    )
    try:
        yield process
    finally:
        process.close(force=True)


def output(*arguments: str, columns: int = 60, **environment: str) -> str:
    with terminal(*arguments, columns=columns, **environment) as process:
        process.expect(pexpect.EOF)
        return str(process.before)


def screen_of(text: str, columns: int) -> list[list[str]]:
    """Return the cells of the lines on the screen of a terminal; a wide character has an empty cell after it."""
    screen = pyte.Screen(columns, 40)
    pyte.Stream(screen).feed(text)
    lines = [[screen.buffer[y][x].data for x in range(columns)] for y in range(40)]
    return [line for line in lines if "".join(line).strip()]


@pytest.mark.parametrize("columns", [60, 34])
def test_a_table_is_as_wide_as_its_borders_whatever_its_characters(store: str, columns: int) -> None:
    lines = screen_of(output("q", QUERY, "-s", store, columns=columns), columns)
    bars = [[x for x, cell in enumerate(line) if cell in BARS] for line in lines if BARS & set(line)]
    assert len(bars) > len(ROWS)
    assert 1 == len({tuple(each) for each in bars})
    shown = "".join("".join(line) for line in lines)
    assert "日本語" in shown
    assert "\\x1b[2J" in shown  # the text of a value controls no terminal


def test_no_color_and_a_dumb_terminal_are_respected(store: str) -> None:
    text = output("q", QUERY, "-s", store, NO_COLOR="1")
    assert not COLOR.search(text)
    assert "│" in text
    assert "│" not in output("q", QUERY, "-s", store, TERM="dumb")


def test_a_followed_log_shows_what_others_commit_and_ends_by_control_c(store: str) -> None:
    with terminal("log", "-s", store, "--follow", "-n", "1") as process:
        process.expect("t=2 ")
        with factstore.connect(store) as conn:
            t = conn.transact([{":p/name": "later"}]).t
        process.expect(f"t={t} .*later")
        process.sendintr()
        process.expect(pexpect.EOF)
        process.wait()
        assert 130 == process.exitstatus
        assert "Traceback" not in process.before
