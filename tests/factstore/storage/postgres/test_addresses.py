"""Addresses of stores in PostgreSQL: what is wrong with one is told, without its password."""

from __future__ import annotations

import pytest

import factstore
from factstore import FactStoreError
from factstore.storage.postgres import layout
from factstore.storage.postgres.address import Address
from tests.postgres import PASSWORD, Server, running

SECRET = "hunter2"


def refused(uri: str, **options: object) -> FactStoreError:
    with pytest.raises(FactStoreError) as raised:
        factstore.connect(uri, **options)
    assert SECRET not in str(raised.value.to_dict())
    return raised.value


def test_an_address_has_a_store_a_durability_and_parameters_of_libpq() -> None:
    address = Address.parse(f"//ann:{SECRET}@db1:5433,db2/facts?name=shop&durability=managed&sslmode=require")
    assert (address.name, address.durability, address.is_pooled) == ("shop", "managed", False)
    assert (address.parameters["password"], address.parameters["sslmode"]) == (SECRET, "require")
    assert address.description == "postgresql://db1:5433,db2/facts?name=shop"


def test_a_store_is_called_main_and_replicated_unless_the_address_says_otherwise() -> None:
    address = Address.parse("//db/facts")
    assert (address.name, address.durability) == ("main", "replicated")


@pytest.mark.parametrize(
    ("rest", "part"),
    [
        (f"//ann:{SECRET}@db/facts?name=", "name is a text of 1 to 200 characters"),
        (f"//ann:{SECRET}@db/facts?name={'x' * 201}", "name is a text of 1 to 200 characters"),
        (f"//ann:{SECRET}@db/facts?durability=perhaps", "durability is one of replicated, managed, local, got 'perhaps'"),
        (f"//ann:{SECRET}@db/facts?pooled=maybe", "pooled is yes or no, got 'maybe'"),
        (f"//ann:{SECRET}@db/facts?host_cache=lots", "host_cache is a number of megabytes, got 'lots'"),
        (f"//ann:{SECRET}@db/facts?nonsense", "expected parameters as key=value"),
        (f"//ann:{SECRET}@db/facts?password={SECRET}&nonsense", "expected parameters as key=value"),
        (f"//a?b:{SECRET}@db/facts&x=1", "expected parameters as key=value after ?, got '…&x=…'"),
        ("//%EC/facts", "expected postgresql://user@host:port/database"),
        (f"//ann:{SECRET}@db:port/facts?no_such_parameter=1", "there is no parameter 'no_such_parameter'"),
        (f"//ann:{SECRET}@db/facts?durabilty=local", "there is no parameter 'durabilty'; did you mean durability?"),
        ("//db/facts?ssl_mode=require", "there is no parameter 'ssl_mode'; did you mean sslmode?"),
        ("//%EC/facts?ssl=true", "expected postgresql://user@host:port/database"),
        (f"//ann:pa?{SECRET}=x@db/facts", "expected postgresql://user@host:port/database"),
    ],
)
def test_an_address_that_cannot_be_read_is_refused(rest: str, part: str) -> None:
    error = refused(f"postgresql:{rest}")
    assert error.code == ":db.error/invalid-uri"
    assert part in error.message


def test_a_server_that_cannot_be_reached_is_unavailable() -> None:
    error = refused(f"postgresql://ann:{SECRET}@127.0.0.1:1/facts?durability=local")
    assert error.code == ":db.error/storage-unavailable"
    assert "is the server running, and are host and port right?" in error.message


def test_a_wrong_password_is_told_without_it(server: Server) -> None:
    place = f"127.0.0.1:{server.port}/postgres?durability=managed"
    for user in ("asks_for_a_password", f"asks_for_a_password:{SECRET}"):
        error = refused(f"postgresql://{user}@{place}")
        assert error.code == ":db.error/storage-unavailable"
        assert "check user and password" in error.message
    quoted = PASSWORD.replace(" ", "%20")
    assert "may not" in refused(f"postgresql://asks_for_a_password:{quoted}@{place}").message


def test_a_database_that_does_not_exist_is_named(server: Server) -> None:
    error = refused(f"postgresql://postgres@127.0.0.1:{server.port}/none_such?durability=managed")
    assert "none_such" in error.message
    assert "create the database first" in error.message


def test_an_old_server_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "OLDEST_SERVER", 99)
    assert refused(server.uri()).code == ":db.error/old-server"


def test_a_store_of_a_newer_format_is_refused(server: Server) -> None:
    uri = server.uri("of-the-future")
    factstore.connect(uri).close()
    server.sql("UPDATE factstore.store SET format = 99 WHERE name = 'of-the-future'")
    error = refused(uri)
    assert error.code == ":db.error/not-a-store"
    assert "has format 99, this version of factstore reads up to format 1" in error.message


def test_a_store_that_does_not_exist_is_not_created_for_a_reader(server: Server) -> None:
    assert refused(server.uri("none-such"), read_only=True).code == ":db.error/not-a-store"
    assert server.sql("SELECT count(*) FROM factstore.store WHERE name = 'none-such'").strip() == "0"


def test_two_stores_of_one_database_are_strangers(server: Server) -> None:
    declare = [{":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}]
    with factstore.connect(server.uri()) as one, factstore.connect(server.uri()) as other:
        one.transact(declare)
        assert (one.db().basis_t, other.db().basis_t) == (1, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "durability", "part"),
    [
        ("fsync=off", "local", "its fsync is off; set fsync = on"),
        ("synchronous_commit=off", "managed", "its synchronous_commit is off"),
        ("synchronous_commit=local", "replicated", "its synchronous_commit is local"),
        ("fsync=on", "replicated", "it has no synchronous standby"),
    ],
)
def test_a_server_that_does_not_keep_the_promise_of_sync_is_refused(setting: str, durability: str, part: str) -> None:
    with running(setting) as server:
        error = refused(server.uri(durability=durability))
        assert error.code == ":db.error/not-durable"
        assert part in error.message
        factstore.connect(server.uri(durability=durability), sync="none").close()
