"""Full-text search: the facts of a string attribute whose values contain given words.

    texts     an FTS5 index in memory with every value that the attribute has had, once each
    search    the index finds texts that match ──► the view finds the facts of this database value with these texts

The index contains only texts, without entities and times. So one index serves all database values of a store (of any
time, filtered or speculative). Before a search, it adds the texts of the transactions since the last search.
Law: the result contains only facts of the searched database; earlier searches can change scores, but never facts.
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
    """A fact that matches a search, in the order in which a query binds it."""

    e: int
    v: str
    tx: int
    score: float  # higher is better; it belongs to the text, so that facts with equal texts have equal scores


def search(db: Database, attribute: Attribute, words: str) -> list[Hit]:
    """Return the facts of an attribute whose texts match, best first.

    Args:
        words: a search in the syntax of FTS5: words that must all occur, "a phrase", a prefix*, AND, OR, NOT,
            parentheses.
    Raises: DatabaseError(:db.error/attribute-not-fulltext, :db.error/invalid-fulltext-search, :db.error/unsupported).
    Source: Datomic query reference, fulltext.
    """
    if not attribute.fulltext or attribute.value_type.name != "string":
        raise DatabaseError(
            ":db.error/attribute-not-fulltext",
            f"{attribute.ident} cannot be searched for words: it is not a string attribute with :db/fulltext true",
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


_texts_by_store: WeakKeyDictionary[Any, dict[tuple[int, int], Texts]] = WeakKeyDictionary()
_knowing = Lock()


def _after_fork() -> None:
    """Drop all indexes: a thread of the parent may have been using one at the fork."""
    global _texts_by_store, _knowing
    _texts_by_store, _knowing = WeakKeyDictionary(), Lock()


os.register_at_fork(after_in_child=_after_fork)


def forget(store: object) -> None:
    """Drop the indexes of a store."""
    with _knowing:
        _texts_by_store.pop(store, None)


def _texts(db: Database, attribute: Attribute) -> Texts:
    """Return the index of an attribute, which may not contain the newest texts yet."""
    if db.store is None:
        return Texts(attribute.id)
    # Without history, a newer index of the store can lack values that an older database still has.
    key = attribute.id, db.view.index.version if attribute.no_history else 0
    with _knowing:
        of_store = _texts_by_store.setdefault(db.store, {})
        texts = of_store.get(key)
        if texts is None:
            for old in [old for old in of_store if old[0] == attribute.id]:
                del of_store[old]
            texts = of_store[key] = Texts(attribute.id)
        return texts


class Texts:
    """The texts of one attribute of one store; every thread can search them."""

    def __init__(self, a: int) -> None:
        self._a = a
        self._upto = -1  # the index contains all texts up to this t
        self._texts: list[str] = []
        self._indexed: set[str] = set()  # the same texts
        self._lock = Lock()
        self._index = _index()

    def match(self, view: View, words: str) -> list[tuple[str, float]]:
        """Return the texts that match, best first: at least all that a view has, possibly also others."""
        with self._lock:
            self._catch_up(view)
            speculated = self._add_speculated(view)
            try:
                rows = self._index.execute(
                    "SELECT rowid, -rank FROM texts WHERE texts MATCH ? ORDER BY rank, rowid", (words,)
                )
                return [(self._texts[row_id], score) for row_id, score in rows]
            except sqlite3.OperationalError as error:
                raise DatabaseError(
                    ":db.error/invalid-fulltext-search",
                    f"{quoted(words)} is not a valid search of FTS5: {error}",
                    words=words,
                ) from error
            finally:
                self._remove(speculated)

    def _catch_up(self, view: View) -> None:
        committed = view.layers[0].upto
        if committed > self._upto:
            newer = view.cut(layers=view.layers[:1], upto=committed, after=self._upto, is_history=True, keep=None)
            self._add(newer.by_entity(self._a).v.tolist())
            self._upto = committed

    def _add_speculated(self, view: View) -> int:
        """Add the texts of speculations for one search, and return how many were new; `_remove` removes them."""
        before = len(self._texts)
        for layer in view.layers[1:]:
            strand = layer.novelty.strands.get(self._a)
            # The novelty can contain later transactions, of other databases.
            self._add(() if strand is None else [fact[2] for fact in strand.facts if fact[3] <= layer.upto])
        return len(self._texts) - before

    def _add(self, texts: Iterable[str]) -> None:
        new = [text for text in dict.fromkeys(texts) if text not in self._indexed]
        first = len(self._texts)
        self._index.executemany("INSERT INTO texts(rowid, text) VALUES (?, ?)", enumerate(new, first))
        self._texts += new
        self._indexed.update(new)

    def _remove(self, count: int) -> None:
        """Remove the texts added last. An index without content needs the text of each row that it deletes."""
        for _ in range(count):
            text = self._texts.pop()
            self._indexed.remove(text)
            self._index.execute(
                "INSERT INTO texts(texts, rowid, text) VALUES ('delete', ?, ?)", (len(self._texts), text)
            )


def _index() -> sqlite3.Connection:
    """Return an empty index, which stores the positions of words but no texts."""
    connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    try:
        connection.execute("CREATE VIRTUAL TABLE texts USING fts5(text, content='')")
    except sqlite3.OperationalError as error:
        raise DatabaseError(
            ":db.error/unsupported", f"this Python's SQLite has no full-text search: {error}"
        ) from error
    return connection
