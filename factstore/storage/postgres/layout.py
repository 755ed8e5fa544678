"""The tables of the PostgreSQL engine, and what is checked when a store is opened.

    store    one row for each store: its head, epoch, writer lock, leader and the version of its root
    record   the log; each record has the txid of the record before it
    block    the blocks: their bytes, or the place and the size of the object with the bytes
    loose    places of objects that no row of `block` refers to
    root     the newest version of the root, and older ones that are held
    hold     the versions that processes hold; each row expires unless its holder renews it

Only features that all servers with the wire protocol of PostgreSQL have are used: no advisory locks, sequences,
triggers or functions of the server. Source of the durability rules: PostgreSQL's documentation, synchronous_commit.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID, uuid4

import psycopg
from psycopg import errors as postgres

from factstore.errors import NotAStore, Unavailable
from factstore.storage.postgres.address import Address
from factstore.storage.protocol import Sync

FORMAT: Final = 1
OLDEST_SERVER: Final = 15

_TABLES: Final = """
CREATE SCHEMA IF NOT EXISTS factstore;
CREATE TABLE IF NOT EXISTS factstore.store (
    name text PRIMARY KEY,
    id uuid NOT NULL,
    format integer NOT NULL,
    created timestamptz NOT NULL DEFAULT now(),
    t bigint NOT NULL DEFAULT 0,
    txid bytea NOT NULL DEFAULT '',
    previous bytea NOT NULL DEFAULT '',
    epoch bigint NOT NULL DEFAULT 0,
    root_version bigint NOT NULL DEFAULT 0,
    excisions bigint NOT NULL DEFAULT 0,
    owner uuid,
    owner_until timestamptz,
    owner_since timestamptz,
    owner_is_block boolean NOT NULL DEFAULT false,
    owner_about text NOT NULL DEFAULT '',
    leader uuid,
    leader_until timestamptz,
    leader_term bigint NOT NULL DEFAULT 0,
    leader_address text NOT NULL DEFAULT '',
    leader_secret bytea NOT NULL DEFAULT '',
    leader_fingerprint bytea NOT NULL DEFAULT ''
) WITH (fillfactor = 20);
CREATE TABLE IF NOT EXISTS factstore.record (
    store uuid NOT NULL,
    t bigint NOT NULL,
    epoch bigint NOT NULL,
    txid bytea NOT NULL,
    previous bytea NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (store, t),
    UNIQUE (store, txid)
);
CREATE TABLE IF NOT EXISTS factstore.block (
    store uuid NOT NULL,
    id bytea NOT NULL,
    body bytea NOT NULL,
    place text,
    size bigint,
    PRIMARY KEY (store, id)
);
ALTER TABLE factstore.block ADD COLUMN IF NOT EXISTS place text, ADD COLUMN IF NOT EXISTS size bigint;
CREATE TABLE IF NOT EXISTS factstore.loose (
    store uuid NOT NULL,
    place text PRIMARY KEY,
    since timestamptz NOT NULL DEFAULT now(),
    doomed boolean NOT NULL DEFAULT false
);
ALTER TABLE factstore.record ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE factstore.block ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE TABLE IF NOT EXISTS factstore.root (
    store uuid NOT NULL,
    version bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (store, version)
);
CREATE TABLE IF NOT EXISTS factstore.hold (
    store uuid NOT NULL,
    holder uuid NOT NULL,
    version bigint NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (store, holder, version)
);
"""
_FIND: Final = "SELECT id, format FROM factstore.store WHERE name = %s"
_CREATE: Final = "INSERT INTO factstore.store (name, id, format) VALUES (%s, %s, %s) ON CONFLICT (name) DO NOTHING"
_SETTINGS: Final = """
SELECT current_setting('server_version_num')::int, current_setting('fsync'), current_setting('synchronous_commit'),
       current_setting('synchronous_standby_names')
"""
# Two processes that create the schema at the same time collide in the catalog; the second try finds the tables.
_COLLISIONS: Final = (postgres.UniqueViolation, postgres.DuplicateTable, postgres.DuplicateSchema)
_TRIES: Final = 5


def store_id(connection: psycopg.Connection, address: Address, *, create: bool) -> UUID:
    """Return the id of a store, which is created if it does not exist and may be.

    Raises: NotAStore: there is none, or it has a newer format.
    """
    row = _found(connection, address.name)
    if row is None and create:
        _create(connection, address.name)
        row = _found(connection, address.name)
    if row is None:
        raise NotAStore(":db.error/not-a-store", f"there is no store {address.description}", uri=address.description)
    identity, version = row
    if version > FORMAT:
        raise NotAStore(
            ":db.error/not-a-store",
            f"{address.description} has format {version}, this version of factstore reads up to format {FORMAT}",
            uri=address.description,
            found=version,
            supported=FORMAT,
        )
    return identity


def exists(connection: psycopg.Connection, name: str) -> bool:
    """Return whether the database has a store of this name."""
    return _found(connection, name) is not None


def _found(connection: psycopg.Connection, name: str) -> tuple[UUID, int] | None:
    try:
        return connection.execute(_FIND, (name,)).fetchone()
    except (postgres.UndefinedTable, postgres.InvalidSchemaName):
        return None


def _create(connection: psycopg.Connection, name: str) -> None:
    for attempt in range(_TRIES):
        try:
            connection.execute(_TABLES)
            break
        except _COLLISIONS:
            if attempt == _TRIES - 1:
                raise
    connection.execute(_CREATE, (name, uuid4(), FORMAT))


def check_server(connection: psycopg.Connection, address: Address, sync: Sync) -> None:
    """Check that a server is new enough, and that it keeps what `sync` and the address promise.

    Raises: Unavailable(:db.error/old-server, :db.error/not-durable), with the setting to change.
    """
    row = connection.execute(_SETTINGS).fetchone()
    assert row is not None
    version, fsync, commit, standbys = row
    if version < OLDEST_SERVER * 10_000:
        raise Unavailable(
            ":db.error/old-server",
            f"{address.description} is on PostgreSQL {version // 10_000}; expected {OLDEST_SERVER} or newer",
            version=version // 10_000,
        )
    if sync == "none":
        return
    if commit not in ("on", "remote_apply") and not (commit == "local" and address.durability == "local"):
        raise _not_durable(address, f"its synchronous_commit is {commit}", "set synchronous_commit = on")
    if fsync != "on" and address.durability != "managed":
        raise _not_durable(address, f"its fsync is {fsync}", "set fsync = on")
    if not standbys and address.durability == "replicated":
        raise _not_durable(
            address,
            "it has no synchronous standby (synchronous_standby_names is empty)",
            "set synchronous_standby_names, or state in the uri what is enough: durability=local for one server,"
            " durability=managed for a service that replicates its storage",
        )


def _not_durable(address: Address, why: str, advice: str) -> Unavailable:
    message = f'{address.description} does not keep what sync="full" promises: {why}; {advice}'
    return Unavailable(":db.error/not-durable", message, uri=address.description, durability=address.durability)
