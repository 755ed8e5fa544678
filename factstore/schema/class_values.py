"""Python types of fields that are no value types of the store, and the conventions for them.

    Enum      a reference to the entity of its ident: `Color.DARK_RED` is `:color/dark-red`, or its value if that is
              a keyword such as ":paint/red". With `Attr(type="keyword")` the ident is the value of the attribute; with
              another type the value of the member is.
    date      the instant at which the day begins in UTC
    Literal   the value type of its values

Law: for each value of such a type, `read(stored(value)) == value`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from enum import Enum
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin

from factstore.values.quoting import quoted
from factstore.values.types import Keyword

_DB_IDENT: Final = ":db/ident"


class Convention(NamedTuple):
    """How the values of a Python type are stored. Both functions raise ValueError for other values."""

    value_type: str | type  # the value type of the attribute, or the Python type that has it
    stored: Callable[[Any], Any]  # the value in a transaction
    read: Callable[[Any], Any]  # the value of a field, from a pulled value
    idents: tuple[Keyword, ...] = ()  # of the entities that are declared with the attribute


def convention_of(hint: Any, value_type: str | None, name_of: Callable[[str], str]) -> Convention | None:
    """Return the convention for a Python type; None for a type without one.

    Args:
        value_type: the value type that the field requests.
        name_of: returns the name in an ident for a Python name.
    """
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _of_enum(hint, value_type and value_type.removeprefix(":db.type/"), name_of)
    if hint is date and value_type is None:
        return Convention("instant", _day_begins, _day)
    if get_origin(hint) is Literal:
        return _of_literal(hint)
    return None


def _of_enum(kind: type[Enum], value_type: str | None, name_of: Callable[[str], str]) -> Convention:
    if value_type not in (None, "ref", "keyword"):
        return Convention(value_type or "", lambda member: _member(kind, member).value, kind)
    idents = idents_of(kind, name_of)
    members = {ident: member for member, ident in idents.items()}

    def read(value: Any) -> Enum:
        ident = value.get(_DB_IDENT) if isinstance(value, Mapping) else value
        if ident not in members:
            raise ValueError(f"expected one of {', '.join(members)}, got {quoted(value)}")
        return members[ident]

    is_ref = value_type != "keyword"
    declared = tuple(members) if is_ref else ()
    return Convention("ref" if is_ref else "keyword", lambda member: idents[_member(kind, member)], read, declared)


def _member(kind: type[Enum], value: Any) -> Enum:
    if isinstance(value, kind) and value.name is not None:
        return value
    raise ValueError(f"expected a member of {kind.__name__}, got {quoted(value)}")


@lru_cache(maxsize=512)
def idents_of(kind: type[Enum], name_of: Callable[[str], str]) -> dict[Enum, Keyword]:
    """Return the ident of each member. Raises: ValueError, if two members have the same one."""
    idents = {member: _ident(kind, member, name_of) for member in kind}
    if len(set(idents.values())) < len(idents):
        raise ValueError(
            f"expected a different ident for each member of {kind.__name__}, got {', '.join(idents.values())}"
        )
    return idents


def _ident(kind: type[Enum], member: Enum, name_of: Callable[[str], str]) -> Keyword:
    value = member.value
    if isinstance(value, str) and value.startswith(":") and Keyword.is_one(value):
        return Keyword(value)
    return Keyword(f":{name_of(kind.__name__)}/{name_of(member.name)}")


def _day_begins(value: Any) -> Any:
    if type(value) is date:
        return datetime.combine(value, time(), UTC)
    raise ValueError(f"expected a date, got {quoted(value)}")


def _day(value: Any) -> date:
    if isinstance(value, datetime) and (at := value.astimezone(UTC)).time() == time():
        return at.date()
    raise ValueError(f"expected the instant at which a day begins in UTC, got {quoted(value)}")


def _of_literal(hint: Any) -> Convention | None:
    values = [value for value in get_args(hint) if value is not None]
    kinds = {type(value) for value in values}
    if len(kinds) != 1 or not kinds <= {str, int, bool, bytes}:
        return None
    kind = kinds.pop()

    def one(value: Any) -> Any:
        if type(value) is kind and value in values:
            return value
        raise ValueError(f"expected one of {', '.join(map(quoted, values))}, got {quoted(value)}")

    return Convention(kind, one, one)
