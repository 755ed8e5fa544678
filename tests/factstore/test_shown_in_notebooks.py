"""Every public value shows itself in a notebook, as a table or as a picture, and escapes what it contains."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import factstore
import overseer
import overseer.testing
from factstore.rendering import Records, html_record

FORMS = ("_repr_html_", "_repr_svg_", "_repr_mimebundle_")
PACKAGES = (factstore, overseer, overseer.testing)
# Their `repr` is what a person writes: text with a type, and a clock.
PLAIN = {"Keyword", "Symbol", "Uri", "Facts", "FakeClock", "Node"}


def public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The classes that a module lists, and those that its public modules list or define."""
    for name in getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]:
        found = getattr(module, name)
        if inspect.ismodule(found) and getattr(module, "__all__", None) and found.__name__ != "factstore.drawing":
            yield from public(found)
        elif inspect.isclass(found) and (found.__module__ == module.__name__ or hasattr(module, "__all__")):
            yield f"{module.__name__}.{name}", found


def values() -> dict[str, Any]:
    found = {name: each for package in PACKAGES for name, each in public(package)}
    ours = {name: each for name, each in found.items() if each.__module__.startswith(("factstore", "overseer"))}
    return {
        name: each
        for name, each in ours.items()
        if not issubclass(each, BaseException) and not getattr(each, "_is_protocol", False) and each.__name__ not in PLAIN
    }


VALUES = values()


def test_the_list_is_the_public_one():
    assert {"factstore.Connection", "factstore.Datom", "overseer.JobRef", "overseer.events.Started"} <= VALUES.keys()


@pytest.mark.parametrize("name", sorted(VALUES))
def test_every_public_value_shows_itself(name):
    assert any(hasattr(VALUES[name], form) for form in FORMS), f"{name} has none of {', '.join(FORMS)}"


SCHEMA = "[{:db/ident :person/name, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one, :db/unique :db.unique/identity}]"
NAMES = "[:find ?n :where [_ :person/name ?n]]"


@pytest.fixture(scope="module")
def conn():
    with factstore.connect("memory:<i>") as conn:
        conn.transact(SCHEMA)
        conn.transact([{":person/name": "<b>"}])
        yield conn


def shown(conn: factstore.Connection) -> dict[str, Any]:
    db = conn.db()
    log = list(conn.log().tx_range())
    with conn.transaction() as steps:
        steps.transact([{":person/name": "<u>"}])
        open_steps = steps._repr_html_()
        steps.rollback()
    pending = conn.transact_async([])
    pending.result()
    cache = factstore.AnswerCache()
    factstore.q(NAMES, db, cache=cache)
    person = [":person/name", "<b>"]
    return {
        "connection": conn,
        "database": db,
        "log": conn.log(),
        "logged": log[1],
        "datom": log[1].data[1],
        "datoms": db.datoms("eavt"),
        "steps": html_of(open_steps),
        "rolled back": steps,
        "pending": pending,
        "cache": cache,
        "rows": db.rows(NAMES),
        "rows to read": factstore.qseq(NAMES, db),
        "entity": db.entity(person),
        "history": factstore.entity_history(db, person),
        "event": factstore.entity_history(db, person)[0],
        "difference": factstore.diff(db.as_of(1), db),
        "report": db.with_([]),
        "explanation": factstore.explain(NAMES, db),
        "attr": factstore.Attr(doc="<b>"),
        "migration": factstore.Migration("<b>", []),
        "check": factstore.maintain.check(conn),
        "migrated": factstore.migrate(conn, [], dry_run=True),
        "records": Records([log[1].data[1]]),
        "no records": Records(),
    }


class html_of:
    def __init__(self, text):
        self._repr_html_ = lambda: text


def test_the_content_of_a_table_is_escaped(conn):
    for name, value in shown(conn).items():
        html = value._repr_html_()
        assert html.startswith("<"), name
        assert not any(tag in html for tag in ("<b>", "<i>", "<u>")), name
        assert html.count("<table>") == html.count("</table>") > 0, name


def test_a_closed_connection_and_a_failed_commit_show_themselves():
    with factstore.connect("memory:") as conn:
        pending = conn.transact_async([{":not/declared": 1}])
        assert pending.exception() is not None
        assert "finished" in pending._repr_html_()
    assert "closed" in conn._repr_html_()


def test_a_long_value_is_cut():
    assert len(html_record("x", {"many": list(range(10_000))})) < 500
    many = Records([factstore.Datom(n, n, n, n, True) for n in range(300)])
    assert "300 rows, the first 200 shown" in many._repr_html_()
