"""Other job systems, measured by programs of their own on servers started for the run.

A folder holds `bench.py` and `crash.py`, which take a peer's name and print a line of JSON. PostgreSQL and Redis are started on this
machine, on loopback and a temporary folder, where they are installed; what needs a server or an interpreter that is not there is a
row with that reason.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.postgres import programs, running

POSTGRES, REDIS = 54329, 63790  # the ports that the programs expect
LIMIT = 400  # seconds for one program
REPEATS = 2
PATIENCE = 20  # seconds a killed worker's job is waited for

Cells = dict[str, dict[str, float | str]]  # by measure, by peer


class Peer(NamedTuple):
    """A job system: its label, the module it needs, its server, how many jobs it is given, and its settings."""

    label: str
    module: str
    server: str
    jobs: int
    env: dict[str, str]


PEERS = {
    "huey": Peer("Huey SQLite", "huey", "", 3_000, {}),
    "procrastinate": Peer("procrastinate", "procrastinate", "postgres", 1_000, {"CONC": "10"}),
    "oban": Peer("oban", "oban", "postgres", 1_000, {"CONC": "10"}),
    "dbos": Peer("DBOS", "dbos", "postgres", 1_000, {}),
    "dramatiq": Peer("dramatiq Redis", "dramatiq", "redis", 5_000, {"CONC": "8"}),
    "celery": Peer("Celery Redis", "celery", "redis", 1_500, {}),
}
MEASURES = (
    "enq_s",
    "enq_many_s",
    "w1_jobs_s",
    "w2_jobs_s",
    "w1_cpu_ms",
    "w2_cpu_ms",
    "lat_p50_ms",
    "lat_p95_ms",
    "crash_s",
)


@contextmanager
def servers() -> Iterator[dict[str, int]]:
    """Start the servers that are installed, and return their process ids."""
    with ExitStack() as stack:
        pids = {}
        if shutil.which("redis-server"):
            pids["redis"] = stack.enter_context(redis())
        if programs() is not None:
            server = stack.enter_context(running(port=POSTGRES))
            pids["postgres"] = int((server.data / "postmaster.pid").read_text().split()[0])
        yield pids


@contextmanager
def redis() -> Iterator[int]:
    """Run a server that stores nothing on disk, and return its process id."""
    command = ["redis-server", "--port", str(REDIS), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([*command, "--dir", folder], stdout=subprocess.PIPE, text=True) as server,
    ):
        try:
            assert server.stdout is not None
            assert any("Ready to accept connections" in line for line in server.stdout), "redis-server ended"
            yield server.pid
        finally:
            server.terminate()


def measured(folder: Path, python: str) -> Cells:
    """Run every peer's programs and return what they measured, or why not."""
    cells: Cells = {measure: {} for measure in MEASURES}
    with servers() as pids, tempfile.TemporaryDirectory() as scratch:
        copied = Path(shutil.copytree(folder, Path(scratch) / "programs"))  # they write beside themselves
        for name, peer in PEERS.items():
            reason, found = absent(peer, pids, python), {}
            if not reason:
                found, reason = run(name, peer, copied, python, pids)
            for measure in MEASURES:
                value = found.get(measure)
                if reason or value is not None:
                    cells[measure][peer.label] = reason or value or 0.0
            print(peer.label, reason or json.dumps(found), flush=True)
    return cells


def absent(peer: Peer, pids: dict[str, int], python: str) -> str:
    """Return what a peer lacks here."""
    if peer.server and peer.server not in pids:
        return f"no {peer.server} server here"
    found = subprocess.run([python, "-c", f"import {peer.module}"], capture_output=True, check=False)
    return "" if found.returncode == 0 else "not installed for this Python"


def run(name: str, peer: Peer, programs: Path, python: str, pids: dict[str, int]) -> tuple[dict[str, float | str], str]:
    """Return what a peer's programs measured, or why they did not."""
    env = {**os.environ, **peer.env, "SERVER_PIDS": str(pids.get(peer.server, "")), "PYTHONPATH": str(programs)}
    bench = [python, "bench.py", name, str(peer.jobs), "--reps", str(REPEATS), "--lat", "100"]
    found, reason = told(bench, programs, env)
    if reason:
        return {}, reason
    for w in ("w1", "w2"):
        if f"{w}_worker_cpu_ms" in found:
            found[f"{w}_cpu_ms"] = found[f"{w}_worker_cpu_ms"] + found.get(f"{w}_server_cpu_ms", 0.0)
    return {
        **{measure: found[measure] for measure in MEASURES if measure in found},
        "crash_s": crashed(name, programs, python, env),
    }, ""


def crashed(name: str, programs: Path, python: str, env: dict[str, str]) -> float | str:
    """Return the seconds until all was done after the only worker was killed and another started, or that it never was."""
    found, reason = told([python, "crash.py", name, name, str(PATIENCE)], programs, {**env, "CONC": "1"})
    after = found.get("all_done_after_s")
    if not (reason or found["in_flight_at_kill"]):
        return "none was running"
    return reason or (f"not within {PATIENCE} s" if after is None else float(after))


def told(command: list[str], programs: Path, env: dict[str, str]) -> tuple[dict[str, Any], str]:
    """Run a program and return the line of JSON it ends with, or why there is none."""
    process = subprocess.Popen(
        command, cwd=programs, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        out, err = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.terminate()  # it ends its workers then
        process.communicate()
        return {}, f"over {LIMIT} s"
    if process.returncode:
        return {}, f"failed: {(err.strip().splitlines() or [''])[-1][:80]}"
    return json.loads(out.strip().splitlines()[-1]), ""
