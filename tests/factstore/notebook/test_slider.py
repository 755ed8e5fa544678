"""The slider without a page: what Python answers for each t."""

from __future__ import annotations

import pytest

import factstore
from factstore.notebook import slider
from factstore.notebook.widget import html_of

NAMES = "[:find ?name :where [_ :person/name ?name]]"


@pytest.fixture
def conn():
    with factstore.connect("memory:") as conn:
        conn.transact("[{:db/ident :person/name, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one}]")
        conn.transact([{":person/name": "Ann"}])
        conn.transact([{":person/name": "<Bob>"}])
        yield conn


def test_the_value_is_that_of_the_moment(conn):
    widget = slider(conn, lambda db: db.rows(NAMES))
    assert (3, 3, 3) == (widget.t, widget.last, widget.shown)
    assert "&lt;Bob&gt;" in widget.html
    widget.t = 2
    assert ("Bob" in widget.html, "Ann" in widget.html, widget.shown) == (False, True, 2)
    assert widget.moment == conn.db().instant_of(2).isoformat(" ", "seconds")
    widget.t = 0
    assert ("0 rows" in widget.html, widget.moment) == (True, "before the first transaction")


def test_new_transactions_make_it_longer(conn):
    widget = slider(conn, lambda db: db.basis_t, t=1)
    conn.transact([{":person/name": "Cat"}])
    assert 3 == widget.last
    widget.t = 2
    assert 4 == widget.last


def test_an_error_of_the_view_is_shown_in_its_place(conn):
    widget = slider(conn, lambda db: db.q("[:find ?x :where [?x :person/nme]]"))
    assert "did you mean :person/name" in widget.html
    conn.close()
    widget.t = 1
    assert "closed" in widget.html
    assert 1 == widget.shown


@pytest.mark.parametrize("t", [-5, 99])
def test_a_t_outside_of_the_store_is_its_nearest_end(conn, t):
    widget = slider(conn, lambda db: str(db.as_of_t), t=t)
    expected = max(0, min(t, 3))
    assert (expected, f"<pre>{expected}</pre>") == (widget.t, widget.html)
    widget.t = t
    assert f"<pre>{expected}</pre>" == widget.html


class Picture:
    def _repr_html_(self):
        return None

    def _repr_svg_(self):
        return "<svg></svg>"


class Photo:
    def _repr_png_(self):
        return b"png"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Picture(), "<svg></svg>"),
        (Photo(), '<img alt="" src="data:image/png;base64,cG5n">'),
        ("<b>", "<pre>&lt;b&gt;</pre>"),
        (42, "<pre>42</pre>"),
        (None, "<pre>None</pre>"),
    ],
)
def test_the_richest_form_of_a_value_is_shown(value, expected):
    assert expected == html_of(value)
