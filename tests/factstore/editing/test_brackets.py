"""A text is complete when no more of it is needed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factstore import edn
from factstore.editing.brackets import is_complete

atoms = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.just(edn.read(":a/b")), st.just(edn.read("\\(")))
forms = st.recursive(
    st.lists(atoms, max_size=3), lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=3), parts, max_size=2)
)


@given(forms)
def test_a_form_is_complete_and_none_of_its_beginnings_is(form):
    text = edn.write(form)
    assert is_complete(text)
    assert not any(is_complete(text[:n]) for n in range(len(text)))


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("", False),
        ("  ; nothing yet", False),
        ("[:find ?e ; a ] in a comment", False),
        ('["a ] in a string"', False),
        ("[]", True),
        ("[:find ?e] ; and more", True),
        ("#_", False),
        ("#_ [1]", True),
        ("#inst", False),
        ('#inst "2026-01-01"', True),
        ("]", True),
        ("##Inf", True),
        ("[\\]", False),
        ("#{1 2", False),
        ("42", True),
    ],
)
def test_what_counts(text, complete):
    assert complete == is_complete(text)
