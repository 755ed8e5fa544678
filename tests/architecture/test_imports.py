"""Who may import whom, and what an import may cost."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from tests.architecture.source import ROOT

LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
HEAVY = ("numpy", "click", "rich", "pandas", "lmdb", "msgpack", "asyncio", "starlette", "jinja2", "uvicorn", "mcp", "pydantic", "django")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = run(sys.executable, "-c", code)
    assert 0 == done.returncode, done.stderr
    return set(done.stdout.split())


def test_layers_import_downwards_only_and_every_module_has_its_layer() -> None:
    done = run(sys.executable, "-c", LINT)
    assert 0 == done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("heavy", HEAVY)
def test_importing_factstore_loads_nothing_heavy(heavy: str) -> None:
    assert heavy not in loaded_by("import factstore")


@pytest.mark.parametrize("heavy", ["numpy", "click", "rich", "pandas", "starlette", "mcp", "pydantic", "django"])
def test_importing_overseer_loads_nothing_heavy(heavy: str) -> None:
    assert heavy not in loaded_by("import overseer")


@pytest.mark.parametrize("name", ["Keyword", "Datom", "squuid", "register", "edn", "errors", "pull", "entity", "with_"])
def test_what_opens_no_store_does_not_load_numpy(name: str) -> None:
    """numpy takes longer to load than a program takes that only makes tx-data."""
    assert "numpy" not in loaded_by(f"import factstore; factstore.{name}")


def test_importing_starts_no_thread_and_opens_no_file() -> None:
    code = """
        import threading, os
        files = len(os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else 0
        import factstore, overseer
        assert threading.active_count() == 1
        assert not files or len(os.listdir('/proc/self/fd')) == files
    """
    done = run(sys.executable, "-c", textwrap.dedent(code))
    assert 0 == done.returncode, done.stderr


def test_importing_factstore_loads_no_notebook_and_no_shell() -> None:
    faces = {"factstore.notebook", "factstore.editing", "factstore.shell", "IPython", "anywidget", "prompt_toolkit"}
    assert set() == faces & loaded_by("import factstore, overseer")
    assert set() == {"IPython", "anywidget"} & loaded_by("import factstore; factstore.notebook; factstore.load_ipython_extension")
