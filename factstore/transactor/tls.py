"""TLS between clients and the transactor: a new certificate for each process, known by its fingerprint.

No authority signs the certificate, and its name and dates mean nothing: the row of the store has its fingerprint, and a
client accepts no other certificate. So only a process that can write to the store can be its transactor.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from factstore.errors import StorageError

_YEARS: Final = timedelta(days=3650)


class Identity(NamedTuple):
    """The certificate of a transactor, as its TLS context and its fingerprint."""

    context: ssl.SSLContext
    fingerprint: bytes  # SHA-256 of the certificate


def new_identity() -> Identity:
    """Return a new certificate with a new key. Raises: StorageError(:db.error/missing-extra)."""
    certificate, key, fingerprint = _self_signed()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with TemporaryDirectory(prefix="factstore-") as folder:  # only this user can read it; `ssl` reads files only
        both = Path(folder, "identity.pem")
        both.write_bytes(key + certificate)
        context.load_cert_chain(both)
    return Identity(context, fingerprint)


def _self_signed() -> tuple[bytes, bytes, bytes]:
    """Return a certificate and its key as PEM, and the fingerprint."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    except ImportError as error:
        text = f"a transactor needs cryptography for its certificate ({error}): install factstore[postgres]"
        raise StorageError(":db.error/missing-extra", text, extra="postgres") from error
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "factstore transactor")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _YEARS)
        .not_valid_after(now + _YEARS)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), private, fingerprint_of(certificate.public_bytes(Encoding.DER))


def fingerprint_of(certificate: bytes) -> bytes:
    """Return the fingerprint of a certificate in DER."""
    return hashlib.sha256(certificate).digest()


def client_context() -> ssl.SSLContext:
    """Return a context that accepts any certificate; `check_certificate` must follow, before anything is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def check_certificate(certificate: bytes | None, fingerprint: bytes) -> None:
    """Check the certificate of a transactor. Raises: StorageError(:db.error/wrong-certificate)."""
    if certificate is None or not hmac.compare_digest(fingerprint_of(certificate), fingerprint):
        text = "the process at the transactor's address has another certificate than the row of the store names"
        raise StorageError(":db.error/wrong-certificate", text)
