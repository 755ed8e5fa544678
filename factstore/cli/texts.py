"""Arguments as text: EDN from an argument, a file or stdin, values, and entities.

'[:find …]'    the text itself      7  :a/b  [:person/email "ann@x"]    an entity as EDN
@query.edn     the text of a file   :person/email=ann@x                 an entity by a unique value
-              the text of stdin
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from factstore import Keyword, Symbol, edn
from factstore.cli.commands import EXIT_REFUSED, end
from factstore.errors import FactStoreError
from factstore.schema.attribute import Attribute
from factstore.tables.texts import READERS
from factstore.values.quoting import quoted


def text_of(argument: str) -> str:
    """Return the text that an argument stands for."""
    if argument != "-" and not argument.startswith("@"):
        return argument
    try:
        return sys.stdin.read() if argument == "-" else Path(argument[1:]).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        end(f"{argument} is not UTF-8: {error}", EXIT_REFUSED)


def value_of(text: str) -> Any:
    """Return the value in a text; a text that is not EDN, or is a symbol, is a string."""
    try:
        value = edn.read(text)
    except FactStoreError:
        return text
    return text if isinstance(value, Symbol) else value


def pair_of(text: str) -> tuple[str, Any]:
    """Return the attribute and the value of a text such as `:mail/to=ann@x`. Raises: click.BadParameter."""
    attribute, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{quoted(text)} is not an attribute with a value, such as :mail/to=ann@x")
    return attribute if attribute.startswith(":") else f":{attribute}", value_of(value)


def entity_of(text: str) -> Any:
    """Return the entity that a text names: an id, an ident, a lookup ref, or a unique attribute with its value."""
    if text.startswith(":") and "=" in text:
        return list(pair_of(text))
    value = edn.read(text)
    return list(value) if isinstance(value, tuple) else value


def typed_value(attribute: Attribute, text: str) -> Any:
    """Return the value that a text has for an attribute: a string needs no quotes.

    Raises: ValueError for a text that is none of the type.
    """
    kind = attribute.value_type.name
    if kind == "string":
        return text
    if kind == "keyword":
        return Keyword(text if text.startswith(":") else f":{text}")
    if kind == "ref":
        return entity_of(text)
    return READERS[kind](text) if kind in READERS else edn.read(text)
