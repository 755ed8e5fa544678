"""A real PostgreSQL for tests: a new cluster on a free port of this machine, stopped and deleted at the end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Final, Protocol
from uuid import uuid4

import pytest

from factstore.storage import Storage
from factstore.storage.protocol import Record
from tests.ports import free_port

PASSWORD: Final = "correct horse"
_HBA: Final = """
local all all trust
host all asks_for_a_password 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
host replication all 127.0.0.1/32 trust
host all all 198.51.100.0/24 trust
host replication all 198.51.100.0/24 trust
"""
_SECONDS: Final = 60


def programs() -> Path | None:
    """Return the folder of the newest installed server, or None."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    on_path = shutil.which("initdb")
    return folders[-1] if folders else Path(on_path).resolve().parent if on_path else None


class Server:
    """One PostgreSQL server."""

    def __init__(
        self, programs: Path, folder: Path, *, host: str = "127.0.0.1", port: int | None = None, inside: Sequence[str] = ()
    ) -> None:
        """Describe a server that does not run yet.

        Args:
            host: the address on which it listens.
            port: None: a free one.
            inside: a command that runs a program within the network of that address.
        """
        self.host = host
        self._inside = inside
        self.folder = folder
        self.data = folder / "data"
        self.port = port or free_port()
        self._programs = programs

    def uri(self, name: str | None = None, *, user: str = "postgres", durability: str = "managed", more: str = "") -> str:
        """Return the uri of a store, a new one by default; this server syncs nothing, so it counts as managed."""
        place = f"{user}@{self.host}:{self.port}/postgres"
        return f"postgresql://{place}?name={name or uuid4().hex}&durability={durability}{more}"

    def create(self) -> None:
        """Make the cluster."""
        self.run("initdb", "-D", self.data, "-U", "postgres", "--auth=trust", "--no-sync", "--data-checksums", "-E", "UTF8", "--locale=C")
        (self.data / "pg_hba.conf").write_text(_HBA)
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write("wal_keep_size = 1GB\n")  # for `follow`

    def start(self, *settings: str) -> None:
        """Start the server with settings such as "fsync=off", and return when it accepts connections."""
        given = [f"port={self.port}", f"listen_addresses={self.host}", f"unix_socket_directories={self.folder}", *settings]
        options = " ".join(f"-c '{setting}'" for setting in given)
        log = self.folder / "server.log"
        try:
            self.run("pg_ctl", "-D", self.data, "-l", log, "-o", options, "-w", "-t", _SECONDS, "start")
        except RuntimeError as error:
            error.add_note(log.read_text()[-2_000:])
            raise

    def standby(self, *, host: str = "127.0.0.1", inside: Sequence[str] = ()) -> Server:
        """Return a standby that follows this server; it is not started, and has no standby of its own."""
        copy = Server(self._programs, self.folder.with_name(f"{self.folder.name}-standby"), host=host, inside=inside)
        copy.folder.mkdir()
        give_to_user(copy.folder)
        place = f"host={self.host} port={self.port} user=postgres application_name=standby"
        copy.run("pg_basebackup", "-D", copy.data, "-d", place, "-R", "-X", "stream", "--checkpoint=fast", "--no-sync")
        return copy

    def promote(self) -> None:
        """Make a standby the primary, and return when it accepts writes."""
        self.run("pg_ctl", "-D", self.data, "-w", "-t", _SECONDS, "promote")

    def follow(self, primary: Server) -> None:
        """Make a server that was killed a standby of another one that has taken over; it is not started."""
        place = f"host={primary.host} port={primary.port} user=postgres dbname=postgres application_name=standby"
        primary.sql("CHECKPOINT")  # before it, the primary does not state its new timeline
        self.run("pg_rewind", "--target-pgdata", self.data, "--source-server", place, "--write-recovery-conf", "--no-sync")

    def processes(self) -> list[int]:
        """Return the server process and all that it started."""
        first = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        started = subprocess.run(["pgrep", "-P", str(first)], capture_output=True, text=True, check=False)
        return [first, *map(int, started.stdout.split())]

    def kill(self) -> None:
        """End the server and all its processes as a power cut does, except that the disk keeps what was written."""
        processes = self.processes()
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        until(lambda: not any(map(_is_alive, processes)))  # their shared memory would keep a new server from starting
        for left in (self.data / "postmaster.pid", *self.folder.glob(".s.PGSQL.*")):
            left.unlink(missing_ok=True)  # a restart would take it for a sign of a running server

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server; "immediate" ends it like a crash."""
        self.run("pg_ctl", "-D", self.data, "-m", mode, "-w", "-t", _SECONDS, "stop")

    def is_running(self) -> bool:
        """Return whether the server runs or has left the file of one that runs."""
        return (self.data / "postmaster.pid").exists()

    def sql(self, text: str) -> str:
        """Return what psql prints for a statement."""
        place = ("-h", self.host, "-p", self.port, "-U", "postgres", "-d", "postgres")
        return self.run("psql", *place, "-v", "ON_ERROR_STOP=1", "-Atc", text)

    def run(self, program: str, *arguments: object) -> str:
        """Run a program of PostgreSQL as a user that is not root, and return its output."""
        command = [str(self._programs / program), *map(str, arguments)]
        if os.geteuid() == 0:
            command = ["runuser", "-u", _user(), "--", *command]
        command = [*self._inside, *command]
        return _run(command, self.folder)


def _run(command: Sequence[str], folder: Path) -> str:
    # pg_ctl leaves a server that inherits its output, so the output goes to a file, which has an end.
    with tempfile.TemporaryFile("w+") as output:
        status = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=folder, check=False
        ).returncode
        output.seek(0)
        text = output.read()
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with {status}: {text}")
    return text


def _is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _user() -> str:
    """Return a user that may run a server; PostgreSQL refuses root."""
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def give_to_user(folder: Path) -> None:
    """Make the user that runs servers the owner of a folder."""
    if os.geteuid() == 0:
        shutil.chown(folder, _user())


@contextmanager
def running(*settings: str, host: str = "127.0.0.1", port: int | None = None, inside: Sequence[str] = ()) -> Iterator[Server]:
    """Run a new server with settings; skip the test if none is installed, except in CI, where one must be."""
    folder = programs()
    if folder is None:
        if os.environ.get("CI"):
            pytest.fail("no PostgreSQL server is installed; .ci/run installs one")
        pytest.skip("no PostgreSQL server is installed")
    place = Path(tempfile.mkdtemp(prefix="factstore-postgres-"))
    give_to_user(place)
    server = Server(folder, place, host=host, port=port, inside=inside)
    try:
        server.create()
        server.start(*settings)
        server.sql(f"CREATE ROLE asks_for_a_password LOGIN PASSWORD '{PASSWORD}'")
        yield server
    finally:
        if server.is_running():
            server.stop()
        shutil.rmtree(place, ignore_errors=True)


def whole_log(storage: Storage) -> list[Record]:
    """Return all records; one read of the log returns a limited number of them."""
    records: list[Record] = []
    while part := storage.read_log(records[-1].t if records else 0):
        records += part
    return records


CLUSTER = ("synchronous_commit=on", "wal_retrieve_retry_interval=200ms")  # settings of the servers of a cluster


class Place(Protocol):
    """A host on which a server runs."""

    address: str
    inside: Sequence[str]


@contextmanager
def cluster(*settings: str, synchronous: bool, on: Sequence[Place] = (), promoted: str = "") -> Iterator[tuple[Server, Server]]:
    """Run a primary and a standby that follows it.

    Args:
        on: the hosts of both; none: this machine.
        promoted: the `synchronous_standby_names` of the standby, for the time when it is the primary.
    """
    one, two = [{"host": place.address, "inside": place.inside} for place in on] or [{}, {}]
    with running(*CLUSTER, *settings, **one) as primary:
        standby = primary.standby(**two)
        try:
            standby.start(*CLUSTER, "hot_standby=on", f"synchronous_standby_names={promoted}", *settings)
            primary.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{'standby' if synchronous else ''}'")
            primary.sql("SELECT pg_reload_conf()")
            state = "sync" if synchronous else "async"
            until(lambda: primary.sql("SELECT sync_state FROM pg_stat_replication").strip() == state)
            yield primary, standby
        finally:
            if standby.is_running():
                standby.stop()
            shutil.rmtree(standby.folder, ignore_errors=True)


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition of another process holds; it has no event to wait for."""
    deadline = monotonic() + _SECONDS
    while not condition():
        assert monotonic() < deadline
        sleep(0.01)
