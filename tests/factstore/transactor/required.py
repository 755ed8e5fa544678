"""A module that a transactor imports."""

from __future__ import annotations

from typing import Any

import factstore


@factstore.register("transactor-required/add")
def add(_db: factstore.Database, name: str) -> list[Any]:
    return [{":name": name}]
