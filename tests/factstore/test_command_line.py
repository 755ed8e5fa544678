"""The command line of the store, given what cannot work: one line on stderr, an exit code that says what kind of error it is, and no trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import factstore
from factstore.cli import main
from factstore.dumps import dump
from tests.factstore.tx import PEOPLE

ROOT = Path(__file__).parent.parent.parent
OVERSEER = ["overseer", "worker", "waiting:HANDLERS", "--store", "s.facts"]
REFUSED, USAGE, UNAVAILABLE, DAMAGED, INTERRUPTED = 1, 2, 3, 4, 130
MODULES = {
    "raising": "raise RuntimeError('at import')",
    "leaving": "raise SystemExit(0)",
    "interrupting": "raise KeyboardInterrupt('by the module')",
    "unwinding": "class Stop(BaseException): pass\nraise Stop('everything')",
    "unshowable": "class Odd(Exception):\n    def __str__(self): raise RuntimeError\nraise Odd",
    "of_syntax": "def (",
    "waiting": "import time\nprint('here', flush=True)\ntime.sleep(60)",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store, a dump, a damaged dump, migrations of which one is wrong, and files of other kinds; it is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # the import of a module here makes no folder
    with factstore.connect("s.facts") as conn:
        conn.transact(PEOPLE)
        dump(conn, "d.edn")
    Path("short.edn").write_text(Path("d.edn").read_text(encoding="utf-8")[:-50], encoding="utf-8")
    Path("other").write_text("no store", encoding="utf-8")
    Path("latin.edn").write_bytes(b'[{:u/login "\xff"}]')
    for folder, text in (("unread", "[\n {:u/login"), ("rejected", "[{:u/nothing 5}]"), ("bytes", "")):
        Path(folder).mkdir()
        Path(folder, "1.edn").write_text(text, encoding="utf-8")
    Path("bytes", "1.edn").write_bytes(b"\xff")
    for name, code in MODULES.items():
        Path(f"{name}.py").write_text(f"{code}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def run(line: str) -> Result:
    return CliRunner().invoke(main, line.split())


@pytest.mark.parametrize(
    ("line", "code", "part"),
    [
        ("stats -s none.facts", UNAVAILABLE, "there is no store at"),
        ("stats -s other", UNAVAILABLE, "is not a fact store"),
        ("stats -s .", UNAVAILABLE, "is a directory"),
        ("stats -s \udcff", UNAVAILABLE, "expected the path of a store"),
        ("stats -s foo:bar", UNAVAILABLE, "no storage engine is called 'foo'"),
        ("stats -s ~nobody-like-this/s.facts", UNAVAILABLE, "home directory"),
        ("check -s none/s.facts", UNAVAILABLE, "there is no directory"),
        ("reindex -s none.facts", UNAVAILABLE, "there is no store at"),
        ("gc -s none.facts", UNAVAILABLE, "there is no store at"),
        ("log -s s.facts --from -1", USAGE, "'-1' is neither a t nor a time"),
        ("log -s s.facts --to x", USAGE, "'x' is neither a t nor a time"),
        ("dump -s s.facts none/d.edn", UNAVAILABLE, "none/d.edn: No such file or directory"),
        ("dump -s s.facts bytes", UNAVAILABLE, "bytes: it is a directory"),
        ("dump -s s.facts x.edn --only :u/nothing", REFUSED, "no attribute :u/nothing is declared"),
        ("dump -s s.facts x.edn --to -5", REFUSED, "expected t, a transaction's id or an aware datetime, got -5"),
        ("undump -s n.facts none.edn", UNAVAILABLE, "none.edn: No such file or directory"),
        ("undump -s n.facts bytes", UNAVAILABLE, "bytes: Is a directory"),
        ("undump -s n.facts short.edn", DAMAGED, "is no whole dump"),
        ("undump -s n.facts other", DAMAGED, "is no whole dump"),
        ("undump -s none/n.facts d.edn", UNAVAILABLE, "there is no directory"),
        ("undump -s s.facts d.edn", REFUSED, "exists already"),
        ("undump -s memory:x d.edn", USAGE, "is not the path of a file"),
        ("replay -s s.facts none.edn", UNAVAILABLE, "none.edn: No such file or directory"),
        ("replay -s s.facts short.edn", DAMAGED, "is no whole dump"),
        ("replay -s s.facts other", DAMAGED, "line 1"),
        ("replay -s s.facts d.edn --from -1", REFUSED, "expected the t of a transaction in the dump, got -1"),
        ("backup -s none.facts b.facts", UNAVAILABLE, "there is no store at"),
        ("backup -s s.facts none/b.facts", UNAVAILABLE, "there is no directory"),
        ("restore -s n.facts none.facts", UNAVAILABLE, "there is no store at"),
        ("restore -s n.facts s.facts --to -1", USAGE, "--to is the t of a transaction, got -1"),
        ("restore -s s.facts s.facts", REFUSED, "exists already"),
        ("migrate -s s.facts none", REFUSED, "expected a folder of .edn files"),
        ("migrate -s s.facts unread", REFUSED, "unread/1.edn: expected } to close {, got the end of the text (line 2, column 2)"),
        ("migrate -s s.facts rejected", REFUSED, "migration 1: :u/nothing is not an attribute"),
        ("migrate -s s.facts bytes", REFUSED, "bytes/1.edn cannot be read"),
        ("migrate -s s.facts rejected --import no.such", USAGE, "the module 'no.such' cannot be imported: ModuleNotFoundError"),
        ("migrate -s s.facts rejected --import raising", USAGE, "the module 'raising' cannot be imported: RuntimeError: at import"),
        ("migrate -s s.facts rejected --import leaving", USAGE, "the module 'leaving' cannot be imported: SystemExit: 0"),
        ("migrate -s s.facts rejected --import interrupting", USAGE, "KeyboardInterrupt: by the module"),
        ("migrate -s s.facts rejected --import unwinding", USAGE, "Stop: everything"),
        ("migrate -s s.facts rejected --import unshowable", USAGE, "the module 'unshowable' cannot be imported: Odd"),
        ("load -s n.facts d.edn --import of_syntax", USAGE, "the module 'of_syntax' cannot be imported: SyntaxError"),
        ("load -s n.facts d.edn --import unwinding", USAGE, "the module 'unwinding' cannot be imported: Stop: everything"),
        ("migrate -s s.facts rejected --import ./x.py", USAGE, "the module './x.py' cannot be imported"),
        ("load -s n.facts none.edn", UNAVAILABLE, "none.edn is no file"),
        ("load -s n.facts latin.edn", REFUSED, "line 1, column 13"),
    ],
)
def test_what_cannot_work_is_one_line_and_an_exit_code(home: Path, line: str, code: int, part: str) -> None:
    before = sorted(path.name for path in home.iterdir())
    done = run(line)
    assert code == done.exit_code, done.output
    assert part in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert code == USAGE or 1 == len(done.output.splitlines())
    made = [path.name for path in home.iterdir() if path.name not in before and not path.name.startswith(("s.facts-", "n.facts"))]
    assert [] == made
    assert line.startswith("load") or not (home / "n.facts").exists()


@pytest.mark.parametrize("command", [["factstore", "load", "d.edn", "-s", "n.facts", "--import", "waiting"], OVERSEER])
def test_ctrl_c_while_a_module_is_imported_interrupts_the_command(home: Path, command: list[str]) -> None:
    path = os.pathsep.join((str(home), str(ROOT)))
    ran = subprocess.Popen(
        [sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    with ran:
        assert ran.stdout is not None
        assert "here\n" == ran.stdout.readline()
        ran.send_signal(signal.SIGINT)
        _, errors = ran.communicate()
    assert INTERRUPTED == ran.returncode
    assert errors.strip().endswith("interrupted")
    assert 1 == len(errors.strip().splitlines())


def test_a_new_store_is_there_only_when_it_is_whole(home: Path) -> None:
    assert 0 == run("undump -s n.facts d.edn").exit_code
    assert 0 == run("restore -s r.facts n.facts").exit_code
    with factstore.connect("r.facts", create=False) as conn:
        assert 1 == conn.db().basis_t
    assert [] == [path.name for path in home.iterdir() if path.name.startswith(".")]


def test_values_that_the_terminal_cannot_show_are_escaped(home: Path) -> None:
    with factstore.connect("s.facts") as conn:
        conn.transact([{":u/login": "😀"}])
    command = [sys.executable, "-m", "factstore", "log", "-s", "s.facts"]
    done = subprocess.run(command, capture_output=True, env={"PYTHONIOENCODING": "latin-1", "PATH": ""}, check=False)
    assert 0 == done.returncode
    assert b"" == done.stderr
    assert b"\\U0001f600" in done.stdout


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    "command", ["factstore stats -s s.facts", "factstore shell s.facts", "factstore mcp s.facts", "factstore gc -s s.facts"]
)
def test_a_stream_that_is_closed_is_an_empty_one(home: Path, command: str, closed: str) -> None:
    shell = f"exec {sys.executable} -m {command} {closed}"
    done = subprocess.run(["sh", "-c", shell], input="", capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, check=False)
    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize(
    ("command", "code", "part"),
    [
        ("factstore stats -s s.facts", UNAVAILABLE, "s.facts cannot be opened: the current directory was deleted"),
        ("factstore q '[:find ?e . :where [?e :db/ident :db/doc]]' -s {home}/s.facts --import noting", 0, ""),
        ("overseer worker noting:HANDLERS --store {home}/s.facts --until-idle", 0, ""),
    ],
)
def test_a_command_runs_in_a_directory_that_was_deleted(home: Path, command: str, code: int, part: str) -> None:
    (home / "noting.py").write_text("HANDLERS = {':a': print}")
    shell = f"mkdir gone; cd gone; rmdir ../gone; exec {sys.executable} -m {command.format(home=home)}"
    path = os.pathsep.join((str(home), str(ROOT)))
    done = subprocess.run(
        ["sh", "-c", shell], capture_output=True, text=True, env={"PYTHONPATH": path, "PATH": os.environ["PATH"]}, check=False
    )
    assert code == done.returncode, done.stderr
    assert part in done.stderr and "Traceback" not in done.stderr
