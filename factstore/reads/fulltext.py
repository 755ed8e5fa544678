"""Full-text search: the facts of a string attribute whose values have some words.

    texts     every value the attribute was ever seen to have, once each, in an FTS5 index in memory
    search    texts that match ──► the view says who has them in this database value

The index knows texts and nothing else: neither entities nor time. So one serves every database value of a store (of any
time, filtered, speculated on), and it only has to be caught up with what the log says since it was last asked.
Law: the facts found are those of the database that was asked; who asked before can change scores, never facts.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from factstore.datom import tx_of
from factstore.errors import DatabaseError
from factstore.values.quoting import quoted

if TYPE_CHECKING:
    from factstore.db.database import Database
    from factstore.index.view import View
    from factstore.schema.attribute import Attribute


class Hit(NamedTuple):
    """A fact that was found, as a query binds it."""

    e: int
    v: str
    tx: int
    score: float  # more is better; how texts compare, not how facts do


def search(db: Database, attribute: Attribute, words: str) -> list[Hit]:
    """Return the facts of an attribute whose texts match, the best first.

    Args:
        words: what FTS5 takes: words that must all be there, "a phrase", a prefix*, AND, OR, NOT, parentheses.
    Raises: DatabaseError(:db.error/attribute-not-fulltext, :db.error/invalid-fulltext-search, :db.error/unsupported).
    Source: Datomic query reference, fulltext.
    """
    if not attribute.fulltext or attribute.value_type.name != "string":
        raise DatabaseError(
            ":db.error/attribute-not-fulltext",
            f"{attribute.ident} cannot be searched for words: it is no string with :db/fulltext true",
            attribute=attribute.ident,
        )
    if type(words) is not str:
        raise DatabaseError(
            ":db.error/invalid-fulltext-search", f"expected words as a string, got {quoted(words)}", words=words
        )
    matches = _texts(db, attribute).match(db.view, words)
    view, a = db.view, attribute.id
    return [
        Hit(e, v, tx_of(t), score) for text, score in matches for e, _, v, t, added in view.facts_with(a, text) if added
    ]


_known: WeakKeyDictionary[Any, dict[tuple[int, int], Texts]] = WeakKeyDictionary()
_knowing = Lock()


def _after_fork() -> None:
    """Forget every text: a thread of the parent may have been at one of them."""
    global _known, _knowing
    _known, _knowing = WeakKeyDictionary(), Lock()


os.register_at_fork(after_in_child=_after_fork)


def forget(store: object) -> None:
    """Let go of all texts of a store."""
    with _knowing:
        _known.pop(store, None)


def _texts(db: Database, attribute: Attribute) -> Texts:
    """Return the texts of an attribute of a store, as far as they were read by now."""
    if db.store is None:
        return Texts(attribute.id)
    # Where the past is forgotten, a newer index may lack what an older database still sees.
    key = attribute.id, db.view.index.version if attribute.no_history else 0
    with _knowing:
        of_store = _known.setdefault(db.store, {})
        found = of_store.get(key)
        if found is None:
            for old in [old for old in of_store if old[0] == attribute.id]:
                del of_store[old]
            found = of_store[key] = Texts(attribute.id)
        return found


class Texts:
    """The texts of one attribute of one store; may be asked from any thread."""

    def __init__(self, a: int) -> None:
        self._a = a
        self._upto = -1  # every text that came by this t is in
        self._texts: list[str] = []
        self._places: set[str] = set()
        self._lock = Lock()
        self._index = _index()

    def match(self, view: View, words: str) -> list[tuple[str, float]]:
        """Return the texts that match, the best first, among them all that a view can have."""
        with self._lock:
            self._catch_up(view)
            own = self._add_speculated(view)
            try:
                rows = self._index.execute(
                    "SELECT rowid, -rank FROM texts WHERE texts MATCH ? ORDER BY rank, rowid", (words,)
                )
                return [(self._texts[place], score) for place, score in rows]
            except sqlite3.OperationalError as error:
                raise DatabaseError(
                    ":db.error/invalid-fulltext-search",
                    f"{quoted(words)} is not a search that FTS5 understands: {error}",
                    words=words,
                ) from error
            finally:
                self._remove(own)

    def _catch_up(self, view: View) -> None:
        committed = view.layers[0].upto
        if committed > self._upto:
            news = view.cut(layers=view.layers[:1], upto=committed, after=self._upto, is_history=True, keep=None)
            self._add(news.by_entity(self._a).v.tolist())
            self._upto = committed

    def _add_speculated(self, view: View) -> int:
        """Add the texts that only this view has, for the time of one search; return how many there are."""
        before = len(self._texts)
        for layer in view.layers[1:]:
            strand = layer.novelty.strands.get(self._a)
            self._add(() if strand is None else [fact[2] for fact in strand.facts])
        return len(self._texts) - before

    def _add(self, texts: Iterable[str]) -> None:
        new = [text for text in dict.fromkeys(texts) if text not in self._places]
        first = len(self._texts)
        self._index.executemany("INSERT INTO texts(rowid, text) VALUES (?, ?)", enumerate(new, first))
        self._texts += new
        self._places.update(new)

    def _remove(self, count: int) -> None:
        """Take back the texts added last. An index without content has to be told what it forgets."""
        for _ in range(count):
            text = self._texts.pop()
            self._places.remove(text)
            self._index.execute(
                "INSERT INTO texts(texts, rowid, text) VALUES ('delete', ?, ?)", (len(self._texts), text)
            )


def _index() -> sqlite3.Connection:
    """Return an empty index; it keeps no texts, only where words are."""
    connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    try:
        connection.execute("CREATE VIRTUAL TABLE texts USING fts5(text, content='')")
    except sqlite3.OperationalError as error:
        raise DatabaseError(
            ":db.error/unsupported", f"this Python's SQLite has no full-text search: {error}"
        ) from error
    return connection
