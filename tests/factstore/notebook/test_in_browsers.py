"""The slider in JupyterLab and in marimo, in a real browser: moving it shows the past."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port

START = 120_000  # milliseconds until a page that never comes fails the test
STORE = """
import factstore
from factstore.notebook import slider

conn = factstore.connect("memory:")
conn.transact("[{:db/ident :order/status, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one}]")
order = conn.transact([{":db/id": "order", ":order/status": "is-open"}]).tempids["order"]
for status in ("is-paid", "is-sent"):
    conn.transact([{":db/id": order, ":order/status": status}])
"""
VIEW = 'lambda db: db.rows("[:find ?status :where [_ :order/status ?status]]")'
# The indicator shows "idle" before the kernel is connected, and a cell that runs earlier is lost.
RUN_ALL_CELLS = """async () => {
    const context = window.jupyterapp.shell.currentWidget.sessionContext;
    await context.ready;
    await context.session.kernel.info;
    void window.jupyterapp.commands.execute('notebook:run-all-cells');
}"""
MARIMO = f"""
import marimo

app = marimo.App()


@app.cell
def _():
{"".join(f"    {line}" for line in STORE.strip().splitlines(keepends=True))}
    return conn, slider


@app.cell
def _(conn, slider):
    slider(conn, {VIEW})
    return
"""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def serving(folder: Path, *command: str) -> Iterator[int]:
    """Run a server on a free port of this machine, with its settings in a folder."""
    port = free_port()
    places = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    environment = {
        **os.environ,
        **places,
        "IPYTHONDIR": str(folder / "ipython"),
        "XDG_CONFIG_HOME": str(folder),
        "XDG_CACHE_HOME": str(folder),
        "XDG_STATE_HOME": str(folder),
    }
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *command, f"--port={port}"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        until = time.monotonic() + START / 1000
        while not listens(port):  # neither server tells when it does
            assert server.poll() is None and time.monotonic() < until, (folder / "log").read_text()[-2_000:]
            time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait()


def moves(page: Any) -> None:
    """Move the slider with the keyboard and with the pointer; the value is that of the moment each time."""
    handle = page.locator(".factstore-slider input[type=range]")
    value = page.locator(".factstore-value")
    value.get_by_text("is-sent").wait_for()
    handle.focus()
    handle.press("ArrowLeft")
    value.get_by_text("is-paid").wait_for()
    handle.press("Home")
    value.get_by_text("0 rows").wait_for()
    assert "before the first transaction" in page.locator(".factstore-moment").inner_text()
    handle.evaluate("""range => { for (const t of [1, 2, 3, 2]) { range.value = t; range.dispatchEvent(new Event("input")); } }""")
    value.get_by_text("is-open").wait_for()
    handle.press("End")
    value.get_by_text("is-sent").wait_for()


@pytest.mark.slow
def test_in_jupyterlab(browser: Any, tmp_path: Path) -> None:
    import nbformat  # here, as it takes more than a second, which every process of the tests would spend

    cells = [STORE, f"slider(conn, {VIEW})"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata=kernel)
    (tmp_path / "shop.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    options = (
        "--no-browser",
        "--IdentityProvider.token=",
        "--ServerApp.allow_root=True",
        "--LabApp.expose_app_in_browser=True",
        f"--ServerApp.root_dir={tmp_path}",
    )
    with serving(tmp_path, "jupyterlab", *options) as port:
        page = browser.new_page()
        page.set_default_timeout(START)
        page.goto(f"http://127.0.0.1:{port}/lab/tree/shop.ipynb")
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()  # the notebook is open
        page.evaluate(RUN_ALL_CELLS)
        moves(page)
        page.close()


def test_in_marimo(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(MARIMO, encoding="utf-8")
    with serving(tmp_path, "marimo", "--yes", "run", "shop.py", "--headless", "--no-token", "--host=127.0.0.1") as port:
        page = browser.new_page()
        page.set_default_timeout(START)
        page.goto(f"http://127.0.0.1:{port}/")
        moves(page)
        page.close()
