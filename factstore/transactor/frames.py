"""Frames: messages on a stream of bytes, each with its length before it.

    frame = u32 length of the body, big-endian | body

Law: the bodies that `Frames` returns are those that were framed, however the stream is cut into pieces; a frame above
the limit is rejected before its body is read.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from factstore.errors import StorageError

MOST_BYTES: Final = 64 << 20  # of a body
_LENGTH: Final = Struct(">I")


def framed(body: bytes) -> bytes:
    """Return a body with its length before it."""
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Cuts a stream of bytes into the bodies of its frames."""

    __slots__ = ("_rest", "most_bytes")

    def __init__(self, most_bytes: int) -> None:
        """Begin a stream.

        Args:
            most_bytes: the limit of a body; it can be changed between two calls.
        """
        self.most_bytes = most_bytes
        self._rest = bytearray()  # the begin of a frame

    def feed(self, data: bytes) -> list[bytes]:
        """Return the bodies that these bytes complete. Raises: StorageError(:db.error/frame-too-large)."""
        if not self._rest:  # mostly, and bytes are cut at less cost than a bytearray
            bodies, at = self._cut(data)
            self._rest += data[at:]
            return bodies
        self._rest += data
        bodies, at = self._cut(self._rest)
        del self._rest[:at]
        return bodies

    def _cut(self, stream: bytes | bytearray) -> tuple[list[bytes], int]:
        """Return the bodies of complete frames, and where the first incomplete one begins."""
        bodies, at, size = [], 0, len(stream)
        while (begin := at + _LENGTH.size) <= size:
            (length,) = _LENGTH.unpack_from(stream, at)
            if length > self.most_bytes:
                text = f"a message of {length:,} bytes was announced, expected at most {self.most_bytes:,}"
                raise StorageError(":db.error/frame-too-large", text, bytes=length, limit=self.most_bytes)
            end = begin + length
            if end > size:
                break
            bodies.append(bytes(stream[begin:end]))
            at = end
        return bodies, at
