"""The codes with which a transaction is rejected, and what each means. Part of the API: codes are added, never renamed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

CODES: Final[Mapping[str, str]] = {
    # forms
    ":db.error/invalid-tx-data": "The tx-data is no list of forms.",
    ":db.error/invalid-option": "An option of `transact` or `with_`, such as `none` or `key`, that cannot mean anything.",
    ":db.error/invalid-tx-form": "A form, or what is nested in it, has a shape that means nothing.",
    ":db.error/unknown-tx-function": "No transaction function of this name is registered.",
    ":db.error/tx-function-failed": "A transaction function raised an error, or returned no list of forms.",
    ":db.error/cancelled": "A transaction function or predicate refused the transaction; the data is its own.",
    # entities and attributes
    ":db.error/not-an-entity": "An attribute, ident or lookup ref names nothing in the database before; `what` says which of them.",
    ":db.error/invalid-entity-id": "An entity id that was never given out.",
    ":db.error/invalid-tempid": 'A tempid that begins with "datomic", other than "datomic.tx".',
    ":db.error/tempid-not-an-entity": "A tempid that is only ever a value: nothing is asserted of it.",
    ":db.error/invalid-lookup-ref": "A lookup ref that is not [unique-attribute value].",
    ":db.error/lookup-ref-attr-not-unique": "A lookup ref whose attribute has no :db/unique.",
    # values
    ":db.error/nil-value": "None in the place of a value.",
    ":db.error/wrong-type-for-attribute": "A value of another type than its attribute's.",
    ":db.error/invalid-tuple-value": "A tuple with the wrong number of slots, or a slot of the wrong type.",
    ":db.error/composite-tuple-write": "A composite tuple was written, and is not what its members make it.",
    # the set of claims
    ":db.error/datoms-conflict": "Two forms contradict each other: two values for one, or a fact both asserted and retracted.",
    ":db.error/upsert-conflict": "Identity values of one tempid belong to two entities.",
    ":db.error/unique-conflict": "A unique value would belong to two entities.",
    ":db.error/already-inserted": "An attribute that is asserted of new entities only, of an entity that has it already.",
    ":db.error/cas-only": "An attribute whose value only :db/cas replaces was given another, or lost it while its entity stays.",
    ":db.error/cas-failed": ":db/cas found another value than the one it expects.",
    ":db.error/invalid-cas-many": ":db/cas of an attribute of cardinality many, which has no one value to compare.",
    ":db.error/changed-since": "An entity that the transaction is about has a newer fact than if_unchanged_since allows.",
    ":db.error/past-tx-instant": "A :db/txInstant before the last transaction's.",
    ":db.error/future-tx-instant": "A :db/txInstant that the clock has not reached.",
    # predicates and specs
    ":db.error/attr-pred": "A predicate of an attribute did not return true for a value; `pred_return` is what it returned.",
    ":db.error/not-an-entity-spec": "What :db/ensure names is no entity spec.",
    ":db.error/entity-attr": "An entity lacks an attribute that its spec asks for.",
    ":db.error/entity-pred": "A predicate of an entity spec did not return true; `pred_return` is what it returned.",
    ":db.error/requirement-failed": "What :db/require names is not true of the database after; `pred_return` is what it returned.",
    # schema
    ":db.error/invalid-install-attribute": "A declaration of an attribute that lacks a part, or whose parts do not fit together.",
    ":db.error/unsupported": "A declaration of something that this store does not do; the message says what instead.",
    ":db.error/invalid-tuple-attrs": "A composite tuple whose members are not 2 to 8 attributes of cardinality one.",
    ":db.error/unsupported-alter-schema": "An alteration that present facts could not survive, such as another value type.",
    ":db.error/invalid-alter-attribute": "An alteration of the cardinality that present facts, or a composite tuple, contradict.",
    ":db.error/unique-violation": "Uniqueness for an attribute of which two entities share a value.",
    ":db.error/datom-cannot-be-altered": "What every store begins with, or the instant of a transaction, was to be altered.",
    ":db.error/reserved-ident": "An ident in the namespaces :db or :db.*, which are the system's.",
}
