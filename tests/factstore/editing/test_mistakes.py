"""An error marks the part of the text that it is about."""

from __future__ import annotations

import pytest

import factstore
from factstore.editing.mistakes import in_words, mistake_in
from factstore.errors import FactStoreError


def mistake(text, *inputs):
    with pytest.raises(FactStoreError) as caught:
        factstore.q(text, *inputs)
    return caught.value


def test_a_place_is_marked_by_line_and_column():
    text = "[:find ?e\n :where [?e :a ?v)]"
    found = mistake_in(text, mistake(text, []))
    assert ")" == found.marked
    assert text == found.before + found.marked + found.after


def test_an_open_bracket_is_marked_alone():
    text = "[:find ?e"
    assert "[" == mistake_in(text, mistake(text, [])).marked


def test_a_word_that_the_error_names_is_underlined():
    with factstore.connect("memory:") as conn:
        text = "[:find ?e\n :where [?e :a/b]]"
        lines = in_words(text, mistake(text, conn.db())).splitlines()
    assert ["     :where [?e :a/b]]", "                ^^^^"] == lines[-2:]


def test_a_number_with_more_digits_than_python_shows_is_marked():
    with factstore.connect("memory:") as conn:
        number = "9" * 5000
        text = f"[{{:db/doc {number}}}]"
        with pytest.raises(FactStoreError) as caught:
            conn.transact(text)
    assert number == mistake_in(text, caught.value).marked


def test_an_error_without_a_place_is_its_sentence():
    error = FactStoreError(":db.error/x", "nothing in particular")
    assert ":db.error/x: nothing in particular" == in_words("[1]", error)
