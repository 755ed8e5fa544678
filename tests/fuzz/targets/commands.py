"""Targets: the words of the two command lines."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

from click.testing import CliRunner

import factstore
import overseer
from factstore.cli import main as factstore_main
from factstore.dumps import dump
from overseer import cron
from overseer.cli import main as overseer_main
from tests.fuzz.targets.settings import TOMLS
from tests.fuzz.targets.store import FORMS, PEOPLE, SCHEMA

ENDLESS: Final = {"console", "transactor", "mcp", "-f", "--follow", "demo", "-w", "--watch"}  # until they are stopped, or for long


def _invoke(command: Any, arguments: Sequence[str]) -> None:
    done = CliRunner().invoke(command, list(arguments))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise AssertionError(f"{arguments!r} raised") from done.exception
    assert done.exit_code in (0, 1, 2, 3, 4), f"{arguments!r} ended with {done.exit_code}"
    assert "Traceback" not in done.output or {"-v", "--verbose"} & set(arguments), f"{arguments!r} showed a traceback"


WORDS: Final = (
    *(
        "",
        "-",
        "--",
        "-1",
        "0",
        "1",
        "2",
        "99999999999999999999",
        "9" * 5000,
        "1e9",
        "inf",
        "nan",
        "x",
        ":",
        ":a",
        "a:b",
        "a/b",
        "\udcff",
        "é",
    ),
    *("1d", "9999999999d", "٣d", "-5s", "d", "2026-01-01", "2026-01-01T00:00Z", "0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00"),
    *("/", "/nonexistent/x", "/dev/null", "/etc/passwd", "memory:", "memory:x", "lmdb:", "foo:bar", ".", "~nobody/x", "x" * 300, "a b"),
    *(
        "--help",
        "--json",
        "--to",
        "--from",
        "--store",
        "--only",
        "--dry-run",
        ":p/name",
        ":db/ident",
        "finished",
        "failed",
        "[:find",
        "[[[",
    ),
)


@cache
def folder() -> Path:
    """Return a folder with a store, a damaged one, a dump, settings and migrations; it is left when the process ends."""
    home = Path(tempfile.mkdtemp(prefix="fuzz-"))
    with factstore.connect(str(home / "s.facts")) as conn:
        overseer.install(conn)
        conn.transact(SCHEMA)
        conn.transact(PEOPLE)
        conn.transact([overseer.job_txn("mail", id="j1"), cron.schedule("s", "* * * * *", "mail"), overseer.queue("q", limit=1)])
        dump(conn, home / "d.edn")
    (home / "broken.edn").write_text((home / "d.edn").read_text(encoding="utf-8")[:-100], encoding="utf-8")
    (home / "broken.facts").write_bytes(b"no store" * 1000)
    (home / "m").mkdir()
    (home / "m" / "1.edn").write_text(FORMS[0], encoding="utf-8")
    (home / "bad").mkdir()
    (home / "bad" / "1.edn").write_text("[{:p/name", encoding="utf-8")
    (home / "c.toml").write_text(TOMLS[1], encoding="utf-8")
    (home / "bad.toml").write_text("store = [", encoding="utf-8")
    (home / "handlers.py").write_text("HANDLERS = {'mail': lambda job: None}\nWRONG = 5\n", encoding="utf-8")
    (home / "raising.py").write_text("raise ValueError('at import')\n", encoding="utf-8")
    return home


def _words(rng: Random, command: Any) -> list[str]:
    """Return arguments for a command: its name, most of what it wants, and odd words in between."""
    home = folder()
    os.chdir(home)
    files = [str(path) for path in home.iterdir() if "new" not in path.name] + [str(home / f"new-{rng.randrange(10**9)}")]
    name = rng.choice(sorted(command.commands)) if rng.random() < 0.95 else rng.choice(WORDS)
    words = [name]
    for parameter in getattr(command.commands.get(name), "params", ()):
        if rng.random() < (0.95 if parameter.required else 0.3):
            option = [rng.choice(parameter.opts)] if parameter.param_type_name == "option" else []
            wanted = str(home / "s.facts") if "store" in parameter.name or parameter.name == "uri" else rng.choice((*files, *WORDS))
            given = wanted if rng.random() < 0.7 else rng.choice((*files, *WORDS))
            words += option if getattr(parameter, "is_flag", False) else [*option, given]
    if rng.random() < 0.3:
        words.insert(rng.randint(1, len(words)), rng.choice(WORDS))
    return words


def factstore_command(rng: Random) -> None:
    words = _words(rng, factstore_main)
    if not ENDLESS & set(words):
        _invoke(factstore_main, words)


def overseer_command(rng: Random) -> None:
    words = _words(rng, overseer_main)
    if ENDLESS & set(words):
        return
    if words[0] == "worker":
        names = (
            "handlers:HANDLERS",
            "handlers:WRONG",
            "handlers",
            ":HANDLERS",
            "./handlers.py:HANDLERS",
            "no.such:x",
            "raising:X",
            "a:b:c",
            "..x:y",
        )
        words = [
            "worker",
            rng.choice(names),
            *words[2:],
            "--until-idle",
            "--config" if rng.random() < 0.2 else "--verbose",
            *rng.choices(("c.toml",), k=0),
        ]
        words = [word for word in words if word not in ("--executor", "processes")]
    _invoke(overseer_main, words)


TARGETS: Final[dict[str, Callable[[Random], None]]] = {
    "factstore": factstore_command,
    "overseer": overseer_command,
}
