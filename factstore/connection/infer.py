"""Inference: attributes that a transaction uses without a declaration are declared by the types of their values.

    bool, int, float, Decimal, datetime, UUID, bytes, str …   the type of that name, an int beyond 64 bits a bigint
    a string that begins with a colon                         a keyword
    a map, an instance of a dataclass                         a component: a reference to a part
    an entity; a reverse name                                 a reference
    a list, a tuple, a set                                    cardinality many, of the type of its items

Law: inferred attributes are declared in a separate transaction, and only if the transaction that needs them would then
    be accepted.
"""

from __future__ import annotations

from typing import Any

from factstore.db.database import Database
from factstore.errors import SchemaError, TransactError
from factstore.schema.hints import Reference, declaration, kinds_of
from factstore.schema.reverse import forward_of
from factstore.transact import Nones, with_


def inferred(db: Database, tx_data: Any, error: TransactError, *, none: Nones = "reject") -> list[dict[str, Any]]:
    """Return the tx-data that declares the attributes whose absence is the reason of an error.

    Raises: the error itself if it has another reason, or the next error if the declarations would not be sufficient;
        SchemaError(:db.error/cannot-infer) for an attribute whose values have no type, or different types.
    """
    declared: dict[str, dict[str, Any]] = {}
    while True:
        wanted = {ident: values for ident, values in _unknown(error).items() if ident not in declared}
        if not wanted:
            raise error
        declared.update((ident, _declared(ident, values)) for ident, values in wanted.items())
        try:
            with_(with_(db, list(declared.values())).db_after, tx_data, none=none)
        except TransactError as other:
            error = other
        else:
            return list(declared.values())


def _unknown(error: TransactError) -> dict[str, list[Any]]:
    """Return the attributes that an error reports as missing, with all their values."""
    values_of: dict[str, list[Any]] = {}
    for problem in error.data.get("problems") or (error.to_dict(),):
        ident = problem.get("got")
        if (
            problem.get("what") == "attribute"
            and "value" in problem
            and isinstance(ident, str)
            and ident.startswith(":")
        ):
            forward = forward_of(ident)
            values_of.setdefault(forward or str(ident), []).append(Reference() if forward else problem["value"])
    return values_of


def _declared(ident: str, values: list[Any]) -> dict[str, Any]:
    form = declaration(ident, values)
    if form is None:
        kinds = kinds_of(values)
        values_text = f"values of {' and '.join(sorted(kinds))}" if kinds else "no value that has a type"
        raise SchemaError(
            ":db.error/cannot-infer",
            f"{ident} is not declared, and this transaction has {values_text} for it",
            attribute=ident,
        )
    return form
