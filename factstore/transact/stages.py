"""The stages of a transaction: the type that each stage passes to the next one, in the order of the pipeline.

    tx-data ─► forms ─► expand ────► claims   (Claim, OfSlots, Special)     of entities and slots
                        resolve ───► ids      (Resolution)                  the entity of each slot
                                 └─► settled  (Settled)                     claims of entities only
                        changes ───► changes  (Changes)                     facts, conflicts excluded
                        check ─────► prepared (Prepared)                    accepted, ready for the log

A slot is a negative int instead of the id of an entity, as long as that is not known. `Slot` and `EntityId` differ only
for the type checker, which rejects claims of slots where claims of entities are required. At run time both are ints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, NewType, TypeAlias, TypeVar

from factstore.datom import Fact
from factstore.db.snapshot import Snapshot
from factstore.schema.attribute import Attribute
from factstore.transact.forms import Place
from factstore.values.types import Stored

if TYPE_CHECKING:
    from factstore.columns.column import FactArrays

# -- names of entities

EntityId = NewType("EntityId", int)
Slot = NewType("Slot", int)  # -1, -2, …: the entity of a tempid, or of a map without :db/id
Entity: TypeAlias = EntityId | Slot
EntityT = TypeVar("EntityT", bound=int)

# -- after expand

# Entity or slot, attribute, stored value or slot, place in the tx-data.
Claim: TypeAlias = tuple[Entity, Attribute, Stored, Place]

ALL: Final = object()  # instead of the value of a retraction: all values of the attribute
REST: Final = object()  # the same, except the values that the form itself asserts


class OfSlots:
    """The claims that determine, or require, which entity a slot is."""

    __slots__ = ("bound", "foretold", "identities", "typed", "values")

    def __init__(self) -> None:
        self.identities: list[tuple[Slot, Attribute, Stored, Place]] = []  # also asserted
        self.bound: list[tuple[Slot, Claim]] = []  # the forms themselves name the entity
        self.foretold: list[tuple[Slot, str, Place, Attribute | None]] = []  # an ident that only this transaction gives
        self.typed: list[Claim] = []  # also asserted: the slot becomes an attribute
        self.values: list[tuple[Slot, Attribute, Place]] = []  # the slot is the value of a reference


class Special(Generic[EntityT]):
    """The claims that are not, or not only, asserted: with slots before tempids are resolved, then with entities."""

    __slots__ = ("doomed", "ensured", "instants", "predicated", "required", "retracted", "swaps", "written")

    def __init__(self) -> None:
        self.retracted: list[tuple[EntityT, Attribute, Stored, Place]] = []  # the value may be ALL or REST
        self.doomed: list[tuple[EntityT, Place]] = []  # entities to retract entirely
        self.swaps: list[tuple[EntityT, Attribute, Stored, Place]] = []  # what :db/cas expects; None: no value
        self.instants: list[tuple[EntityT, Attribute, Stored, Place]] = []  # a :db/txInstant
        self.written: list[tuple[EntityT, Attribute, Stored, Place]] = []  # composite tuples, only compared
        self.predicated: list[tuple[EntityT, Attribute, Stored, Place]] = []  # also asserted, with a predicate
        self.ensured: list[tuple[EntityT, Attribute, Stored, Place]] = []  # entity specs that must be satisfied
        self.required: list[tuple[Any, Sequence[Any], Place]] = []  # predicate of the database after, and its arguments


# Most transactions have no such claims: they share these two, which contain nothing and never change.
NO_SLOTS: Final = OfSlots()
NOT_SPECIAL: Final[Special[Any]] = Special()

# -- after resolve

ResolvedClaim: TypeAlias = tuple[EntityId, Attribute, Stored, Place]


class Resolution(NamedTuple):
    """The entity ids of all slots: slot -1 is `ids[0]`, slot -2 `ids[1]`, …"""

    ids: Sequence[EntityId]
    fresh: frozenset[EntityId]  # new entities whose ids are outside the users' partition
    next_n: int


class Settled(NamedTuple):
    """The claims with entities instead of slots."""

    asserted: Sequence[ResolvedClaim]
    special: Special[EntityId]


# -- after changes

Key: TypeAlias = tuple[int, int, Stored]  # e, a, v


class Changes(NamedTuple):
    """The facts that a transaction adds and retracts."""

    facts: list[Fact]
    uniques: list[Fact]  # those that assert a unique value
    gone: set[Key]  # retracted facts that existed, and replaced unique values


# -- after the checks


class Prepared:
    """A transaction that is accepted on top of one database, ready for the log."""

    __slots__ = ("columns", "facts", "instant", "keeps_schema", "next_n", "tempids")

    def __init__(
        self,
        facts: list[Fact],
        tempids: Mapping[str | int, int],
        next_n: int,
        instant: int,
        columns: Mapping[int, FactArrays] | None = None,
        keeps_schema: bool = False,
    ) -> None:
        self.keeps_schema = keeps_schema  # True: no fact belongs to the schema; False: one may
        self.facts = facts  # of t = basis_t + 1; the transaction's own instant first
        self.tempids = tempids
        self.next_n = next_n
        self.instant = instant  # microseconds since 1970
        self.columns = columns  # rows of a bulk load by attribute, all asserted, sorted by (e, v)


Preparation: TypeAlias = Callable[[Snapshot, int], Prepared]  # of the database before, and the clock in microseconds
