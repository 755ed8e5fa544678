"""Messages between a worker and one of its child processes, over a pair of sockets.

A socket does not show that the process at the other end has ended, because a child of that process may hold the socket
open. So a process that waits here also watches the other process.
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

_HEAD: Final = struct.Struct("!cQ")  # the kind of a message, and the length of its content
_PIECE: Final = 1 << 18  # bytes per read
# Not epoll, which takes a file descriptor: there may be none left, and half of a message is sent.
_Selector: Final = getattr(selectors, "PollSelector", selectors.DefaultSelector)
_LOOK: Final = 0.1  # seconds between two checks whether a process lives, if there is no descriptor to wait for


class Gone(Exception):
    """The process at the other end has ended, or has closed its end."""


def watch(process: int) -> int | None:
    """Return a descriptor that becomes readable when a process ends; None if the system has none.

    Raises: ProcessLookupError if it has ended already.
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
        lives: returns whether that process lives; used if the system has no descriptor for its end.
    """

    def __init__(self, end: socket.socket, process: int, lives: Callable[[], bool]) -> None:
        end.setblocking(False)
        self._end = end
        self._lives = lives
        self._ended = False
        self._received = bytearray()
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
        """Wait for the next message, and return its kind and its content; also those sent before the process ended.

        Raises: Gone.
        """
        while (message := self._taken()) is None:
            if not self._read():
                if self._ended:
                    raise Gone("the process has ended")
                self._wait_to_read()
        return message

    def _taken(self) -> tuple[bytes, bytes] | None:
        if len(self._received) < _HEAD.size:
            return None
        kind, length = _HEAD.unpack_from(self._received)
        end = _HEAD.size + length
        if len(self._received) < end:
            return None
        content = bytes(self._received[_HEAD.size : end])
        del self._received[:end]
        return kind, content

    def _read(self) -> bool:
        """Read the available bytes; False if there are none now."""
        try:
            piece = self._end.recv(_PIECE)
        except BlockingIOError:
            return False
        except OSError as error:
            raise Gone(str(error)) from error
        if not piece:
            raise Gone("the other end is closed")
        self._received += piece
        return True

    def _wait_to_read(self) -> None:
        if self._watched is None:
            self._ended = not wait([self._end], _LOOK) and not self._lives()
        elif self._poll is not None:  # `wait` would create a selector each time
            self._ended = any(readable == self._watched for readable, _ in self._poll.poll())
        else:
            self._ended = self._watched in wait([self._end, self._watched])

    def _wait_to_send(self) -> None:
        with _Selector() as selector:
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
