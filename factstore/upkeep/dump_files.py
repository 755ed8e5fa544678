"""Files of dumps: they are read line by line, and checked by the counts and the digest of the last line (see dumps.py).

Law: a file that is incomplete or changed is rejected, and so is one with a line that is not EDN.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple, cast

from factstore import edn
from factstore.concurrency.limits import explained
from factstore.datom import N_MASK
from factstore.errors import Corrupt, FactStoreError, ReadError, Unavailable
from factstore.rendering import shown_as_record
from factstore.values.quoting import as_name, described, quoted
from factstore.values.types import Keyword

FORMAT: Final = 1
HEAD, END, ATTRIBUTES = Keyword(":factstore/dump"), Keyword(":factstore/end"), Keyword(":attributes")
T, INSTANT, NEXT_N, DATA = Keyword(":t"), Keyword(":instant"), Keyword(":next-n"), Keyword(":data")


@shown_as_record
class Manifest(NamedTuple):
    """The counts and the digest of a dump."""

    transactions: int
    datoms: int
    sha256: str


def _has_file_name(text: str) -> bool:
    """Whether the operating system can encode a path; a text with half a surrogate pair has no encoding."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def path_of(path: Any) -> Path:
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not text or not isinstance(text, str) or "\0" in text or not _has_file_name(text):
        raise Unavailable(
            ":db.error/file-unavailable", f"expected the path of a file, got {described(path)}", path=path
        )
    return Path(path)


@contextmanager
def os_errors_as_unavailable(path: Path) -> Iterator[None]:
    """Turn an `OSError` into `Unavailable`."""
    try:
        yield
    except OSError as error:
        why = f"{path}: {explained(error.strerror or str(error))}"
        raise Unavailable(":db.error/file-unavailable", why, path=str(path)) from error


@contextmanager
def opened(path: Path, mode: Literal["rb", "wb"], *, compressed: bool) -> Iterator[IO[bytes]]:
    with gzip.open(path, mode) if compressed else path.open(mode) as file:
        yield cast("IO[bytes]", file)


def lines_of(path: Path) -> Iterator[bytes]:
    with os_errors_as_unavailable(path), opened(path, "rb", compressed=path.suffix == ".gz") as file:
        try:
            yield from file
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise damaged(path, f"it cannot be read to its end: {error}") from error


def verify(path: str | os.PathLike[str]) -> Manifest:
    """Read a dump to its end and compare it with its own counts and digest.

    Raises: Corrupt, if it is incomplete or changed; Unavailable(:db.error/file-unavailable).
    """
    file = path_of(path)
    digest, last = hashlib.sha256(), b""
    transactions = -1  # the first line names attributes
    for line in lines_of(file):
        if last:
            digest.update(last)
            transactions += 1
        last = line
    manifest = _manifest(file, last)
    if (manifest.transactions, manifest.sha256) != (transactions, digest.hexdigest()):
        raise damaged(file, "it was changed: its lines are not those that its last line counts and digests")
    return manifest


def _manifest(path: Path, last: bytes) -> Manifest:
    try:
        end = edn.read(last.decode())
    except (UnicodeDecodeError, ReadError) as error:
        raise damaged(path, f"its last line cannot be read, so it was cut short: {_why(error)}") from None
    counts = end.get(END) if isinstance(end, dict) else None
    if not isinstance(counts, dict):
        raise damaged(path, "it has no last line, so it was cut short")
    transactions, datoms, digest = (counts.get(Keyword(f":{name}")) for name in Manifest._fields)
    if type(transactions) is not int or type(datoms) is not int or not isinstance(digest, str):
        raise damaged(path, "its last line does not count what is in it")
    return Manifest(transactions, datoms, digest)


def _why(error: Exception) -> str:
    return error.message if isinstance(error, FactStoreError) else ", ".join(map(as_name, error.args))


def damaged(path: Path, why: str) -> Corrupt:
    return Corrupt(":db.error/dump-damaged", f"{path} is no whole dump: {why}", path=str(path))


def malformed(path: Path, number: int, why: str) -> Corrupt:
    return Corrupt(":db.error/dump-damaged", f"{path}, line {number:,}: {why}", path=str(path), line=number)


@contextmanager
def naming_line(path: Path, number: int) -> Iterator[None]:
    """Turn the error that an invalid line causes into one that names the line."""
    try:
        yield
    except Corrupt:
        raise
    except (FactStoreError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        raise malformed(path, number, f"it can be no transaction: {_why(error)}") from error


def parsed(path: Path) -> Iterator[tuple[int, dict[Keyword, Any]]]:
    """Yield the lines of a dump, with their numbers. Raises: Corrupt."""
    for number, body in enumerate(lines_of(path), 1):
        try:
            line = edn.read(body.decode())
        except (UnicodeDecodeError, ReadError) as error:
            raise malformed(path, number, f"it cannot be read: {_why(error)}") from None
        if not isinstance(line, dict):
            raise malformed(path, number, f"expected a map, got {described(line)}")
        yield number, line


def attribute_ids(line: dict[Keyword, Any], path: Path) -> dict[str, int]:
    if line[HEAD] != FORMAT:
        raise damaged(path, f"it has format {quoted(line[HEAD])}, this version reads {FORMAT}")
    names = line.get(ATTRIBUTES)
    if not isinstance(names, dict) or not all(type(a) is int and 0 < a <= N_MASK for a in names.values()):
        raise damaged(path, "its first line does not name the ids of attributes")
    return names
