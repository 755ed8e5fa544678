"""The address of a store in PostgreSQL: a uri of libpq with parameters of our own.

    postgresql://user:password@host:5432/database?name=shop&durability=local&sslmode=require

    name         the store among those of the database; "main" by default
    durability   what makes an append durable: "replicated" (a synchronous standby, the default), "managed" (the storage
                 below the server replicates) or "local" (the disk of one server)
    host_cache   megabytes of blocks that the processes of a host keep on its disk; 1024 by default, 0 for none
    blocks       a folder for new blocks, "s3://bucket/prefix"; by default they are in the database
    pooled       "yes" behind a pooler that gives each transaction another session, such as PgBouncer

All other parameters are libpq's; `target_session_attrs` selects the servers for reading, and writes go to the primary.
Law: neither the description nor an error contains the password.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode

from psycopg import Error as PostgresError
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from factstore.errors import StorageError
from factstore.storage.postgres.objects import is_folder
from factstore.values.quoting import did_you_mean, quoted

DURABILITIES: Final = ("replicated", "managed", "local")
LONGEST_NAME: Final = 200  # characters
_MOST_DIGITS: Final = 9
_OWN: Final = ("name", "durability", "host_cache", "blocks", "pooled")

# A server that does not answer is noticed after these times; a parameter of the uri replaces each.
_DEFAULTS: Final[Mapping[str, Any]] = {
    "connect_timeout": 10,  # seconds
    "tcp_user_timeout": 20_000,  # milliseconds
    "keepalives_idle": 10,  # seconds, as the next one
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "application_name": "factstore",
}


class Address(NamedTuple):
    """A store and how to reach it."""

    parameters: Mapping[str, Any]  # libpq's
    name: str
    durability: str
    is_pooled: bool
    host_cache: int  # bytes
    blocks: str  # the folder for new blocks; empty: in the database
    description: str

    @classmethod
    def parse(cls, rest: str) -> Address:
        """Return the address in the part of a uri after "postgresql:".

        Raises: StorageError(:db.error/invalid-uri).
        """
        base, _, query = rest.partition("?")
        try:
            given = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
        except ValueError:
            raise _invalid(f"expected parameters as key=value after ?, got {quoted(_without_values(query))}") from None
        name = _parameter(given, "name", "main", f"a text of 1 to {LONGEST_NAME} characters", _is_name)
        durability = _parameter(given, "durability", "replicated", f"one of {', '.join(DURABILITIES)}", _is_durability)
        pooled = _parameter(given, "pooled", "no", "yes or no", ("yes", "no").__contains__)
        megabytes = _parameter(given, "host_cache", "1024", "a number of megabytes", _is_number)
        blocks = _parameter(given, "blocks", "", "a folder such as s3://bucket/prefix", _is_folder_or_empty)
        try:
            parameters = conninfo_to_dict(f"postgresql:{base}{'?' if given else ''}{urlencode(given)}")
        except (PostgresError, UnicodeError):  # the text of the former quotes the uri
            unknown = "" if "@" in query else _unknown(given)  # a "?" in a password makes a part of it a parameter
            text = "expected postgresql://user@host:port/database with parameters of libpq"
            raise _invalid(unknown or text) from None
        return cls(
            {**_DEFAULTS, **parameters},
            name,
            durability,
            pooled == "yes",
            int(megabytes) << 20,
            blocks,
            _described(parameters, name),
        )


def _parameter(given: dict[str, str], key: str, default: str, wanted: str, is_valid: Callable[[str], bool]) -> str:
    """Take a parameter of our own from those of the uri."""
    value = given.pop(key, default)
    if not is_valid(value):
        raise _invalid(f"{key} is {wanted}, got {quoted(value)}")
    return value


def _unknown(given: Mapping[str, str]) -> str:
    """Return what is wrong with the first parameter that neither this module nor libpq has; empty: nothing."""
    known = [*_OWN, *(each.keyword.decode() for each in Conninfo.get_defaults())]
    for name in given:
        if name not in known and name != "ssl":  # libpq replaces it by sslmode
            near = get_close_matches(name, known, n=1)
            return f"there is no parameter {quoted(name)}{did_you_mean(near)}"
    return ""


def _is_name(value: str) -> bool:
    return 0 < len(value) <= LONGEST_NAME and "\0" not in value


def _is_durability(value: str) -> bool:
    return value in DURABILITIES


def _is_folder_or_empty(value: str) -> bool:
    return not value or is_folder(value)


def _is_number(value: str) -> bool:
    return value.isascii() and value.isdecimal() and len(value) <= _MOST_DIGITS


def _described(parameters: Mapping[str, Any], name: str) -> str:
    hosts = str(parameters.get("host") or "").split(",")
    ports = str(parameters.get("port") or "").split(",")
    places = [f"{host}:{port}" if port else host for host, port in zip(hosts, ports * len(hosts), strict=False)]
    return f"postgresql://{','.join(places)}/{parameters.get('dbname') or ''}?name={name}"


def _without_values(query: str) -> str:
    """Return the names of parameters. A password is a value, and what has no name may be a part of one that has a ?."""
    return "&".join(f"{name}=…" if equals else "…" for name, equals, _ in (p.partition("=") for p in query.split("&")))


def _invalid(message: str) -> StorageError:
    return StorageError(":db.error/invalid-uri", f"invalid address of a store in PostgreSQL: {message}")
