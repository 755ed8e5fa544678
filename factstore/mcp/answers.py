"""Answers as JSON within limits.

Values that JSON has stay; keywords are their text, and all other values are EDN, so that they can be used in the next
query: #inst "2026-01-31T12:00:00Z". Law: the text of an answer has at most the bytes of the limit, and no list that a
tool gives as an iterator has more rows than the limit; if rows are left out, `truncated` states it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from typing import Any, Final

from factstore import edn
from factstore.errors import FactStoreError, QueryStopped
from factstore.mcp.session import Session
from factstore.mcp.tools import Answer
from factstore.values.numerals import is_short
from factstore.values.quoting import text_of

_NOTE_BYTES: Final = 300  # reserved for `truncated`


def answer_text(answer: Answer, session: Session) -> str:
    """Return an answer as JSON.

    Raises: QueryStopped(:db.error/query-too-large) if it is too large without its lists;
        QueryStopped(:db.error/query-cancelled).
    """
    small = {name: plain(value) for name, value in answer.items() if not isinstance(value, Iterator)}
    left = session.limits.bytes - len(_json(small).encode()) - _NOTE_BYTES
    if left < 0:
        text = f"the answer has more than {session.limits.bytes:,} bytes; select fewer attributes, or limit them"
        raise QueryStopped(":db.error/query-too-large", text, limit=session.limits.bytes)
    parts, notes = [f"{_json(name)}: {_json(value)}" for name, value in small.items()], []
    for name, value in answer.items():
        if isinstance(value, Iterator):
            lines, reason = _lines(value, session, left - len(name) - 10)
            left -= sum(len(line.encode()) + 2 for line in lines) + len(name) + 10
            parts.append(f"{_json(name)}: [{', '.join(lines)}]")
            notes += [f"only the first {len(lines):,} of {name} are shown: {reason}"] if reason else []
    if notes:
        parts.append(f'"truncated": {_json("; ".join(notes))}')
    return f"{{{', '.join(parts)}}}"


def _lines(rows: Iterator[Any], session: Session, size: int) -> tuple[list[str], str]:
    """Return rows as JSON, and the reason why there are no more of them, if there are more."""
    lines: list[str] = []
    for row in rows:
        if session.cancel.is_set():
            raise QueryStopped(":db.error/query-cancelled", "the call was cancelled, or its time was over")
        if len(lines) == session.limits.rows:
            return lines, f"an answer has at most {session.limits.rows:,} rows"
        line = _json(plain(row))
        size -= len(line.encode()) + 2
        if size < 0:
            return lines, f"an answer has at most {session.limits.bytes:,} bytes"
        lines.append(line)
    return lines, ""


def plain(value: Any) -> Any:
    """Return a value as JSON has it.

    >>> from factstore import Keyword
    >>> plain({Keyword(":a"): {2, 1}, 3: (None, b"x")})
    {':a': [1, 2], '3': [None, '#base64 "eA=="']}
    """
    if value is None or isinstance(value, bool | int):
        return value if value is None or is_short(value) else _edn(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return value if value - value == 0 else _edn(value)
    if isinstance(value, Mapping):
        return {str.__str__(key) if isinstance(key, str) else _edn(key): plain(each) for key, each in value.items()}
    if isinstance(value, Set):
        return sorted(map(plain, value), key=repr)
    return list(map(plain, value)) if isinstance(value, list | tuple) else _edn(value)


def _edn(value: Any) -> str:
    try:
        return edn.write(value)
    except FactStoreError:  # for example an object that a registered function returned
        return text_of(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
