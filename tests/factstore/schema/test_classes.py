"""Classes that declare a schema, and their instances as tx-data and as results."""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest

import factstore
from factstore import Attr, Keyword, SchemaError, pull, schema_of
from tests.factstore.tx import refused, value, values


@dataclass(frozen=True)
class City:
    name: Annotated[str, Attr(unique="identity")]
    at: tuple[float, float] | None = None


@dataclass(frozen=True)
class Line:
    sku: str
    count: int = 1


@dataclass(eq=False)
class Person:
    email: Annotated[str, Attr(unique="identity", doc="Where letters go.")]
    full_name: Annotated[str | None, Attr(":contact/name", index=True)] = None
    city: City | None = None
    friends: Annotated[list[Person], Attr(unordered=True)] = field(default_factory=list)
    lines: Annotated[list[Line], Attr(component=True, unordered=True)] = field(default_factory=list)
    tags: frozenset[Keyword] = frozenset()
    followers: Annotated[list[Person], ":person/_friends"] = field(default_factory=list)
    eid: Annotated[int | None, ":db/id"] = None


@dataclass
class Everything:
    big: Annotated[int, Attr(type="bigint")]
    day: datetime
    id: UUID
    raw: bytes
    sum: Decimal
    yes: bool
    texts: Annotated[tuple[str, ...], Attr(unordered=True)]
    pair: tuple[str, int]


@dataclass
class Untold:
    what: Any


@dataclass
class Otherwise:
    name: Annotated[int, ":city/name"]


@pytest.fixture
def conn():
    with factstore.connect("memory:") as conn:
        conn.transact(schema_of(Person, City, Line))
        yield conn


def declared(shape):
    return {form.pop(":db/ident"): form for form in schema_of(shape)}


def test_a_class_declares_what_its_annotations_say():
    one, many = ({":db/cardinality": f":db.cardinality/{n}"} for n in ("one", "many"))
    expected = {
        ":person/email": {
            ":db/valueType": ":db.type/string", **one, ":db/unique": ":db.unique/identity", ":db/doc": "Where letters go.",
        },
        ":contact/name": {":db/valueType": ":db.type/string", **one, ":db/index": True},
        ":person/city": {":db/valueType": ":db.type/ref", **one},
        ":person/friends": {":db/valueType": ":db.type/ref", **many},
        ":person/lines": {":db/valueType": ":db.type/ref", **many, ":db/isComponent": True},
        ":person/tags": {":db/valueType": ":db.type/keyword", **many},
    }  # fmt: skip
    assert expected == declared(Person)


def test_every_python_type_has_its_value_type_and_a_store_takes_them():
    with factstore.connect("memory:") as conn:
        conn.transact(schema_of(Everything))
        types = {str(a.ident): (a.value_type.name, a.many) for a in conn.db().schema.attributes if a.ident.startswith(":everything/")}
        assert {
            ":everything/big": ("bigint", False),
            ":everything/day": ("instant", False),
            ":everything/id": ("uuid", False),
            ":everything/raw": ("bytes", False),
            ":everything/sum": ("bigdec", False),
            ":everything/yes": ("boolean", False),
            ":everything/texts": ("string", True),
            ":everything/pair": ("tuple", False),
        } == types
        said = Everything(1 << 80, datetime(2026, 1, 1, tzinfo=UTC), UUID(int=7), b"x", Decimal("1.50"), True, ("a", "b"), ("c", 3))
        done = conn.transact([{":db/id": "x", **{f":everything/{k}": v for k, v in vars(said).items()}}])
        assert said == pull(done.db_after, Everything, done.tempids["x"])


def test_a_type_that_says_no_value_type_is_refused_by_name():
    with pytest.raises(SchemaError, match=r"Untold\.what needs .*Attr\(type=…\)") as caught:
        schema_of(Untold)
    assert ":db.error/invalid-install-attribute" == caught.value.code
    with pytest.raises(SchemaError, match="expected a dataclass"):
        schema_of(int)


def test_classes_that_declare_an_attribute_differently_are_refused():
    with pytest.raises(SchemaError, match=r":city/name is declared twice, and Otherwise\.name says"):
        schema_of(City, Otherwise)
    assert schema_of(City) == schema_of(City, City)


def test_an_instance_is_read_as_the_map_that_says_the_same(conn):
    ann = Person("ann@x", "Ann", City("Rome", (41.9, 12.5)), lines=[Line("a"), Line("b", 2)], tags=frozenset({Keyword(":vip")}))
    conn.transact([ann])
    found = pull(conn.db(), Person, [":person/email", "ann@x"])
    assert "Ann" == found.full_name
    assert ann.city == found.city
    assert {Line("a"), Line("b", 2)} == set(found.lines)
    assert ann.tags == found.tags


def test_what_was_pulled_can_be_changed_and_transacted_again(conn):
    conn.transact([Person("ann@x", "Ann")])
    found = pull(conn.db(), Person, [":person/email", "ann@x"])
    report = conn.transact([replace(found, full_name="Anna")])
    assert "Anna" == value(report.db_after, found.eid, ":contact/name")
    assert 3 == report.size


def test_an_instance_that_is_met_twice_is_one_entity_and_circles_are_no_trouble(conn):
    ann, ben = Person("ann@x"), Person("ben@x")
    ann.friends, ben.friends, ben.followers = [ben], [ann], [ann]
    db = conn.transact([ann, ben, {":person/email": "cem@x", ":person/friends": [ann, ben]}]).db_after
    a, b, c = (db.entid([":person/email", f"{name}@x"]) for name in ("ann", "ben", "cem"))
    assert ({b}, {a}, {a, b}) == tuple(values(db, e, ":person/friends") for e in (a, b, c))


def test_problems_name_the_path_through_instances(conn):
    error = refused(conn, [Person("ann@x", friends=[Person("ben@x", full_name=3)])], ":db.error/wrong-type-for-attribute")
    assert "tx-data[0][':person/friends'][0][':contact/name']" == error.path


def test_an_instance_that_nothing_could_find_is_refused_like_a_map(conn):
    conn.transact("[{:db/ident :order/line :db/valueType :db.type/ref :db/cardinality :db.cardinality/one}]")
    refused(conn, [{":order/line": Line("a")}], ":db.error/invalid-tx-form")


def test_a_field_of_none_says_nothing_or_retracts_when_asked_to(conn):
    conn.transact([Person("ann@x", "Ann", City("Rome"))])
    ann = [":person/email", "ann@x"]
    assert "Ann" == value(conn.transact([Person("ann@x")]).db_after, ann, ":contact/name")
    db = conn.transact([Person("ann@x")], none="retract").db_after
    assert value(db, ann, ":contact/name") is None
    assert value(db, ann, ":person/city") is None


@dataclass
class Enrolment:
    course: str
    student: Annotated[str, ":student/name"]
    key: Annotated[tuple[str, str] | None, Attr(members=("course", "student"), unique="identity")] = None
    grade: Annotated[int | None, Attr(preds=("classes/grade?",))] = None
    eid: Annotated[int | None, ":db/id"] = None


factstore.register("classes/grade?", lambda grade: 1 <= grade <= 6)


def test_a_composite_tuple_is_declared_by_its_members_read_and_never_written():
    with factstore.connect("memory:") as conn:
        conn.transact(schema_of(Enrolment))
        assert (":enrolment/course", ":student/name") == conn.db().attribute(":enrolment/key").tuple_attrs
        conn.transact([Enrolment("latin", "Mia")])
        found = pull(conn.db(), Enrolment, [":enrolment/key", ["latin", "Mia"]])
        assert ("latin", "Mia") == found.key
        conn.transact([replace(found, course="greek", grade=2)])
        assert ("greek", "Mia") == value(conn.db(), found.eid, ":enrolment/key")


def test_a_class_declares_predicates():
    with factstore.connect("memory:") as conn:
        conn.transact(schema_of(Enrolment))
        refused(conn, [Enrolment("latin", "Mia", grade=7)], ":db.error/attr-pred")


@pytest.mark.parametrize("hint", [str, tuple[str, str, str], list[str]])
def test_a_composite_that_its_members_do_not_fit_is_refused(hint):
    wrong = dataclass(type("Wrong", (), {"__annotations__": {"a": str, "b": str, "both": Annotated[hint, Attr(members=("a", "b"))]}}))
    with pytest.raises(SchemaError) as caught:
        schema_of(wrong)
    assert "Wrong.both" in str(caught.value)


def test_a_member_that_is_no_field_is_refused():
    wrong = dataclass(type("Wrong", (), {"__annotations__": {"a": str, "both": Annotated[tuple[str, str], Attr(members=("a", "z"))]}}))
    with pytest.raises(SchemaError) as caught:
        schema_of(wrong)
    assert "'z'" in str(caught.value)


@dataclass
class Note:
    text: str
    made: Annotated[datetime | None, Attr(stamp="created")] = None
    changed: Annotated[datetime | None, Attr(stamp="updated")] = None
    eid: Annotated[int | None, ":db/id"] = None


def test_a_class_declares_stamps_and_its_instances_do_not_hold_them_still():
    with factstore.connect("memory:") as conn:
        conn.transact(schema_of(Note))
        made = conn.transact([Note("a")])
        note = pull(conn.db(), Note, made.tx_data[1].e)
        changed = conn.transact([replace(note, text="b")])
        assert made.tx_data[0].v == value(conn.db(), note.eid, ":note/made")
        assert changed.tx_data[0].v == value(conn.db(), note.eid, ":note/changed")


@pytest.mark.parametrize("annotation", ["Nowhere", "list[", "1 / 0", "Nowhere.at.all"])
def test_a_class_whose_annotations_cannot_be_evaluated_is_named(annotation: str) -> None:
    shape = make_dataclass("Odd", [("n", annotation)])
    with factstore.connect("memory:") as conn:
        for use in (
            lambda: schema_of(shape),
            lambda: conn.transact([shape(1)]),
            lambda: conn.transact_async([shape(1)]).result(),
            lambda: pull(conn.db(), shape, 1),
        ):
            with pytest.raises(SchemaError, match="the annotations of Odd cannot be evaluated") as caught:
                use()
            assert ":db.error/invalid-install-attribute" == caught.value.code
        assert 0 == conn.db().basis_t
