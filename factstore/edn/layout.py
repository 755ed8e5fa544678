"""EDN text laid out for people: what fits on a line is on one line, anything else has one element or pair per line.

    text ──► tokens with comments and blank lines ──► a tree ──► lines

A vector that begins with `:find` is laid out by its sections. Comments, discarded forms (`#_`), the order and the
spelling of atoms stay; commas go, and at most one blank line remains between two forms.
Law: the new text is read as the same values as the old one, and its layout is itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from factstore.edn.read import read_all
from factstore.errors import ReadError
from factstore.rendering import width_of

WIDTH: Final = 100  # columns
_DEEPEST: Final = 200  # levels of nesting; the layout is recursive
_TOKEN: Final = re.compile(
    r"""(?P<space>[\s,]+) | (?P<comment>;[^\n]*) | (?P<open>\#\{|[(\[{]) | (?P<close>[)\]}])
    | (?P<prefix>\#_|\#(?!\#)[^\s,()\[\]{}"_;\\][^\s,()\[\]{}";\\]*)
    | (?P<atom>"(?:\\.|[^"\\])*" | \\(?:\S[^\s,()\[\]{}";\\]*)? | [^\s,()\[\]{}";\\]+)""",
    re.VERBOSE | re.DOTALL,
)
_CLOSERS: Final = {"(": ")", "[": "]", "{": "}", "#{": "}"}


class _Node(NamedTuple):
    """A form, or a comment.

    Args:
        text: of an atom or a comment; of a collection its opening bracket; of a prefix, which has one item, itself.
        flat: the form on one line; None if it contains a comment or a line break.
    """

    kind: str  # atom, comment, prefix or open
    text: str
    items: tuple[_Node, ...]
    flat: str | None
    is_after_blank: bool  # a blank line is before it
    is_trailing: bool  # a comment on the line of the form before it

    @property
    def is_form(self) -> bool:
        """Whether it is a value."""
        return self.kind != "comment" and self.text != "#_"


Grouping: TypeAlias = Callable[[Sequence[_Node]], Iterator[Sequence[_Node]]]


class _AnyTag(dict[str, Callable[[Any], Any]]):
    """Functions for all tags: each returns the tag with its value."""

    def get(self, tag: str, _default: Any = None) -> Any:
        return lambda value: (tag, repr(value))

    def __contains__(self, _tag: object) -> bool:
        return True


def laid_out(text: str, *, width: int = WIDTH) -> str:
    """Return EDN text with line breaks and indentation.

    Args:
        width: columns of a line; a longer atom has a longer line.
    Raises: ReadError(:db.error/invalid-edn) for a text that is not EDN, or is nested deeper than 200 levels.

    >>> print(laid_out("{:person/name,'Ann'  ; her name\\n :person/born 1970}".replace("'", chr(34))), end="")
    {:person/name "Ann" ; her name
     :person/born 1970}
    """
    read_all(text, tags=_AnyTag(any=str))
    nodes = _Tree(list(_TOKEN.finditer(text))).forms(0)
    return f"{_rows(nodes, 0, width)}\n" if nodes else ""


# -- text → tree


class _Tree:
    """The state of reading a tree: tokens, and the index of the next one."""

    def __init__(self, tokens: list[re.Match[str]]) -> None:
        self.tokens = tokens
        self.at = 0

    def forms(self, depth: int) -> tuple[_Node, ...]:
        """Return the forms up to a closing bracket, which is passed, or up to the end."""
        if depth > _DEEPEST:
            raise ReadError(":db.error/invalid-edn", f"expected at most {_DEEPEST} levels of nesting", levels=depth)
        nodes: list[_Node] = []
        while self.at < len(self.tokens) and self.tokens[self.at].lastgroup != "close":
            nodes += self.form(depth)
        self.at += 1
        return tuple(nodes)

    def form(self, depth: int) -> list[_Node]:
        """Return the next form after the comments inside its prefix; nothing for white space."""
        kind, text, gap, follows = *self._token(), self._gap(), self._follows()
        is_after_blank = gap.count("\n") > 1
        self.at += 1
        if kind == "space":
            return []
        if kind == "comment":
            return [_Node(kind, text.rstrip(), (), None, is_after_blank, follows and "\n" not in gap)]
        if kind == "open":
            items = self.forms(depth + 1)
            return [_Node(kind, text, items, _flat(text, items, _CLOSERS[text]), is_after_blank, False)]
        if kind == "prefix":
            before: list[_Node] = []
            while not (before and before[-1].is_form):
                before += self.form(depth + 1)
            *before, node = before
            head = _head(text)
            return [*before, _Node(kind, text, (node,), _flat(head, (node,), ""), is_after_blank and not before, False)]
        return [_Node(kind, text, (), None if "\n" in text else text, is_after_blank, False)]

    def _token(self) -> tuple[str, str]:
        token = self.tokens[self.at]
        return token.lastgroup or "", token[0]

    def _gap(self) -> str:
        before = self.tokens[self.at - 1] if self.at else None
        return before[0] if before is not None and before.lastgroup == "space" else ""

    def _follows(self) -> bool:
        """Tell whether a form or a closing bracket is before the white space before the next token."""
        at = self.at - 2 if self._gap() else self.at - 1
        return at >= 0 and self.tokens[at].lastgroup in ("atom", "close")


def _flat(opener: str, items: tuple[_Node, ...], closer: str) -> str | None:
    flats = [item.flat for item in items if item.flat is not None]
    return f"{opener}{' '.join(flats)}{closer}" if len(flats) == len(items) else None


def _head(prefix: str) -> str:
    return prefix if prefix == "#_" or prefix.startswith("#:") else f"{prefix} "


# -- tree → lines


def _text(node: _Node, column: int, width: int) -> str:
    """Return a form that begins in a column; all lines but the first have their indentation."""
    if node.flat is not None and column + width_of(node.flat) <= width:
        return node.flat
    if node.kind == "prefix":
        head = _head(node.text)
        return head + _text(node.items[0], column + width_of(head), width)
    if node.kind != "open":
        return node.text
    column += len(node.text)
    first = node.items[0].text if node.items else ""
    grouped = _pairs if node.text == "{" else _sections if node.text == "[" and first == ":find" else _singles
    body = _rows(node.items, column, width, grouped)
    ends_with_comment = bool(node.items) and node.items[-1].kind == "comment"
    return node.text + body + (f"\n{' ' * column}" if ends_with_comment else "") + _CLOSERS[node.text]


def _rows(nodes: tuple[_Node, ...], column: int, width: int, grouped: Grouping | None = None) -> str:
    """Return forms as rows that begin in a column; a comment of a line stays on it."""
    parts: list[str] = []
    for row in (grouped or _singles)(nodes):
        if row[0].is_trailing and parts:
            parts.append(f" {row[0].text}")
            continue
        if parts:
            parts.append(f"{chr(10) * (2 if row[0].is_after_blank else 1)}{' ' * column}")
        parts.append(_row(row, column, width))
    return "".join(parts)


def _row(row: Sequence[_Node], column: int, width: int) -> str:
    """Return a form, a pair of a map, or a section of a query."""
    first, *rest = row
    text = _text(first, column, width)
    if not rest:
        return text
    flats = [node.flat for node in row]
    is_many = first.text == ":where" and len(rest) > 1
    if not is_many and None not in flats and column + width_of(flat := " ".join(map(str, flats))) <= width:
        return flat
    last_line = text.rpartition("\n")[2]
    start = (0 if "\n" in text else column) + width_of(last_line) + 1
    return f"{text} {_rows(tuple(rest), start, width)}"


def _singles(nodes: Sequence[_Node]) -> Iterator[Sequence[_Node]]:
    for node in nodes:
        yield (node,)


def _pairs(nodes: Sequence[_Node]) -> Iterator[Sequence[_Node]]:
    """Yield each key with its value, if nothing is between them."""
    at = 0
    while at < len(nodes):
        is_pair = at + 1 < len(nodes) and nodes[at].is_form and nodes[at + 1].is_form
        yield nodes[at : at + 2] if is_pair else nodes[at : at + 1]
        at += 2 if is_pair else 1


def _sections(nodes: Sequence[_Node]) -> Iterator[Sequence[_Node]]:
    """Yield each keyword with the forms after it."""
    section: list[_Node] = []
    for node in nodes:
        if section and node.kind == "atom" and node.text.startswith(":"):
            yield section
            section = []
        section.append(node)
    yield section
