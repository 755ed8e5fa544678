"""What completes a text: the schema of the database, functions, sections, and the variables of the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore import edn
from factstore.editing.words import KnownWords, fitting, typed_word, words

SCHEMA = """[{:db/ident :person/name, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one, :db/doc "Her name."}
             {:db/ident :person/friends, :db/valueType :db.type/ref, :db/cardinality :db.cardinality/many}
             {:db/ident :color/red}]"""


@pytest.fixture(scope="module")
def db():
    with factstore.connect("memory:") as conn:
        yield conn.transact(SCHEMA).db_after


def texts(found):
    return [word.text for word in found]


def test_attributes_come_first_with_their_type_and_documentation(db):
    found = fitting(words(db), ":person/")
    assert [":person/friends", ":person/name"] == texts(found)
    assert ["ref, many", "string: Her name."] == [word.about for word in found]


def test_a_part_of_a_name_finds_it_too(db):
    assert ":person/name" == texts(fitting(words(db), ":name"))[0]
    assert ":color/red" in texts(fitting(words(db), ":red"))


def test_functions_sections_and_variables(db):
    known = words(db)
    assert {"count", "count-distinct"} <= set(texts(fitting(known, "coun")))
    assert ":where" in texts(fitting(known, ":wh"))
    assert ["?name"] == texts(fitting(known, "?n", "[:find ?name :where [?e :person/name ?n"))
    assert [] == fitting(known, "", "[:find ?name")


def test_each_word_is_one_token_of_edn_and_occurs_once(db):
    known = texts(words(db))
    assert len(known) == len(set(known))
    for word in known:
        assert 1 == len(edn.read_all(word))


@given(st.text(alphabet='[]{}() :?ab/"\n', max_size=20))
def test_the_typed_word_is_the_end_of_the_text(text):
    word = typed_word(text)
    assert text.endswith(word)
    assert not set(word) & set('[]{}() "\n')


def test_words_follow_the_schema(db):
    known = KnownWords()
    before = known.of(db)
    assert before is known.of(db)
    after = db.with_([{":db/ident": ":color/blue"}]).db_after
    assert ":color/blue" in texts(known.of(after))
    assert ":color/blue" not in texts(before)
