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


def test_a_difference_is_a_tuple_that_prints_as_a_table() -> None:
    report = evil()
    change = factstore.diff(report.db_before, report.db_after)
    assert tuple(change) == change
    lines = str(change).splitlines()
    assert ["entity", "attribute", "value", "t"] == lines[0].split()
    assert len(change) == len(lines) - 1
    page = Cells(change._repr_html_())
    assert EVIL in page.cells
    assert ["-", "+"] == [sign for sign, name in zip(page.cells[::5], page.cells[2::5], strict=True) if name == ":u/name"]
    assert "0 datoms apart" in factstore.diff(report.db_after, report.db_after)._repr_html_()


def test_a_long_difference_shows_its_beginning_in_a_notebook_and_all_of_it_as_text() -> None:
    conn = people()
    db = conn.db()
    change = factstore.diff(db, conn.transact([{":u/age": n} for n in range(300)]).db_after)
    assert 200 == len(Cells(change._repr_html_()).cells) // 5
    assert "101 not shown" in change._repr_html_()
    assert 302 == len(str(change).splitlines())


def test_a_database_and_an_entity_print_more_when_they_are_asked_to_as_text() -> None:
    db = evil().db_after
    assert ":u/name" in str(db)
    assert "attribute" in str(db).splitlines()[1]
    found = entity(db, ANN)
    assert EVIL in str(found)
    assert f"{found!r}" == str(found).splitlines()[0]
    assert ["-", "+"] == [line.split()[0] for line in str(evil()).splitlines() if ":u/name" in line]
