"""The small store that targets share, and texts and forms about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from random import Random
from typing import Any, Final

import factstore
import overseer
from factstore import edn
from tests.fuzz import inputs

ONE = ":db.cardinality/one"
SCHEMA: Final = [
    {":db/ident": ":p/name", ":db/valueType": ":db.type/string", ":db/cardinality": ONE, ":db/unique": ":db.unique/identity"},
    {":db/ident": ":p/age", ":db/valueType": ":db.type/long", ":db/cardinality": ONE, ":db/index": True},
    {":db/ident": ":p/to", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/many"},
    {":db/ident": ":p/part", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/many", ":db/isComponent": True},
    {":db/ident": ":p/at", ":db/valueType": ":db.type/instant", ":db/cardinality": ONE},
    {":db/ident": ":p/big", ":db/valueType": ":db.type/bigint", ":db/cardinality": ONE},
    {":db/ident": ":p/dec", ":db/valueType": ":db.type/bigdec", ":db/cardinality": ONE},
    {":db/ident": ":p/t", ":db/valueType": ":db.type/tuple", ":db/cardinality": ONE, ":db/tupleTypes": [":db.type/ref", ":db.type/long"]},
    {":db/ident": ":p/both", ":db/valueType": ":db.type/tuple", ":db/cardinality": ONE, ":db/tupleAttrs": [":p/name", ":p/age"]},
]
PEOPLE: Final = [
    {":db/id": "a", ":p/name": "ann", ":p/age": 30, ":p/at": datetime(2020, 1, 1, tzinfo=UTC), ":p/big": 1 << 80},
    {":db/id": "b", ":p/name": "ben", ":p/age": 17, ":p/to": ["a"], ":p/part": [{":p/age": 3}]},
    {":p/name": "cyd", ":p/to": ["a", "b"]},
]
QUERIES: Final = (
    "[:find ?e ?n :where [?e :p/name ?n]]",
    "[:find ?n . :in $ ?a :where [?e :p/age ?a] [?e :p/name ?n]]",
    "[:find [?n ...] :where [?e :p/to ?f] [?f :p/name ?n] (not [?e :p/age 17])]",
    "[:find ?n (count ?f) (max ?a) :with ?e :where [?e :p/name ?n] [?e :p/to ?f] [?f :p/age ?a] :order-by ?n :desc :limit 5 :offset 1]",
    "[:find (pull ?e [:p/name {:p/to [*]}]) :where (or [?e :p/age 30] (and [?e :p/age ?a] [(< ?a 20)]))]",
    "[:find ?x ?y :in $ % :where (linked ?x ?y)]",
    "{:find [?n (sum ?a)] :keys [name total] :having [(> (sum ?a) 3)] :where [[?e :p/name ?n] [?e :p/age ?a]]}",
    "[:find ?s :in $ [?v ...] [[?x ?y]] :where [(str ?v ?x) ?s] [(get-else $ ?x :p/age 0) ?y]]",
    "[:find ?e :where (or-join [?e] [?e :p/age 3] (not-join [?e] [?e :p/to ?f])) [?e :p/name _ ?tx] [?tx :db/txInstant ?i] [(missing? $ ?e :p/at)]]",
    "[:find ?a ?b :where [(ground [[1 2] [3 4]]) [[?a ?b]]] [(+ ?a ?b) ?c] [(= ?c 3)] [(tuple ?a ?b) ?t] [(untuple ?t) [?x _]]]",
)
RULES: Final = (
    "[[(linked ?x ?y) [?x :p/to ?y]] [(linked ?x ?y) [?x :p/to ?z] (linked ?z ?y)]]",
    "[[(linked [?x] ?y) (or [?x :p/to ?y] (and [?x :p/part ?z] (linked ?z ?y)))]]",
    "[[(n ?a) [(ground 1) ?a]] [(n ?a) (n ?b) [(+ ?b 1) ?a] [(< ?a 50)]] [(linked ?x ?y) (n ?x) (n ?y)]]",
)
PATTERNS: Final = (
    "[*]",
    "[:p/name {:p/to [:p/name :p/age]}]",
    "[:db/id [:p/age :as :age :default 0] {(limit :p/to 2) 3} {:p/_to ...}]",
    "[:p/* {[:p/part :limit nil] [*]} (default :p/at 5) [:p/name :xform str/upper]]",
)
FORMS: Final = (
    '[{:p/name "dee" :p/age 5} [:db/add "x" :p/name "eve"] [:db/add "x" :p/to [:p/name "ann"]]]',
    '[[:db/cas [:p/name "ann"] :p/age 30 31] [:db/retract [:p/name "ben"] :p/age] [:db/retractEntity [:p/name "cyd"]]]',
    '[{:db/id [:p/name "ann"] :p/part [{:p/age 1 :p/part {:p/age 2}}] :p/_to "z"} {:db/id "z" :p/t [[:p/name "ben"] 7]}]',
    "[{:db/ident :new/a :db/valueType :db.type/tuple :db/cardinality :db.cardinality/one :db/tupleTypes [:db.type/long :db.type/string]}]",
    '[{:db/ident :new/b :db/valueType :db.type/string :db/cardinality :db.cardinality/many :db/unique :db.unique/value :db/doc "b"}]',
    '[[:db/setExactly [:p/name "ann"] :p/to [[:p/name "ben"]]] {:db/id "datomic.tx" :db/doc "why"} {:db/id :p/age :db/ident :p/years}]',
    '[{:db/ident :s/spec :db.entity/attrs [:p/name :p/age]} {:db/id :p/name :db/doc #_ 1 "d"} {:p/big 5N :p/dec 1.5M :p/at #inst "2026"}]',
)


@cache
def store() -> factstore.Connection:
    """Return a small store that all targets of this process read."""
    conn = factstore.connect("memory:")
    conn.transact(SCHEMA)
    conn.transact(PEOPLE)
    conn._committer.index()
    conn.transact([{":p/name": "new"}])
    return conn


@cache
def forms(texts: Sequence[str]) -> list[Any]:
    return [edn.read(text) for text in texts]


def text_or_form(rng: Random, texts: Sequence[str]) -> Any:
    """Return a text that is nearly right, or such a form as Python data."""
    return inputs.text(rng, texts) if rng.random() < 0.6 else inputs.changed(rng, rng.choice(forms(texts)))


@cache
def jobs() -> factstore.Connection:
    """Return a store with the job layer."""
    conn = factstore.connect("memory:")
    overseer.install(conn)
    return conn
