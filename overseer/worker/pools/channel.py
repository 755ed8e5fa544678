"""Messages between a worker and one of its child processes, over a pair of sockets.

The end of a socket does not tell that the process at the other end has ended: a process that it left behind may hold the socket open. So
whoever waits here watches the other process too.
"""

from __future__ import annotations

import os
import select
import selectors
import socket
import struct
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Final

_HEAD: Final = struct.Struct("!cQ")  # the kind of a message, and the length of what follows
_PIECE: Final = 1 << 18  # bytes that are read at once
_LOOK: Final = 0.1  # seconds between two looks whether a process lives, where the system cannot tell of its end


class Gone(Exception):
    """The process at the other end has ended, or has closed its end."""


def watch(process: int) -> int | None:
    """Return a descriptor that can be read once a process has ended; None where the system has no such thing.

    Raises: ProcessLookupError when it has ended already.
    """
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(process)
    except ProcessLookupError:
        raise
    except OSError:  # an older kernel, or a container that forbids it
        return None


class Channel:
    """One end of a pair of sockets.

    Args:
        end: the socket.
        process: the process at the other end.
        lives: tells whether that process lives; asked where the system cannot tell of its end.
    """

    def __init__(self, end: socket.socket, process: int, lives: Callable[[], bool]) -> None:
        end.setblocking(False)
        self._end = end
        self._lives = lives
        self._ended = False
        self._came = bytearray()
        try:
            self._watched = watch(process)
        except ProcessLookupError:
            self._watched, self._ended = None, True
        self._poll = select.poll() if hasattr(select, "poll") else None
        if self._poll is not None:
            for readable in (self._end.fileno(), self._watched):
                if readable is not None:
                    self._poll.register(readable, select.POLLIN)

    def close(self) -> None:
        """Close this end."""
        self._end.close()
        if self._watched is not None:
            os.close(self._watched)
            self._watched = None

    def send(self, kind: bytes, content: bytes = b"") -> None:
        """Send a message.

        Raises: Gone.
        """
        left = memoryview(_HEAD.pack(kind, len(content)) + content)
        while left:
            try:
                left = left[self._end.send(left) :]
            except BlockingIOError:
                self._wait_to_send()
            except OSError as error:
                raise Gone(str(error)) from error

    def receive(self) -> tuple[bytes, bytes]:
        """Wait for the next message, and return its kind and its content. What was sent before the process ended still comes.

        Raises: Gone.
        """
        while (message := self._taken()) is None:
            if not self._read():
                if self._ended:
                    raise Gone("the process has ended")
                self._wait_to_read()
        return message

    def _taken(self) -> tuple[bytes, bytes] | None:
        if len(self._came) < _HEAD.size:
            return None
        kind, length = _HEAD.unpack_from(self._came)
        end = _HEAD.size + length
        if len(self._came) < end:
            return None
        content = bytes(self._came[_HEAD.size : end])
        del self._came[:end]
        return kind, content

    def _read(self) -> bool:
        """Read what has come; False when there is nothing now."""
        try:
            piece = self._end.recv(_PIECE)
        except BlockingIOError:
            return False
        except OSError as error:
            raise Gone(str(error)) from error
        if not piece:
            raise Gone("the other end is closed")
        self._came += piece
        return True

    def _wait_to_read(self) -> None:
        if self._watched is None:
            self._ended = not wait([self._end], _LOOK) and not self._lives()
        elif self._poll is not None:  # one that lasts: `wait` makes a selector each time
            self._ended = any(readable == self._watched for readable, _ in self._poll.poll())
        else:
            self._ended = self._watched in wait([self._end, self._watched])

    def _wait_to_send(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._end, selectors.EVENT_WRITE)
            if self._watched is not None:
                selector.register(self._watched, selectors.EVENT_READ)
            ready = selector.select(_LOOK if self._watched is None else None)
        ended = (
            any(key.fileobj == self._watched for key, _ in ready)
            if self._watched is not None
            else not ready and not self._lives()
        )
        if ended:
            raise Gone("the process has ended")


def wait_for_end(process: int, lives: Callable[[], bool]) -> None:
    """Wait until a process has ended."""
    try:
        watched = watch(process)
    except ProcessLookupError:
        return
    if watched is None:
        while lives():
            time.sleep(_LOOK)
    else:
        wait([watched])
        os.close(watched)
