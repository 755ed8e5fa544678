"""Objects instead of an environment: it was closed, belongs to the parent of a fork, or could not be opened again."""

from __future__ import annotations

from typing import Never

from factstore.storage.refusals import closed


class Gone:
    """Stands in for a closed environment: any use of it raises `Closed`."""

    def __init__(self, *uri_and_reason: str) -> None:
        self.__dict__["_uri_and_reason"] = uri_and_reason

    def __getattr__(self, name: str) -> Never:
        raise closed(*self.__dict__["_uri_and_reason"])

    def __enter__(self) -> Never:
        self.__getattr__("__enter__")

    def __exit__(self, *_: object) -> None:
        """Never called; `with` requires it before it enters."""


class NotOpen(Exception):
    """An environment that was closed in order to open it again could not be opened, and must be opened first."""


class Unopened:
    """Stands in for such an environment: any use of it raises `NotOpen`."""

    def __getattr__(self, name: str) -> Never:
        raise NotOpen

    def close(self) -> None:
        """Do nothing."""
