"""Targets: the text and the data of EDN, transactions, queries, rules and pull patterns."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

import factstore
from factstore import FactStoreError, edn, maintain
from factstore.query.functions.aggregates import AGGREGATES
from factstore.query.functions.scalar import FUNCTIONS
from tests.fuzz import inputs
from tests.fuzz.targets.store import FORMS, PATTERNS, PEOPLE, QUERIES, RULES, SCHEMA, forms, store, text_or_form


def read_edn(rng: Random) -> None:
    _check_same(edn.write(edn.read_all(inputs.text(rng, (*QUERIES, *RULES, *PATTERNS, *FORMS)))))


def write_edn(rng: Random) -> None:
    _check_same(edn.write(inputs.value(rng, 5), longest=1 << 22))


def _check_same(text: str) -> None:
    try:
        again = edn.write(edn.read(text))
    except FactStoreError as error:
        raise AssertionError(f"what was written is not read: {text[:500]}") from error
    assert text == again, f"what was written is read as another value: {text[:500]}"


def query(rng: Random) -> None:
    rules = forms(RULES)[0]
    given = rng.choice(((), (30,), (rules,), ([1, 2], [[1, 2]]), (inputs.value(rng),), (inputs.value(rng), inputs.value(rng))))
    ask = rng.choice((factstore.q, factstore.rows, lambda *args, **more: list(factstore.qseq(*args, **more))))
    ask(text_or_form(rng, QUERIES), store().db(), *given, timeout=3.0, max_rows=50_000)


NAMES: Final = sorted({*FUNCTIONS, *AGGREGATES})


def functions(rng: Random) -> None:
    """Any function of the language, called with any values; and any aggregate of any values."""
    name, given = rng.choice(NAMES), [inputs.value(rng, 2) for _ in range(rng.choice((0, 1, 1, 2, 2, 3)))]
    if name in FUNCTIONS and rng.random() < 0.9:
        variables = " ".join(f"?v{i}" for i in range(len(given)))
        text = f"[:find ?x :in {variables} :where [({name} {variables}) ?x]]"
    else:
        text, given = f"[:find ({name} ?x) :in [?x ...]]", [given]
    factstore.q(text, *given, timeout=3.0, max_rows=50_000)


def rules(rng: Random) -> None:
    factstore.q("[:find ?x ?y :in $ % :where (linked ?x ?y)]", store().db(), text_or_form(rng, RULES), timeout=3.0, max_rows=50_000)


def pull(rng: Random) -> None:
    db, pattern = store().db(), text_or_form(rng, PATTERNS)
    entity = [":p/name", "ben"] if rng.random() < 0.9 else inputs.value(rng)
    if rng.random() < 0.5:
        factstore.pull(db, pattern, entity)
    else:
        factstore.pull_many(db, pattern, [entity, 5])


def transact(rng: Random) -> None:
    data = text_or_form(rng, FORMS)
    if rng.random() < 0.8:
        str(factstore.with_(store().db(), data, none=rng.choice(("reject", "retract"))))
        return
    with factstore.connect("memory:", infer_schema=rng.random() < 0.3) as conn:
        conn.transact(SCHEMA)
        conn.transact(PEOPLE)
        try:
            str(conn.transact(data))
        finally:
            conn._committer.index()
            assert [] == maintain.check(conn).problems


TARGETS: Final[dict[str, Callable[[Random], None]]] = {
    "edn-read": read_edn,
    "edn-write": write_edn,
    "query": query,
    "functions": functions,
    "rules": rules,
    "pull": pull,
    "transact": transact,
}
