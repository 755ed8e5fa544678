"""The words that complete a text: idents of the schema, functions, and the sections of a query.

Law: each word is a token of EDN, and is in the list once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from factstore.db.database import Database

SECTIONS: Final = (
    ":find", ":in", ":where", ":with", ":keys", ":order-by", ":limit", ":offset", ":having", ":timeout",
    ":asc", ":desc",
)  # fmt: skip
_OF_SYSTEM: Final = (":db/", ":db.")
_TYPED: Final = re.compile(r"""[^\s,()\[\]{}"';]*\Z""")
_VARIABLE: Final = re.compile(r"[?$][^\s,()\[\]{}\"';]+")


class Word(NamedTuple):
    """A word that an editor suggests."""

    text: str
    kind: str  # attribute, ident, section, function, aggregate or variable
    about: str = ""  # the type of an attribute and its documentation


def typed_word(before: str) -> str:
    """Return the unfinished word at the end of the text before the cursor.

    >>> typed_word("[?p :person/na")
    ':person/na'
    """
    found = _TYPED.search(before)
    return found[0] if found else ""


def words(db: Database) -> tuple[Word, ...]:
    """Return all words that a database offers, those of its own schema first."""
    unique: dict[str, Word] = {}
    for word in (*_of_schema(db), *_of_language()):
        unique.setdefault(word.text, word)
    return tuple(unique.values())


def fitting(known: tuple[Word, ...], typed: str, text: str = "", *, most: int = 50) -> list[Word]:
    """Return the words that complete an unfinished one: those that start with it, then those that contain it.

    Args:
        text: the whole text; a variable is completed by the variables in it.
    """
    if not typed:
        return []
    if typed[0] in "?$":
        names = dict.fromkeys(_VARIABLE.findall(text))
        return [Word(name, "variable") for name in names if name.startswith(typed) and name != typed][:most]
    part = typed.removeprefix(":")
    starts = [word for word in known if word.text.startswith(typed)]
    contains = [word for word in known if part and part in word.text and word.text[0] == typed[0]]
    return [word for word in dict.fromkeys([*starts, *contains]) if word.text != typed][:most]


def _of_schema(db: Database) -> Iterator[Word]:
    from factstore.query import q

    attributes = sorted(db.schema.attributes, key=lambda each: (each.ident.startswith(_OF_SYSTEM), each.ident))
    for each in attributes:
        many = ", many" if each.many else ""
        about = each.value_type.name.removeprefix(":db.type/") + many + (f": {each.doc}" if each.doc else "")
        yield Word(str(each.ident), "attribute", about)
    for ident in sorted(q("[:find [?ident ...] :where [_ :db/ident ?ident]]", db)):
        yield Word(str(ident), "ident")


def _of_language() -> Iterator[Word]:
    from factstore.query.functions.aggregates import AGGREGATES
    from factstore.query.functions.scalar import FUNCTIONS

    yield from (Word(name, "section") for name in SECTIONS)
    yield from (Word(name, "aggregate") for name in sorted(AGGREGATES))
    yield from (Word(name, "function") for name in sorted(FUNCTIONS))
    yield from (Word(name, "function") for name in ("fulltext", "get-else", "get-some", "ground", "missing?", "pull"))


class KnownWords:
    """The words of a database; they are computed again when its schema has changed."""

    def __init__(self) -> None:
        self._last: tuple[object, tuple[Word, ...]] = (None, ())

    def of(self, db: Database) -> tuple[Word, ...]:
        """Return the words of a database."""
        if self._last[0] is not db.schema:
            self._last = (db.schema, words(db))
        return self._last[1]
