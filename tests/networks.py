"""Networks for tests: hosts of their own in network namespaces of this machine, which can be cut off from each other."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

_NETWORK: Final = "198.51.100"  # for documentation and examples: RFC 5737
_SWITCH: Final = "factstore-switch"
_OWN_LINK: Final = "factstore"  # of this machine


class Host:
    """A host: a network namespace with one address."""

    def __init__(self, number: int) -> None:
        self.name = f"factstore-{number}"
        self.address = f"{_NETWORK}.{number}"
        self.inside = ("ip", "netns", "exec", self.name)

    def cut_off(self, other: Host) -> None:
        """Lose all packets between this host and another one, in both directions."""
        for one, two in ((self, other), (other, self)):
            _ip("-n", one.name, "route", "add", "blackhole", f"{two.address}/32")

    def reconnect(self, other: Host) -> None:
        """Undo `cut_off`."""
        for one, two in ((self, other), (other, self)):
            _ip("-n", one.name, "route", "del", "blackhole", f"{two.address}/32")


@contextmanager
def hosts(count: int) -> Iterator[Sequence[Host]]:
    """Make hosts that reach each other and this machine; skip the test where no namespace can be made."""
    made = [Host(number) for number in range(2, 2 + count)]
    # Other processes of the tests wait.
    with Path(tempfile.gettempdir(), "factstore-networks.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _remove(made)  # what a killed run left
        try:
            _make(made)
        except (OSError, subprocess.CalledProcessError) as error:
            why = getattr(error, "stderr", "") or error
            _remove(made)
            pytest.skip(f"no network namespaces can be made here: {why}")
        try:
            yield made
        finally:
            _remove(made)


def _make(made: Sequence[Host]) -> None:
    # The switch has a namespace of its own, because rules of this machine could reject what it forwards.
    _ip("netns", "add", _SWITCH)
    _ip("-n", _SWITCH, "link", "add", "switch", "type", "bridge")
    _ip("-n", _SWITCH, "link", "set", "switch", "up")
    _ip("link", "add", _OWN_LINK, "type", "veth", "peer", "name", "machine", "netns", _SWITCH)
    _ip("address", "add", f"{_NETWORK}.1/24", "dev", _OWN_LINK)
    _ip("link", "set", _OWN_LINK, "up")
    _ip("-n", _SWITCH, "link", "set", "machine", "master", "switch", "up")
    for host in made:
        _ip("netns", "add", host.name)
        _ip("-n", _SWITCH, "link", "add", host.name, "type", "veth", "peer", "name", "eth0", "netns", host.name)
        _ip("-n", _SWITCH, "link", "set", host.name, "master", "switch", "up")
        _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
        _ip("-n", host.name, "link", "set", "eth0", "up")
        _ip("-n", host.name, "link", "set", "lo", "up")


def _remove(made: Sequence[Host]) -> None:
    for arguments in (("link", _OWN_LINK), ("netns", _SWITCH), *(("netns", host.name) for host in made)):
        with suppress(OSError, subprocess.CalledProcessError):
            _ip(arguments[0], "delete", arguments[1])


def _ip(*arguments: str) -> None:
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, env=environment)
