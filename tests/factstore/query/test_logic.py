"""not, not-join, or and or-join: what they share with the clauses beside them, and when they mean nothing."""

from __future__ import annotations

import pytest

from factstore import q
from factstore.errors import QueryError

ZOO = [
    *[("owl", ":legs", 2), ("owl", ":eats", "mice"), ("owl", ":keeper", "lou")],
    *[("emu", ":legs", 2), ("emu", ":eats", "seeds"), ("emu", ":eats", "bugs"), ("emu", ":tame", True)],
    *[("cow", ":legs", 4), ("cow", ":eats", "grass"), ("cow", ":tame", True), ("cow", ":mate", "emu")],
    *[("eel", ":legs", 0), ("eel", ":eats", "bugs"), ("eel", ":tame", False), ("eel", ":keeper", "lou")],
]
OTHERS = [("owl", 1), ("cow", 2)]


def found(where: str) -> set[str]:
    return set(q(f"[:find [?e ...] :in $ $2 :where {where}]", ZOO, OTHERS))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("[?e :legs] (not [?e :keeper])", {"emu", "cow"}),
        ("[?e :legs] (not [?e :tame false])", {"owl", "emu", "cow"}),
        ("[?e :legs] (not [?e :legs 2] [?e :tame true])", {"owl", "cow", "eel"}),
        ("[?e :legs] (not [?e :eats ?food] [?e :legs 2])", {"cow", "eel"}),
        ("(not [?e :keeper]) [?e :legs]", {"emu", "cow"}),
        ("[?e :legs] (not (not [?e :keeper]))", {"owl", "eel"}),
        ("[?e :legs ?n] (not [(> ?n 1)])", {"eel"}),
        ("[?e :legs] (not-join [?e] [?m :mate ?e])", {"owl", "cow", "eel"}),
        ("[?e :legs] [?x :legs 4] (not-join [?e] [?e :keeper ?x])", {"emu", "cow"}),
        ("[?e :legs] ($2 not [?e])", {"emu", "eel"}),
        ("[?e :legs] (or [?e :legs 4] [?e :keeper])", {"cow", "owl", "eel"}),
        ("(or [?e :legs 4] (and [?e :tame true] [?e :legs 2]))", {"cow", "emu"}),
        ("[?e :legs ?n] (or [(< ?n 1)] [(> ?n 3)])", {"eel", "cow"}),
        ('[?e :legs] (or-join [?e] [?e :mate ?m] (and [?e :eats ?f] [(= ?f "mice")]))', {"cow", "owl"}),
        ("[?e :legs ?n] (or-join [[?n] ?e] (and [(= ?n 0)] [?e :legs]) (and [(= ?n 4)] [?e :tame true]))", {"eel", "cow"}),
        ("[?e :legs] [?m :legs 4] (or-join [?e] [?e :legs 0] (and [?m :mate ?e] [?m :legs]))", {"eel", "emu"}),
        ("[?e :legs ?n] (or-join [?e ?n] [?e :tame true] [(= ?n 0)])", {"emu", "cow", "eel"}),
        ("[?e :legs ?n] (or-join [?e ?n] [?e :tame true] [?e :keeper])", {"owl", "emu", "cow", "eel"}),
        ("[?e :legs ?n] (not-join [?e ?n] [?e :tame true])", {"owl", "eel"}),
        ("[?e :legs] (or ($2 or [?e 1]) [?e :legs 0])", {"owl", "eel"}),
        ("[?e :legs] (or [?e :legs 0] (and [?e :tame true] (not [?e :eats ?z])))", {"eel"}),
    ],
)
def test_a_compound_clause_keeps_what_it_holds_for(where: str, expected: set[str]) -> None:
    assert expected == found(where)


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("[?e :legs] (not [?x :legs 2])", "?x"),
        ("[?e :legs] (not-join [?x] [?x :legs 2])", "?x"),
        ("[?e :legs] (or-join [[?x] ?e] [?e :legs ?x])", "?x"),
        ("[?e :legs] (or [(> ?x 1)] [(< ?x 3)])", "?x"),
        ("[?e :legs] (not [?e :legs ?n] [(> ?n ?x)])", "?x"),
        ("[?e :legs] (not-join [?x] [?e :legs])", "?x"),
        ("(or-join [?e ?x] [?e :legs ?x] [?e :tame])", "?x"),
    ],
)
def test_a_compound_clause_that_cannot_be_joined_names_the_variable(where: str, names: str) -> None:
    with pytest.raises(QueryError) as raised:
        found(where)
    assert ":db.error/insufficient-binding" == raised.value.code
    assert names in raised.value.variables


@pytest.mark.parametrize(
    "clause",
    [
        "(not)",
        "(not-join [] [?e :legs])",
        "(not-join [?e])",
        "(not-join [?e ?e] [?e :legs])",
        "(or)",
        "(or-join [?e])",
        "(or [?e :legs ?n] [?e :tame])",
        "(or (and))",
        "(and [?e :legs])",
        "(not 5)",
    ],
)
def test_a_compound_clause_that_means_nothing_is_refused(clause: str) -> None:
    with pytest.raises(QueryError) as raised:
        found(f"[?e :legs] {clause}")
    assert ":db.error/invalid-query" == raised.value.code
