"""An object instead of an environment that was closed, or that belongs to the parent of a forked child."""

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
