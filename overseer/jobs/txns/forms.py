"""The forms that all transactions about jobs share."""

from __future__ import annotations

from typing import Any, Final

CAS: Final = ":db/cas"
ADD: Final = ":db/add"
RETRACT: Final = ":db/retract"
THIS_TX: Final = "datomic.tx"


def signed(by: str) -> list[Any]:
    """Return the form that records on the transaction which process made it."""
    return [ADD, THIS_TX, ":overseer/by", by]
