r"""The EDN reader: one regular expression cuts the text into tokens, one loop with an explicit stack builds the values.

    text    = form*                       separated by white space, commas, and `;` to the end of the line
    form    = atom | "(" form* ")" | "[" form* "]" | "{" (form form)* "}" | "#{" form* "}" | "#" tag form | "#:" ns map
    atom    = nil | true | false | number | string | character | keyword | symbol | ##Inf | ##-Inf | ##NaN
    number  = [+-] int ("N" | ["." digits] [exponent] ["M"])       int without leading zeros
    discard = "#_" form                   allowed wherever white space is
    quoted  = "'" form                    only if `quotes` is true: (quote form)

Law: a text is read completely and exactly, or rejected with the line and column of the error.
"""

from __future__ import annotations

import base64
import math
import re
import uuid
from collections.abc import Callable, Hashable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final, NoReturn, TypeAlias

from pyrsistent import PMap, pmap

from factstore.errors import ReadError
from factstore.values.exact import set_of, strict
from factstore.values.numerals import MAX_DIGITS, from_digits
from factstore.values.quoting import described, quoted
from factstore.values.types import Keyword, Symbol, Uri

Tags: TypeAlias = Mapping[str, Callable[[Any], Any]]

# The quantifiers are possessive, so that no text causes backtracking. The last two alternatives are the quote that
# opens an unclosed string, and the end of the text.
TOKEN: Final = re.compile(
    r"""[\s,]*+(?:;[^\n]*+[\s,]*+)*+
    ( [()\[\]{}] | \#[{_] | [^\s,()\[\]{}";\\]++ | "[^"\\]*+(?:\\.[^"\\]*+)*+" | \\(?:\S[^\s,()\[\]{}";\\]*+)? | "
    | \Z )""",
    re.VERBOSE | re.DOTALL,
)
_NUMBER: Final = re.compile(r"([+-]?(?:0|[1-9][0-9]*))(?:(N)|((?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(M?))", re.ASCII)
_NUMBER_STARTS: Final = frozenset("0123456789+-.")
_NUMERIC: Final = re.compile(r"[+-]?\.?[0-9]", re.ASCII)
_SYMBOL: Final = re.compile(r"""(?![:#'])[^\s,()\[\]{}";@^`~\\/]+(?:/(?![:#'0-9])[^\s,()\[\]{}";@^`~\\/]+)?|/""")
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL | re.ASCII)
_ESCAPES: Final = {"t": "\t", "r": "\r", "n": "\n", "b": "\b", "f": "\f", "\\": "\\", '"': '"'}
_CHARACTERS: Final = {"newline": "\n", "return": "\r", "space": " ", "tab": "\t", "formfeed": "\f", "backspace": "\b"}
_CONSTANTS: Final = {
    "nil": None,
    "true": True,
    "false": False,
    "##Inf": math.inf,
    "##-Inf": -math.inf,
    "##NaN": math.nan,
}
_CLOSERS: Final = {"(": ")", "[": "]", "{": "}", "#{": "}"}
_UNSEEN: Final = object()
_LONGEST_MESSAGE: Final = 500  # characters
_QUOTE: Final = Symbol("quote")
# Syntax of Clojure source that EDN does not have: the first characters of each form, and its name.
_SOURCE: Final = re.compile(r"\#(?:\?|\Z|'|\^|=)")
_SOURCE_STARTS: Final = {
    "^": "metadata",
    "'": "a quote",
    "`": "a syntax quote",
    "~": "an unquote",
    "@": "a dereference",
}
MAX_KEY_DEPTH: Final = 100  # levels inside a set or a map's key, because Python hashes them recursively


def read(text: str, *, tags: Tags | None = None, quotes: bool = False) -> Any:
    """Return the one value that a text contains.

    Args:
        tags: functions for further tags, by tag name without the `#`. Each is called with the value after the tag. They
            take precedence over the built-in tags.
        quotes: whether `'form` is allowed and read as the list `(quote form)`. EDN has no quotes, but queries in
            Clojure source do.
    Raises: ReadError(:db.error/invalid-edn) with `line` and `column` for an invalid text, and for a text that does not
        contain exactly one value.

    >>> read("[:find ?e :where [?e :age 30.0]]")
    [:find, ?e, :where, [?e, :age, 30.0]]
    """
    reader = _Reader(text, tags or {}, quotes=quotes)
    values = reader.forms(1)
    if not values:
        reader.refuse("expected a value, but the text contains none", 0)
    return values[0]


def read_all(text: str, *, tags: Tags | None = None) -> list[Any]:
    """Return all values that a text contains, in order; otherwise like `read`."""
    return _Reader(text, tags or {}).forms()


class _Frame:
    """A form that has not ended yet: a collection, or a prefix (`#_`, `#tag`, `#:ns`) that still needs its form.

    `at` is the index of its first token.
    """

    __slots__ = ("at", "is_prefix", "items", "key_depth", "opener", "outer", "skipped")

    def __init__(self, opener: str, at: int, outer: _Frame | None) -> None:
        self.opener = opener
        self.at = at
        self.outer = outer
        self.items: list[Any] = []
        self.is_prefix = opener not in _CLOSERS and outer is not None
        self.skipped: bool = opener == "#_" or (outer is not None and outer.skipped)
        self.key_depth: int = (
            0 if outer is None or (outer.opener == "[" and not outer.key_depth) else outer.inner_key_depth()
        )

    def inner_key_depth(self) -> int:
        """Return how many levels the next form is inside a value that Python will hash; 0 if it is inside none."""
        is_hashed = self.key_depth or self.opener == "#{" or (self.opener == "{" and len(self.items) % 2 == 0)
        return self.key_depth + 1 if is_hashed else 0


class _Reader:
    """The state of reading one text; `at` is always the index of a token."""

    def __init__(self, text: str, tags: Tags, *, quotes: bool = False) -> None:
        self.text = text
        self.tags = tags
        self.quotes = quotes
        if not isinstance(text, str):
            raise ReadError(":db.error/invalid-edn", f"expected text, got {type(text).__name__}", line=1, column=1)

    def forms(self, at_most: int | None = None) -> list[Any]:
        """Return the values of the text; reject a text with more than `at_most` of them."""
        # An atom that occurs several times is read once. The key is its token.
        atoms: dict[str, Any] = dict(_CONSTANTS)
        top = frame = _Frame("", 0, None)
        for at, token in enumerate(TOKEN.findall(self.text)):
            value = atoms.get(token, _UNSEEN)
            if value is _UNSEEN:
                if token in _CLOSERS or (token[:1] == "#" and token[:2] != "##"):
                    frame = self.opened(token, at, frame)
                    continue
                if token in ")]}":
                    if not token:
                        break
                    at, value, frame = self.closed(token, at, frame)
                elif token[0] == '"':
                    value = self.string(token, at)
                elif token == "'" and self.quotes:
                    frame = self.opened(token, at, frame)
                    continue
                else:
                    value = atoms[token] = self.atom(token, at)
            frame.items.append(value)
            while frame.is_prefix and frame.items:
                at, frame = self.applied(frame)
            if frame is top and at_most is not None and len(top.items) > at_most:
                self.refuse("expected the end of the text after one value", at)
        if frame is not top:
            self.refuse(_unfinished(frame, "the end of the text"), frame.at)
        return top.items

    def opened(self, token: str, at: int, outer: _Frame) -> _Frame:
        frame = _Frame(token, at, outer)
        if frame.key_depth > MAX_KEY_DEPTH:
            self.refuse(f"expected at most {MAX_KEY_DEPTH} levels inside a set or a map's key", at)
        if frame.is_prefix and token not in ("#_", "'") and not frame.skipped:
            self.check_tag(token, at)
        return frame

    def check_tag(self, token: str, at: int) -> None:
        name = token[1:]
        if name in self.tags or name in _TAGS:
            return
        if name.startswith(":") and _SYMBOL.fullmatch(name[1:]) and "/" not in name:
            return
        if _SOURCE.match(token):
            self.refuse(_clojure(token), at)
        allowed = ", ".join(f"#{tag}" for tag in (*_TAGS, *self.tags))
        self.refuse(f"expected one of the tags {allowed}, got {token}", at)

    def closed(self, token: str, at: int, frame: _Frame) -> tuple[int, Any, _Frame]:
        """End a collection: return the index of its first token, its value, and the frame around it."""
        if frame.outer is None:
            self.refuse(f"{token} closes nothing", at)
        if _CLOSERS.get(frame.opener) != token:
            self.refuse(_unfinished(frame, token), at)
        return frame.at, self.collection(frame), frame.outer

    def collection(self, frame: _Frame) -> Any:
        items, opener = frame.items, frame.opener
        if opener == "[":
            return tuple(items) if frame.key_depth else items
        if opener == "(":
            return tuple(items)
        try:
            return self.hashed(frame)
        except TypeError as error:
            self.refuse(f"expected values that Python can hash in {opener} … }}, got: {error}", frame.at)

    def hashed(self, frame: _Frame) -> Any:
        """Return the set or map of a frame; reject duplicate elements, and keys of a map that are equal in Python."""
        items = frame.items
        if frame.opener == "#{":
            elements: AbstractSet[Any] = frozenset(items)
            if len(elements) != len(items):  # duplicates, or elements that are equal in Python but differ in type
                elements = set_of(items)
            if len(elements) != len(items):
                self.refuse(_duplicate("a set", items, strict), frame.at)
            return elements
        if len(items) % 2:
            self.refuse(f"expected a value for every key of a map, got an odd number of forms, {len(items)}", frame.at)
        pairs = dict(zip(items[::2], items[1::2], strict=True))
        if 2 * len(pairs) != len(items):
            self.refuse(_duplicate("a map", items[::2]), frame.at)
        return pmap(pairs) if frame.key_depth else pairs

    def applied(self, frame: _Frame) -> tuple[int, _Frame]:
        """Apply a prefix to the form after it; return the index of the prefix, and the frame around both."""
        outer, (form,) = frame.outer, frame.items
        assert outer is not None, "every prefix has a frame around it"
        if frame.opener != "#_":
            outer.items.append(form if frame.skipped else self.tagged(frame, form))
        return frame.at, outer

    def tagged(self, frame: _Frame, form: Any) -> Any:
        name = frame.opener[1:]
        if not name:
            return (_QUOTE, form)
        try:
            if name.startswith(":"):
                return _qualified(name[1:], form)
            return (self.tags.get(name) or _TAGS[name])(form)
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            shown = quoted(form) if isinstance(form, str | int | float) else type(form).__name__
            self.refuse(f"{frame.opener} cannot read {shown}: {error}", frame.at)

    def string(self, token: str, at: int) -> str:
        if len(token) == 1:
            self.refuse('expected a " that ends this string, got the end of the text', at)
        if "\\" not in token:
            return token[1:-1]
        try:
            return _joined(_ESCAPE.sub(_unescaped, token[1:-1]))
        except KeyError as error:
            self.refuse(rf"expected one of \t \r \n \b \f \\ \" \uXXXX in a string, got \{error.args[0]}", at)

    def atom(self, token: str, at: int) -> Any:
        first = token[0]
        if first in "123456789" and token.isdecimal() and len(token) < 19 and token.isascii():
            return int(token)  # most numbers are like this, and the regular expression takes twice as long
        if first == "\\":
            return self.character(token[1:], at)
        if first == ":":
            try:
                return Keyword(token)
            except ValueError as error:
                self.refuse(str(error), at)
        if first in _NUMBER_STARTS and _NUMERIC.match(token):
            return self.number(token, at)
        if first == "'" and self.quotes:
            if token[1] == "'":
                self.refuse("expected one quote before a form, got two", at)
            return (_QUOTE, self.atom(token[1:], at))
        if first in _SOURCE_STARTS:
            self.refuse(_clojure(token), at)
        if not _SYMBOL.fullmatch(token):
            self.refuse(f"expected a symbol like name or namespace/name, got {token}", at)
        return Symbol(token)

    def character(self, name: str, at: int) -> str:
        if len(name) == 1:
            return name
        if name in _CHARACTERS:
            return _CHARACTERS[name]
        code = _ESCAPE.fullmatch("\\" + name)
        if code is None or code[1] is None:
            self.refuse(rf"expected a character like \c, \newline or \uXXXX, got \{name}", at)
        return chr(int(code[1], 16))

    def number(self, token: str, at: int) -> int | float | Decimal:
        parts = _NUMBER.fullmatch(token)
        if parts is None:
            self.refuse(f"expected a number like 1, -1.5, 1e9, 1N or 1.5M, got {token}", at)
        whole, _big, fraction, exact = parts.groups()
        try:
            if exact:
                return Decimal(token[:-1])
            if not fraction:
                return from_digits(whole)
        except (ValueError, ArithmeticError):
            self.refuse(f"expected a number of at most {MAX_DIGITS:,} digits, got {len(token):,} characters of one", at)
        value = float(token)
        if math.isinf(value):
            self.refuse(f"expected a number that a 64-bit float can hold, got {token}", at)
        return value

    def refuse(self, message: str, at: int) -> NoReturn:
        """Raise a ReadError for the token with this index; its line and column are computed only here."""
        start = next(match.start(1) for n, match in enumerate(TOKEN.finditer(self.text)) if n == at)
        line = self.text.count("\n", 0, start) + 1
        column = start - self.text.rfind("\n", 0, start)
        if len(message) > _LONGEST_MESSAGE:  # it can contain a long token
            message = message[: _LONGEST_MESSAGE - 1] + "…"
        raise ReadError(":db.error/invalid-edn", f"{message} (line {line}, column {column})", line=line, column=column)


def _clojure(token: str) -> str:
    """Return the message about a form that is Clojure source and not EDN."""
    kind = _SOURCE_STARTS.get(token[0]) or ("a reader conditional" if token.startswith("#?") else "reader syntax")
    return f"expected EDN, which is data only, got {token}: {kind} of Clojure source; write the data that it stands for"


def _unfinished(frame: _Frame, token: str) -> str:
    if frame.is_prefix:
        return f"expected a form after {frame.opener}, got {token}"
    return f"expected {_CLOSERS[frame.opener]} to close {frame.opener}, got {token}"


def _duplicate(kind: str, items: list[Hashable], key: Callable[[Any], Any] = lambda item: item) -> str:
    seen: dict[Hashable, Any] = {}
    for item in items:
        if key(item) in seen:
            first = seen[key(item)]
            if type(first) is type(item):
                return f"{kind} holds {quoted(item)} twice"
            return f"{kind} holds {described(first)} and {described(item)}, which are equal in Python"
        seen[key(item)] = item
    raise AssertionError("called only when two items are equal")


def _unescaped(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16)) if escape[1] else _ESCAPES[escape[2]]


def _joined(text: str) -> str:
    """Return the text with each pair of surrogates, which can result from two \\u escapes, as one character."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _qualified(namespace: str, form: Any) -> Any:
    """Add the namespace of a `#:ns` prefix to the keys of a map that have none; `:_/a` becomes `:a`."""
    if not isinstance(form, dict | PMap):
        raise TypeError("expected a map")
    pairs = {_in_namespace(namespace, key): value for key, value in form.items()}
    if len(pairs) != len(form):
        raise ValueError("two keys become the same")
    return pairs if isinstance(form, dict) else pmap(pairs)


def _in_namespace(namespace: str, key: Any) -> Any:
    if not isinstance(key, Keyword | Symbol) or key in (":/", "/"):
        return key
    colon, name = (":", key[1:]) if isinstance(key, Keyword) else ("", str(key))
    if name.startswith("_/"):
        return type(key)(colon + name[2:])
    return key if "/" in name else type(key)(f"{colon}{namespace}/{name}")


def _text(form: Any) -> str:
    if type(form) is not str:
        raise TypeError("expected a string")
    return form


# instant = year ["-" month ["-" day ["T" hour [":" minute [":" second ["." fraction]]]]]] ["Z" | offset]
_INSTANT: Final = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[Tt](\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?)?)?)?"
    r"(?:[Zz]|([+-])(\d\d):(\d\d))?",
    re.ASCII,
)


def _instant(form: Any) -> datetime:
    parts = _INSTANT.fullmatch(_text(form))
    if parts is None:
        raise ValueError("expected an instant like 2026-01-31T12:00:00.000Z")
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = parts.groups()
    nanoseconds = int((fraction or "0").ljust(9, "0"))
    if nanoseconds % 1000:
        raise ValueError("expected at most microseconds")
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    zone = timezone(-offset if sign == "-" else offset)
    moment = datetime(
        int(year),
        int(month or 1),
        int(day or 1),
        int(hour or 0),
        int(minute or 0),
        int(second or 0),
        nanoseconds // 1000,
        zone,
    )
    return moment.astimezone(UTC)


_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)


def _uuid(form: Any) -> uuid.UUID:
    if not _UUID.fullmatch(_text(form)):
        raise ValueError("expected 8-4-4-4-12 hexadecimal digits")
    return uuid.UUID(form)


_TAGS: Final[Tags] = {
    "inst": _instant,
    "uuid": _uuid,
    "uri": lambda form: Uri(_text(form)),
    "base64": lambda form: base64.b64decode(_text(form), validate=True),
    "symbol": lambda form: Symbol(_text(form)),
}


def is_symbol(text: str) -> bool:
    """Tell whether a text would be read as a symbol."""
    return bool(_SYMBOL.fullmatch(text)) and not _NUMERIC.match(text) and text not in _CONSTANTS
