"""The codes of rejected transactions and their meaning. Part of the API: codes are added, never renamed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

CODES: Final[Mapping[str, str]] = {
    # forms
    ":db.error/invalid-tx-data": "The tx-data is not a list of forms.",
    ":db.error/invalid-option": "An option of `transact` or `with_`, such as `none` or `key`, is invalid.",
    ":db.error/invalid-tx-form": "A form, or a part of it, has an invalid shape.",
    ":db.error/unknown-tx-function": "No transaction function of this name is registered.",
    ":db.error/tx-function-failed": "A transaction function raised an error, or did not return a list of forms.",
    ":db.error/cancelled": "A transaction function or predicate rejected the transaction with its own data.",
    # entities and attributes
    ":db.error/not-an-entity": "An attribute, ident or lookup ref (`what`) names nothing in the database before.",
    ":db.error/invalid-entity-id": "An entity id that was never assigned.",
    ":db.error/invalid-tempid": 'A tempid that begins with "datomic", other than "datomic.tx".',
    ":db.error/tempid-not-an-entity": "A tempid that is only used as a value: nothing is asserted about it.",
    ":db.error/invalid-lookup-ref": "A lookup ref that is not [unique-attribute value].",
    ":db.error/lookup-ref-attr-not-unique": "A lookup ref whose attribute has no :db/unique.",
    # values
    ":db.error/nil-value": "None instead of a value.",
    ":db.error/wrong-type-for-attribute": "A value of another type than its attribute's.",
    ":db.error/invalid-tuple-value": "A tuple with the wrong number of slots, or a slot of the wrong type.",
    ":db.error/composite-tuple-write": "A composite tuple was written that differs from its members.",
    # the set of claims
    ":db.error/datoms-conflict": "Two forms conflict: two values for one, or a fact both asserted and retracted.",
    ":db.error/upsert-conflict": "Identity values of one tempid belong to two entities.",
    ":db.error/unique-conflict": "A unique value would belong to two entities.",
    ":db.error/already-inserted": "An insert-only attribute, of an entity that already has it.",
    ":db.error/cas-only": "A value that only :db/cas may replace was replaced, or retracted without its entity.",
    ":db.error/cas-failed": "The value that :db/cas compares is not the expected one.",
    ":db.error/invalid-cas-many": ":db/cas of an attribute of cardinality many, which has no single value to compare.",
    ":db.error/changed-since": "An entity that the transaction changes has newer facts than if_unchanged_since allows.",
    ":db.error/past-tx-instant": "A :db/txInstant before the last transaction's.",
    ":db.error/future-tx-instant": "A :db/txInstant that the clock has not reached.",
    # predicates and specs
    ":db.error/attr-pred": "A predicate of an attribute did not return true for a value, but `pred_return`.",
    ":db.error/not-an-entity-spec": "The entity named by :db/ensure is not an entity spec.",
    ":db.error/entity-attr": "An entity lacks an attribute that its spec requires.",
    ":db.error/entity-pred": "A predicate of an entity spec did not return true, but `pred_return`.",
    ":db.error/requirement-failed": "The predicate of :db/require did not return true, but `pred_return`.",
    # schema
    ":db.error/invalid-install-attribute": "A declaration that lacks a part, or with parts that do not fit.",
    ":db.error/unsupported": "A declaration that this store does not support; the message has the alternative.",
    ":db.error/invalid-tuple-attrs": "A composite tuple needs 2 to 8 members of cardinality one.",
    ":db.error/unsupported-alter-schema": "Existing facts do not permit the alteration, such as another type.",
    ":db.error/invalid-alter-attribute": "Existing facts or a composite tuple do not permit the cardinality.",
    ":db.error/unique-violation": "Uniqueness for an attribute of which two entities have the same value.",
    ":db.error/datom-cannot-be-altered": "A system fact, or the instant of a transaction, cannot be altered.",
    ":db.error/reserved-ident": "An ident in the namespaces :db or :db.*, which are the system's.",
}
