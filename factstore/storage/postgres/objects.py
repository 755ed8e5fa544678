"""Objects of S3 buckets, each at a place such as "s3://bucket/prefix/key"; endpoint and credentials come from `AWS_…`.

An object is written once, at a place that no other object ever had, and never changes. So it does not matter when a
request arrives: none can affect a newer object.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from importlib import import_module
from typing import Any, Final, TypeVar

from factstore.concurrency.calls import Calls
from factstore.concurrency.forks import watch
from factstore.errors import StorageError, Unavailable

T = TypeVar("T")

# Names of buckets: Amazon S3 User Guide, bucket naming rules.
_FOLDER: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w.=-]+)*", re.ASCII)
_PLACE: Final = re.compile(r"s3://([^/]+)/(.+)")
_AT_ONCE: Final = 16  # requests
_OPTIONS: Final = {"connect_timeout": "5s", "timeout": "30s"}
_RETRIES: Final = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}
_LONGEST_ERROR: Final = 300  # characters


def is_folder(text: str) -> bool:
    """Return whether a text names a bucket, perhaps with a prefix."""
    return _FOLDER.fullmatch(text) is not None


class Objects:
    """The objects of any bucket; the library is imported with the first request."""

    def __init__(self) -> None:
        self._buckets: dict[str, Any] = {}
        self._threads: Calls | None = None
        self._is_of_parent = False
        watch(self)

    def _after_fork(self) -> None:
        self._is_of_parent = True

    def check(self, folder: str) -> None:
        """Check that the bucket of a folder can be read. Raises: Unavailable, StorageError(:db.error/missing-extra)."""
        bucket, prefix = _split(f"{folder}/")
        self._tried(folder, lambda library: next(iter(library.list(self._bucket(bucket), prefix, chunk_size=1)), None))

    def put(self, objects: Mapping[str, bytes]) -> None:
        """Write objects. Raises: Unavailable; then some of them can be written."""

        def one(item: tuple[str, bytes]) -> None:
            bucket, key = _split(item[0])
            self._tried(item[0], lambda library: library.put(self._bucket(bucket), key, item[1]))

        self._all(one, objects.items())

    def get(self, places: Sequence[str]) -> dict[str, bytes]:
        """Return the objects that exist. Raises: Unavailable."""

        def one(place: str) -> bytes | None:
            bucket, key = _split(place)
            try:
                return self._tried(place, lambda library: bytes(library.get(self._bucket(bucket), key).bytes()))
            except FileNotFoundError:
                return None

        found = zip(places, self._all(one, places), strict=True)
        return {place: body for place, body in found if body is not None}

    def delete(self, places: Iterable[str]) -> None:
        """Delete objects, if they exist. Raises: Unavailable; then some of them can be deleted."""
        of: dict[str, list[str]] = {}
        for place in places:
            bucket, key = _split(place)
            of.setdefault(bucket, []).append(key)
        for bucket, keys in of.items():
            for at in range(0, len(keys), 1000):
                some = keys[at : at + 1000]
                self._tried(f"s3://{bucket}", lambda library: library.delete(self._bucket(bucket), some))  # noqa: B023

    def close(self) -> None:
        """End the threads."""
        if self._threads is not None and not self._is_of_parent:
            self._threads.close()

    def _all(self, work: Callable[[Any], T], items: Iterable[Any]) -> list[T]:
        if self._threads is None:
            self._threads = Calls("factstore-objects", _AT_ONCE)
        futures = [self._threads.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()  # those that have not begun, after an error

    def _bucket(self, name: str) -> Any:
        if name not in self._buckets:
            # Without TLS only where the environment requests it, as for a server of tests on this machine.
            is_plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http:")
            options = {**_OPTIONS, "allow_http": is_plain}
            store = import_module("obstore.store").S3Store
            self._buckets[name] = store(name, client_options=options, retry_config=_RETRIES)
        return self._buckets[name]

    def _tried(self, where: str, request: Callable[[Any], T]) -> T:
        try:
            library = import_module("obstore")
        except ImportError as error:
            text = f"blocks in {where} need obstore ({error}): install factstore[s3]"
            raise StorageError(":db.error/missing-extra", text, extra="s3") from error
        try:
            return request(library)
        except FileNotFoundError:
            raise
        except import_module("obstore.exceptions").BaseError as error:
            text = " ".join(str(error).partition("Debug source")[0].split())[:_LONGEST_ERROR]
            advice = "check the bucket, and AWS_ENDPOINT_URL, AWS_REGION and the credentials in the environment"
            message = f"{where} cannot be reached: {text}; {advice}"
            raise Unavailable(":db.error/storage-unavailable", message, uri=where) from error


def _split(place: str) -> tuple[str, str]:
    match = _PLACE.fullmatch(place)
    if match is None:
        raise Unavailable(":db.error/storage-unavailable", f"expected a place such as s3://bucket/key, got {place}")
    return match[1], match[2]
