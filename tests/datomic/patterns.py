"""Pull patterns over the attributes of a case."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from factstore import Keyword, Symbol


@st.composite
def patterns(draw: DrawFn, attributes: list[Any], depth: int = 2) -> list[Any]:
    """Draw a pattern."""
    specs: list[Any] = []
    if draw(st.integers(0, 3)) == 3:
        specs.append(Symbol("*"))
    if draw(st.booleans()):
        specs.append(Keyword(":db/id"))
    for attribute in draw(st.lists(st.sampled_from(attributes), max_size=4, unique=True)):
        specs.append(_spec(draw, attribute, attributes, depth))
    return specs or [Keyword(":db/id")]


def _spec(draw: DrawFn, attribute: Any, attributes: list[Any], depth: int) -> Any:
    is_ref = attribute.kind == "ref"
    is_reverse = is_ref and draw(st.integers(0, 3)) == 3
    name = Keyword(f":x/_{attribute.ident[3:]}" if is_reverse else attribute.ident)
    options = draw(_options(attribute.many or is_reverse))
    named: Any = [name, *options] if options else name
    if is_ref and depth and draw(st.booleans()):
        sub = draw(st.sampled_from((1, 2, Symbol("..."))) | patterns(attributes, depth=depth - 1))
        return {tuple(named) if isinstance(named, list) else named: sub}
    return named


def _options(many: bool) -> SearchStrategy[list[Any]]:
    kinds: list[SearchStrategy[list[Any]]] = [
        st.sampled_from((Keyword(":as/x"), "text", Keyword(":n"))).map(lambda to: [Keyword(":as"), to]),
        st.sampled_from((0, "none", Keyword(":no"))).map(lambda to: [Keyword(":default"), to]),
    ]
    if many:
        kinds.append(st.sampled_from((1, 2, None)).map(lambda to: [Keyword(":limit"), to]))
    return st.just([]) | st.just([]) | st.one_of(kinds)
