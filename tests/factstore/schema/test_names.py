"""What facts of the schema name stays what it was when attributes are renamed and their old names are given to others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import factstore
from factstore import maintain
from factstore.errors import SchemaError, TransactError


def attribute(ident: str, kind: str = "string", **more: Any) -> dict[str, Any]:
    many = {":db/" + name: value for name, value in more.items()}
    return {":db/ident": ident, ":db/valueType": f":db.type/{kind}", ":db/cardinality": ":db.cardinality/one", **many}


COMPOSITE = attribute(":q/ab", "tuple", tupleAttrs=[":q/a", ":q/b"], unique=":db.unique/value")
SPEC = {":db/ident": ":q/spec", ":db.entity/attrs": [":q/a", ":q/b"]}


@pytest.fixture(params=["as it is", "indexed", "opened again"])
def renamed(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A store in which `:q/a` became `:q/aa`, and another attribute got the name `:q/a`."""
    path = str(tmp_path / "s.facts")
    conn = factstore.connect(path, sync="none")
    conn.transact([attribute(":q/a"), attribute(":q/b")])
    conn.transact([COMPOSITE, SPEC])
    conn.transact([{":db/id": "e", ":q/a": "x", ":q/b": "y"}])
    conn.transact([{":db/id": ":q/a", ":db/ident": ":q/aa"}])
    conn.transact([attribute(":q/a", "long"), {":db/id": ":q/ab", ":db/doc": "changed after its member was renamed"}])
    if request.param != "as it is":
        conn._committer.index()
    if request.param == "opened again":
        conn.close()
        conn = factstore.connect(path, sync="none")
    yield conn
    conn.close()


def made(conn: factstore.Connection, form: dict[str, Any]) -> list[Any]:
    e = conn.transact([{":db/id": "e", **form}]).tempids["e"]
    return [datom.v for datom in conn.db().datoms("eavt", e, ":q/ab")]


def test_a_composite_tuple_follows_the_attribute_that_was_renamed(renamed: factstore.Connection) -> None:
    assert [("x2", "y2")] == made(renamed, {":q/aa": "x2", ":q/b": "y2"})
    assert [("x2", None)] == made(renamed, {":q/aa": "x2", ":q/a": 7})
    assert [] == made(renamed, {":q/a": 7})
    old = factstore.q('[:find ?e . :where [?e :q/aa "x"]]', renamed.db())
    renamed.transact([[":db/add", old, ":q/b", "y3"]])
    assert [("x", "y3")] == [datom.v for datom in renamed.db().datoms("eavt", old, ":q/ab")]


def test_a_composite_tuple_shows_its_members_under_their_present_names(renamed: factstore.Connection) -> None:
    assert (":q/aa", ":q/b") == renamed.db().attribute(":q/ab").tuple_attrs
    with pytest.raises(TransactError, match=":q/aa, :q/b") as caught:
        renamed.transact([{":q/ab": ["x", "z"], ":q/b": "y9"}])
    assert ":db.error/composite-tuple-write" == caught.value.code


def test_the_index_of_a_composite_tuple_is_right_after_a_rename(renamed: factstore.Connection) -> None:
    made(renamed, {":q/aa": "x2", ":q/b": "y2"})
    made(renamed, {":q/a": 5, ":q/b": "y3"})
    renamed._committer.index()
    assert [(None, "y3"), ("x", "y"), ("x2", "y2")] == [datom.v for datom in renamed.db().datoms("avet", ":q/ab")]
    assert [] == maintain.check(renamed).problems


def test_a_lookup_by_a_composite_tuple_takes_values_of_the_renamed_attribute(renamed: factstore.Connection) -> None:
    assert renamed.db().entid([":q/ab", ["x", "y"]]) is not None
    with pytest.raises(TransactError, match="a str in slot 0"):
        renamed.transact([[":db/add", [":q/ab", [5, "y"]], ":q/b", "z"]])


def test_an_entity_spec_asks_for_the_attribute_that_was_renamed(renamed: factstore.Connection) -> None:
    renamed.transact([{":q/aa": "1", ":q/b": "2", ":db/ensure": ":q/spec"}])
    t = renamed.db().basis_t
    with pytest.raises(TransactError, match=":q/spec asks for :q/aa, which") as caught:
        renamed.transact([{":q/a": 1, ":q/b": "2", ":db/ensure": ":q/spec"}])
    assert ":db.error/entity-attr" == caught.value.code
    assert (":q/aa",) == caught.value.missing
    assert t == renamed.db().basis_t


def test_a_composite_can_be_declared_again_with_the_present_names_of_its_members(renamed: factstore.Connection) -> None:
    renamed.transact([{**COMPOSITE, ":db/tupleAttrs": [":q/aa", ":q/b"]}])
    assert [("x2", "y2")] == made(renamed, {":q/aa": "x2", ":q/b": "y2"})
    with pytest.raises(SchemaError) as caught:
        renamed.transact([{**COMPOSITE, ":db/tupleAttrs": [":q/b", ":q/aa"]}])
    assert ":db.error/unsupported-alter-schema" == caught.value.code


def test_a_spec_may_name_an_attribute_that_is_declared_later() -> None:
    with factstore.connect("memory:") as conn:
        conn.transact([{":db/ident": ":q/spec", ":db.entity/attrs": [":q/later"]}])
        with pytest.raises(TransactError, match="asks for :q/later"):
            conn.transact([{":db/ident": ":q/x", ":db/ensure": ":q/spec"}])
        conn.transact([attribute(":q/later")])
        conn.transact([{":q/later": "x", ":db/ensure": ":q/spec"}])


def test_a_composite_whose_ident_is_older_than_its_members_survives_opening(tmp_path: Path) -> None:
    path = str(tmp_path / "s.facts")
    with factstore.connect(path, sync="none") as conn:
        conn.transact([{":db/id": "x", ":db/ident": ":q/ab"}])
        conn.transact([attribute(":q/a"), attribute(":q/b")])
        conn.transact([COMPOSITE])
        conn._committer.index()
    with factstore.connect(path, sync="none") as conn:
        assert [("x", "y")] == made(conn, {":q/a": "x", ":q/b": "y"})


def test_two_attributes_can_exchange_their_names() -> None:
    with factstore.connect("memory:") as conn:
        conn.transact([attribute(":q/a"), attribute(":q/b")])
        conn.transact([COMPOSITE])
        conn.transact([{":db/id": ":q/a", ":db/ident": ":q/c"}])
        conn.transact([{":db/id": ":q/b", ":db/ident": ":q/a"}, {":db/id": ":q/c", ":db/ident": ":q/b"}])
        assert [("was a", "was b")] == made(conn, {":q/a": "was b", ":q/b": "was a"})
