"""Classes of attrs and pydantic, and fields of Python types with a convention: enums, dates and literals."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from datetime import UTC, date, datetime
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factstore import Attr, SchemaError, TransactError, connect, pull, schema_of

attrs = pytest.importorskip("attrs")
pydantic = pytest.importorskip("pydantic")


class Mood(Enum):
    GOOD = ":mood.of/good"
    VERY_BAD = 2


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Kind(StrEnum):
    TEXT = "text"
    PICTURE = "picture"


@dataclass
class AsData:
    key: Annotated[str, Attr(":item/key", unique="identity")]
    born: Annotated[date, ":item/born"]
    mood: Annotated[Mood | None, ":item/mood"] = None
    moods: Annotated[frozenset[Mood], ":item/moods"] = frozenset()
    level: Annotated[Level, Attr(":item/level", type="long")] = Level.LOW
    kind: Annotated[Kind, Attr(":item/kind", type="keyword")] = Kind.TEXT
    size: Annotated[Literal["s", "m", None], ":item/size"] = None
    days: Annotated[frozenset[date], ":item/days"] = frozenset()


@attrs.frozen
class AsAttrs:
    key: Annotated[str, Attr(":item/key", unique="identity")]
    _born: Annotated[date, ":item/born"]
    mood: Annotated[Mood | None, ":item/mood"] = None
    moods: Annotated[frozenset[Mood], ":item/moods"] = attrs.field(factory=frozenset)
    level: Annotated[Level, Attr(":item/level", type="long")] = Level.LOW
    kind: Annotated[Kind, Attr(":item/kind", type="keyword")] = Kind.TEXT
    size: Annotated[Literal["s", "m", None], ":item/size"] = None
    days: Annotated[frozenset[date], ":item/days"] = frozenset()


class AsModel(pydantic.BaseModel):
    key: Annotated[str, Attr(":item/key", unique="identity"), pydantic.Field(min_length=1)]
    born: Annotated[date, ":item/born"] = pydantic.Field(alias="bornOn")
    mood: Annotated[Mood | None, ":item/mood"] = None
    moods: Annotated[frozenset[Mood], ":item/moods"] = pydantic.Field(default_factory=frozenset)
    level: Annotated[Level, Attr(":item/level", type="long")] = Level.LOW
    kind: Annotated[Kind, Attr(":item/kind", type="keyword")] = Kind.TEXT
    size: Annotated[Literal["s", "m", None], ":item/size"] = None
    days: Annotated[frozenset[date], ":item/days"] = frozenset()


KINDS = [AsData, AsAttrs, AsModel]
BORN = {AsData: "born", AsAttrs: "born", AsModel: "bornOn"}


def test_every_kind_of_class_declares_the_same() -> None:
    declared = schema_of(AsData)
    assert declared == schema_of(AsAttrs) == schema_of(AsModel)
    types = {form[":db/ident"]: form.get(":db/valueType", "an ident") for form in declared}
    assert {
        ":item/key": ":db.type/string",
        ":item/born": ":db.type/instant",
        ":item/mood": ":db.type/ref",
        ":item/moods": ":db.type/ref",
        ":item/level": ":db.type/long",
        ":item/kind": ":db.type/keyword",
        ":item/size": ":db.type/string",
        ":item/days": ":db.type/instant",
        ":mood.of/good": "an ident",
        ":mood/very-bad": "an ident",
    } == types


DAYS = st.dates()
FIELDS = st.fixed_dictionaries(
    {
        "mood": st.none() | st.sampled_from(Mood),
        "moods": st.frozensets(st.sampled_from(Mood)),
        "level": st.sampled_from(Level),
        "kind": st.sampled_from(Kind),
        "size": st.sampled_from(["s", "m", None]),
        "days": st.frozensets(DAYS, max_size=3),
    }
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30)
@given(DAYS, FIELDS)
def test_an_object_that_was_stored_is_pulled_as_it_was(kind: Any, born: date, fields: dict[str, Any]) -> None:
    given_object = kind(**{"key": "k", BORN[kind]: born, **fields})
    with connect("memory:") as conn:
        conn.transact(schema_of(kind))
        conn.transact([given_object])
        db = conn.db()
        assert given_object == pull(db, kind, [":item/key", "k"]) == db.get(kind, key="k")
        assert [given_object] == db.find(kind, **fields)
        assert () == conn.transact([given_object]).tx_data[1:]


def test_a_class_of_one_package_refers_to_one_of_another() -> None:
    @attrs.define
    class Author:
        name: Annotated[str, Attr(":author/name", unique="identity")]

    class Book(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        title: Annotated[str, Attr(":book/title", unique="identity")]
        by: Annotated[Any, ":book/by"]

    Book.__annotations__["by"] = Annotated[Author, ":book/by"]
    with connect("memory:") as conn:
        conn.transact(schema_of(Author, Book))
        conn.transact([Book(title="t", by=Author("ann"))])
        assert Author("ann") == conn.db().get(Book, title="t").by


@dataclass
class Part:
    mood: Mood | None = None
    day: date | None = None
    size: Literal["s", "m"] | None = None


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (Part(mood=":mood/good"), r"Part\.mood: expected a member of Mood"),  # type: ignore[arg-type]
        (Part(day=datetime(2026, 1, 1, tzinfo=UTC)), r"Part\.day: expected a date, got"),
        (Part(size="l"), r"Part\.size: expected one of 's', 'm', got 'l'"),  # type: ignore[arg-type]
    ],
)
def test_a_value_that_is_not_of_the_type_is_rejected_and_named(wrong: Part, why: str) -> None:
    with connect("memory:") as conn:
        conn.transact(schema_of(Part))
        before = conn.db().basis_t
        with pytest.raises(TransactError, match=why.replace("'", "[\"']")) as caught:
            conn.transact([{":db/doc": "x"}, wrong])
        assert ":db.error/wrong-type-for-attribute" == caught.value.code
        assert before == conn.db().basis_t


def test_an_instant_within_a_day_is_no_date() -> None:
    with connect("memory:") as conn:
        conn.transact(schema_of(Part))
        eid = conn.transact([{":db/id": "x", ":part/day": datetime(2026, 1, 1, 12, tzinfo=UTC)}]).tempids["x"]
        with pytest.raises(Exception, match=r"Part\.day cannot have this :part/day: expected the instant at which a day begins"):
            conn.db().pull(Part, eid)


class Same(Enum):
    A_B = 1
    a_b = 2


@pytest.mark.parametrize(
    ("hint", "why"),
    [
        (list[str], r"needs set\[…\] or frozenset\[…\].*got .*list\[…\], whose order and repetition would be lost"),
        (tuple[str, ...], r"got .*tuple\[…\], whose order and repetition would be lost"),
        (list[Part], "whose order and repetition would be lost"),
        (Same, "expected a different ident for each member of Same, got :same/a-b, :same/a-b"),
        (Literal["a", 1], "needs .* as its type"),
    ],
)
def test_a_field_that_would_lose_something_is_rejected_when_it_is_declared(hint: Any, why: str) -> None:
    shape = make_dataclass("Shape", [("what", hint)])
    with pytest.raises(SchemaError, match=why) as caught:
        schema_of(shape)
    assert ":db.error/invalid-install-attribute" == caught.value.code


def test_a_list_without_an_order_is_declared_on_request() -> None:
    shape = make_dataclass("Shape", [("what", Annotated[list[str], Attr(unordered=True)])])
    assert [":db.cardinality/many"] == [form[":db/cardinality"] for form in schema_of(shape)]


def test_a_builder_compares_fields_with_members_and_dates() -> None:
    from factstore.builder import entity, find, not_

    p = entity(Part)
    with connect("memory:") as conn:
        conn.transact(schema_of(Part))
        conn.transact([Part(Mood.GOOD, date(2026, 1, 1), "s"), Part(Mood.VERY_BAD, date(2026, 2, 1), "m")])
        db = conn.db()
        assert {("s",)} == db.q(find(p.size).where(p.mood == Mood.GOOD)) == db.q(find(p.size).where(p.day < date(2026, 1, 2)))  # type: ignore[comparison-overlap, operator]
        assert {("m",)} == db.q(find(p.size).where(not_(p.mood == Mood.GOOD)))  # type: ignore[comparison-overlap]
        with pytest.raises(Exception, match="a field of an enum is compared with == only"):
            db.q(find(p.size).where(p.mood != Mood.GOOD))  # type: ignore[comparison-overlap]
