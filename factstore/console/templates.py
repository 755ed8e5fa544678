"""The templates of the pages: Jinja with escaping, no script and no style in any attribute, and filters for values."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined

from factstore import edn
from factstore.console.page import Extension, Ref
from factstore.errors import FactStoreError
from factstore.values.quoting import text_of
from factstore.values.types import Keyword

LONGEST: Final = 400  # characters of a value on a page
_OWN: Final = Path(__file__).parent / "html"


def environment(extensions: Iterable[Extension]) -> Environment:
    """Return the environment for the templates of the console and of its extensions."""
    folders = [_OWN, *(extension.templates for extension in extensions)]
    loader = ChoiceLoader([FileSystemLoader(folder) for folder in folders])
    made = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, cache_size=100
    )
    made.filters.update(edn=shown, instant=instant, number=number, kind=kind, millis=millis, json_text=json.dumps)
    made.tests["reference"] = lambda cell: type(cell) is Ref
    return made


def shown(value: Any) -> str:
    """Return a value as the text of a cell: strings without quotes, other values as EDN, both shortened."""
    if value is None:
        return ""
    text = str(value) if isinstance(value, str) else instant(value) if isinstance(value, datetime) else _edn(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _edn(value: Any) -> str:
    try:
        return edn.write(value)
    except FactStoreError:  # an object of the application, from a registered function
        return text_of(value)


def instant(value: datetime | None) -> str:
    """Return an instant as text, in UTC, to the millisecond; "" for None."""
    if value is None:
        return ""
    text = value.astimezone(UTC).isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")
    return text.removesuffix(".000")


def millis(value: datetime) -> int:
    """Return an instant as milliseconds since 1970."""
    return round(value.timestamp() * 1000)


def number(value: float) -> str:
    """Return a number with separated thousands."""
    return f"{value:,}"


def kind(value: Any) -> str:
    """Return the class of a cell: how a value of its type is aligned and coloured."""
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, Keyword):
        return "keyword"
    return "text" if isinstance(value, str) else "value"
