"""Text: tx-data as EDN, with the tags that files written for Datomic have.

    #db/id[partition]           a tempid that nothing else has
    #db/id[partition number]    the same tempid wherever the same partition and number stand in one transaction
    #db/id[:db.part/tx]         the transaction
    #db/fn                      refused: functions are registered in Python

Law: reading a text twice gives equal forms, tempids included.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, Final, NoReturn

from factstore import edn
from factstore.edn.read import Tags
from factstore.schema.hints import NO_FUNCTIONS
from factstore.values.types import Keyword

_TRANSACTION: Final = "datomic.tx"
_TX_PARTITION: Final = ":db.part/tx"


def tags() -> Tags:
    """Return the readers of tags for one text."""
    return {"db/id": _tempids(), "db/fn": _no_function}


def read_text(text: str) -> Any:
    """Return what the text of a transaction holds. Raises: ReadError."""
    return edn.read(text, tags=tags())


def _tempids() -> Callable[[Any], str]:
    numbers = count(1)

    def tempid(form: Any) -> str:
        partition, number = _parts(form)
        if partition == _TX_PARTITION:
            return _TRANSACTION
        # A number from 0 on would be the id of an entity that another database gave out.
        return f"#db/id[{partition} {number}]" if number is not None else f"#db/id[{partition}] {next(numbers)}"

    return tempid


def _parts(form: Any) -> tuple[Keyword, int | None]:
    parts = list(form) if isinstance(form, list | tuple) else []
    if (
        len(parts) not in (1, 2)
        or type(parts[0]) is not Keyword
        or any(type(part) is not int or part >= 0 for part in parts[1:])
    ):
        raise ValueError("expected [partition], or [partition number] with a number below zero")
    return parts[0], parts[1] if len(parts) == 2 else None


def _no_function(_form: Any) -> NoReturn:
    raise ValueError(NO_FUNCTIONS)
