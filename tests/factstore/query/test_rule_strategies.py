"""Strategies for recursive rules: those that apply to a call return the same answers."""

from __future__ import annotations

from typing import Any

import pytest

from factstore import explain, q
from factstore.query.rules import dispatch
from tests.factstore.query.test_rules import CIRCLE, DOUBLE, EDGES, GUARDED, LEFT, MUTUAL, RIGHT

CALLS = [
    ("(go ?a ?b)", CIRCLE),
    ("[(ground 1) ?a] (go ?a ?b)", {(1, b) for b in (1, 2, 3)}),
    ("[(ground 6) ?b] (go ?a ?b)", {(5, 6)}),
    ("[?a :w] (go ?a ?b)", {(a, b) for a in (1, 3) for b in (1, 2, 3)}),
]


@pytest.mark.parametrize("number", range(len(dispatch.STRATEGIES)), ids=[each.name for each in dispatch.STRATEGIES])
@pytest.mark.parametrize("rules", [RIGHT, LEFT, DOUBLE, GUARDED, MUTUAL])
@pytest.mark.parametrize(("call", "expected"), CALLS)
def test_each_strategy_has_the_same_answers(call: str, expected: Any, rules: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {dispatch.STRATEGIES[number], dispatch.STRATEGIES[-1]}  # the last one applies where the others do not
    monkeypatch.setattr(dispatch, "STRATEGIES", tuple(each for each in dispatch.STRATEGIES if each in chosen))
    assert expected == q(f"[:find ?a ?b :in $ % :where {call}]", EDGES, rules)


def test_the_first_strategy_that_applies_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "STRATEGIES", dispatch.STRATEGIES[1:])
    steps = explain("[:find ?b :in $ % :where (go 1 ?b)]", EDGES, RIGHT).data
    assert "rule: right-linear recursion" == steps[0].access
