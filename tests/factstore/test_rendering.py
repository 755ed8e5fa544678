"""How databases, reports and entities look in a terminal and in a notebook."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

import factstore
from factstore import entity
from tests.factstore.tx import ANN, people

EVIL = '<script>alert(1)</script> & "quotes"'


class Cells(HTMLParser):
    """The tags and the cells of a page; fails when tags do not close as they opened."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.cells: list[str] = []
        self.styles: list[str] = []
        self.feed(html)
        assert [] == self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        self.tags.add(tag)
        if tag == "td":
            self.cells.append("")
        if tag == "tr":
            self.styles += [value for name, value in attrs if name == "style"]

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "td":
            self.cells[-1] += data


def evil() -> factstore.TxReport:
    return people().transact([[":db/add", ANN, ":u/name", EVIL]])


@pytest.mark.parametrize("shown", [lambda report: report, lambda report: entity(report.db_after, ANN)], ids=["report", "entity"])
def test_a_value_is_shown_as_it_is_and_never_becomes_markup(shown: Any) -> None:
    page = Cells(shown(evil())._repr_html_())
    assert EVIL in page.cells
    assert page.tags <= {"table", "caption", "thead", "tbody", "tr", "th", "td"}


def test_a_report_colours_what_was_retracted_apart_from_what_was_asserted() -> None:
    page = Cells(evil()._repr_html_())
    assert ["+", "-", "+"] == page.cells[::4]
    added, retracted, again = page.styles
    assert added == again != retracted


def test_a_report_of_very_many_datoms_shows_the_first_and_says_how_many_are_left() -> None:
    report = people().transact([{":u/age": n} for n in range(300)])
    html = report._repr_html_()
    assert 200 == len(Cells(html).cells) // 4
    assert "101 not shown" in html


def test_a_database_shows_its_basis_and_how_many_datoms_each_attribute_has() -> None:
    db = people().db()
    html = db._repr_html_()
    cells = Cells(html).cells
    assert f"t={db.basis_t}" in html
    assert ("string", "2") == tuple(cells[cells.index(":u/nick") + 1 :][:2])
    assert ":u/home" not in cells
    assert ":u/nick" not in db.as_of(1)._repr_html_()


def test_an_older_database_does_not_mind_attributes_that_came_later() -> None:
    conn = factstore.connect("memory:")
    db = conn.db()
    conn.transact("[{:db/ident :later :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]")
    conn.transact([{":later": 1}])
    assert ":later" not in db._repr_html_()


def test_in_a_terminal_each_says_briefly_what_it_is() -> None:
    report = evil()
    db = report.db_after
    assert f"<Database t={db.basis_t}>" == repr(db)
    assert f"<Database t={db.basis_t} as_of=1 history=True filtered>" == repr(db.as_of(1).history().filter(lambda _db, _datom: True))
    assert f"<TxReport t={db.basis_t}, 3 datoms>" == repr(report)
    assert f"<Entity {db.entid(':u/age')} :u/age t={db.basis_t}>" == repr(entity(db, ":u/age"))
