"""The entry point of hypothesis: `st.from_type` and `st.builds` can make keywords, symbols and uris."""

from __future__ import annotations

from typing import Any


def register() -> None:
    """Register strategies for the types of values that factstore defines. Called by hypothesis when it is imported."""
    from hypothesis import strategies as st

    from factstore.values.types import Keyword, Symbol, Uri

    for kind, name in ((Keyword, "keyword"), (Symbol, "symbol"), (Uri, "uri")):
        st.register_type_strategy(kind, _strategy_of(name))


def _strategy_of(name: str) -> Any:
    def strategy(_kind: type) -> Any:
        from factstore.testing.strategies.values import of_type

        return of_type(name)

    return strategy
