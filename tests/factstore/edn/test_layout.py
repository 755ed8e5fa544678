"""EDN laid out for people: the same values and comments, and nothing to do the second time."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from factstore import edn
from factstore.edn.layout import laid_out
from factstore.errors import ReadError

ATOMS = st.sampled_from(
    [
        "nil",
        "1",
        ":a/b",
        ":find",
        ":where",
        "?x",
        '"a b"',
        '"line\nbreak"',
        '"日本"',
        "\\a",
        "##Inf",
        "sym",
        '";"',
        "'",
        '#inst "2026-11-24"',
    ]
)
SPACE = st.sampled_from([" ", "\n", ", ", "\n\n", " ; note\n", "\n;; 1 ]\n", "\n\n\n;\n\n", " #_ gone ", " #_[1 2]\n"])


def nested(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    spaced = st.lists(st.tuples(items, SPACE).map("".join), max_size=6).map("".join)
    pairs = st.dictionaries(st.integers().map(str), st.tuples(SPACE, items, SPACE).map("".join), max_size=4)
    maps = pairs.map(lambda pairs: "{" + "".join(f"{key} {value}" for key, value in pairs.items()) + "}")
    return st.tuples(SPACE, spaced).map("".join).flatmap(lambda text: st.sampled_from([f"[{text}]", f"({text})", f"#a/b [{text}]"])) | maps


TEXTS = st.lists(
    st.tuples(st.recursive(ATOMS.filter(lambda atom: atom != "'"), nested, max_leaves=12), SPACE).map("".join), max_size=4
).map("".join)


def values(text: str) -> object:
    return edn.read_all(text, tags={"a/b": lambda value: ("tag", value)})


def comments(text: str) -> list[str]:
    without_strings = re.sub(r'"(?:\\.|[^"\\])*"', "", text)
    return [comment.rstrip() for comment in re.findall(r";[^\n]*", without_strings)]


@given(TEXTS, st.sampled_from([1, 10, 30, 100]))
@example("{1 ; key\n 2}", 100)
@example("#_ #_ 1 2 3", 100)
@example('"a\n  b" 1', 100)
@settings(deadline=None)
def test_a_layout_has_the_same_values_and_comments_and_is_its_own_layout(text: str, width: int) -> None:
    after = laid_out(text, width=width)
    assert values(text) == values(after)
    assert sorted(comments(text)) == sorted(comments(after))
    assert after == laid_out(after, width=width)
    assert "\n\n\n" not in re.sub(r'"(?:\\.|[^"\\])*"', "s", after)


def test_a_query_is_laid_out_by_its_sections_and_a_map_by_its_pairs() -> None:
    text = "[:find ?name (count ?e) :in $ ?born :where [?e :person/born ?born]\n[?e :person/name ?name]]{:db/ident :person/name, :db/valueType :db.type/string}"
    assert laid_out(text, width=50) == (
        "[:find ?name (count ?e)\n :in $ ?born\n :where [?e :person/born ?born]\n        [?e :person/name ?name]]\n"
        "{:db/ident :person/name\n :db/valueType :db.type/string}\n"
    )


@pytest.mark.parametrize("text", ["[1", "{1}", "'a", "]", "[" * 300 + "]" * 300, '"open'])
def test_a_text_that_is_not_edn_is_rejected(text: str) -> None:
    with pytest.raises(ReadError):
        laid_out(text)
