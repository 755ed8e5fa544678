"""The proofs that both sides know the secret of the store, so that each may read its row.

    server ──► challenge                                   of 32 random bytes
    client ──► challenge, proof over both challenges
    server ──► proof over both challenges

A proof is an HMAC with the name of its side and the fingerprint of the certificate, so that it is of no use on another
connection. The secret itself is never sent.
Law: neither side sends anything else before it has checked the proof of the other.
"""

from __future__ import annotations

import hmac
import os
from typing import Final, NamedTuple

from factstore.errors import StorageError

VERSION: Final = 1  # of the messages
CHALLENGE_BYTES: Final = 32
_PROOF_BYTES: Final = 32
_HELLO: Final = b"factstore transactor %d " % VERSION
MOST_BYTES: Final = 200  # of a message of the handshake


class Handshake(NamedTuple):
    """What both sides know before the handshake."""

    secret: bytes
    fingerprint: bytes

    def proof(self, side: bytes, server: bytes, client: bytes) -> bytes:
        """Return the proof of a side ("server" or "client") over the challenges of both."""
        return hmac.digest(self.secret, side + b"\0" + server + client + self.fingerprint, "sha256")


def challenge() -> bytes:
    """Return a new challenge."""
    return os.urandom(CHALLENGE_BYTES)


def hello(server: bytes) -> bytes:
    """Return the first message of the server."""
    return _HELLO + server


def read_hello(message: bytes) -> bytes:
    """Return the server's challenge. Raises: StorageError(:db.error/transactor-version)."""
    if not message.startswith(_HELLO) or len(message) != len(_HELLO) + CHALLENGE_BYTES:
        text = f"the transactor does not speak version {VERSION} of the protocol; run the same factstore on both sides"
        raise StorageError(":db.error/transactor-version", text, version=VERSION)
    return message[len(_HELLO) :]


def response(known: Handshake, server: bytes, client: bytes) -> bytes:
    """Return the answer of the client to the server's challenge."""
    return client + known.proof(b"client", server, client)


def read_response(known: Handshake, server: bytes, message: bytes) -> bytes:
    """Return the client's challenge, after a check of its proof. Raises: StorageError(:db.error/wrong-secret)."""
    client, proof = message[:CHALLENGE_BYTES], message[CHALLENGE_BYTES:]
    _check(known.proof(b"client", server, client), proof)
    return client


def confirmation(known: Handshake, server: bytes, client: bytes) -> bytes:
    """Return the proof of the server."""
    return known.proof(b"server", server, client)


def check_confirmation(known: Handshake, server: bytes, client: bytes, message: bytes) -> None:
    """Check the proof of the server. Raises: StorageError(:db.error/wrong-secret)."""
    _check(known.proof(b"server", server, client), message)


def _check(expected: bytes, proof: bytes) -> None:
    if not hmac.compare_digest(expected, proof):
        text = "the other side of the connection does not know the secret in the row of the store"
        raise StorageError(":db.error/wrong-secret", text)
