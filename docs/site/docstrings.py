"""A docstring of this repository as reStructuredText, without any way to write invalid markup by accident.

text with `code`                     paragraphs
Args: and Attributes:                one line per name, `name: text`, with more indented lines
Returns: Raises: Law: Source: …      a label and text, with indented lines
>>> lines                            an example
indented lines                       text as it stands, such as a diagram
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Final

_ITEMS: Final = ("Args:", "Attributes:")
_LABEL: Final = re.compile(r"^(?P<label>Returns|Raises|Yields|Law|Source|Cost|Not erased): ?(?P<text>.*)$")
_ITEM: Final = re.compile(r"^    \**(?P<name>\w+): (?P<text>.*)$")
_CODE: Final = re.compile(r"(`[^`\n]+`)")

Link = Callable[[str], str | None]


def rst(text: str, link: Link = lambda name: None) -> list[str]:
    """Return the lines of reStructuredText for a docstring.

    Args:
        text: the docstring, without the indentation of the source.
        link: for a piece of code, the full name of the object that it names, or None.
    """
    lines: list[str] = []
    for filled, block in groupby(text.splitlines(), lambda line: bool(line.strip())):
        if filled:
            lines += _block(list(block), link)
    return lines


def _block(lines: list[str], link: Link) -> Iterator[str]:
    """Yield a block without blank lines, and a blank line after it."""
    if lines[0].startswith(">>> "):
        yield from [*lines, ""]
    elif lines[0].startswith(" "):
        yield from ["::", "", *(f"    {line}" for line in lines), ""]
    else:
        for part in _parts(lines):
            yield from _part(part, link)


def _parts(lines: list[str]) -> Iterator[list[str]]:
    """Split a block into paragraphs, sections with items, and labels with text."""
    part: list[str] = []
    for line in lines:
        begins = line in _ITEMS or _LABEL.match(line) or line.startswith("- ")
        in_section = part and (part[0] in _ITEMS or _LABEL.match(part[0]))
        if part and (begins or (in_section and not line.startswith(" "))):
            yield part
            part = []
        part.append(line)
    yield part


def _part(lines: list[str], link: Link) -> Iterator[str]:
    label = _LABEL.match(lines[0])
    if lines[0] == "Args:":
        yield from (f":param {name}: {_inline(text, link)}" for name, text in _items(lines[1:]))
    elif lines[0] == "Attributes:":
        yield from [":Attributes:", *(f"    - **{name}**: {_inline(text, link)}" for name, text in _items(lines[1:]))]
    elif label:
        yield f":{label['label']}: {_inline(_joined([label['text'], *lines[1:]]), link)}"
    elif lines[0].startswith("- "):
        yield f"- {_inline(_joined([lines[0][2:], *lines[1:]]), link)}"
    else:
        flat = all(not line.startswith(" ") for line in lines)
        yield from [_inline(_joined(lines), link), ""] if flat else ["::", "", *(f"    {line}" for line in lines), ""]
        return
    yield ""


def _items(lines: list[str]) -> Iterator[tuple[str, str]]:
    names: list[tuple[str, list[str]]] = []
    for line in lines:
        item = _ITEM.match(line)
        if item:
            names.append((item["name"], [item["text"]]))
        elif names:
            names[-1][1].append(line)
    return ((name, _joined(text)) for name, text in names)


def _joined(lines: list[str]) -> str:
    return " ".join(filter(None, map(str.strip, lines)))


def _inline(text: str, link: Link) -> str:
    """Return text with its code marked, and every other character as itself."""
    return "".join(
        _code(piece[1:-1], link) if _CODE.fullmatch(piece) else _escaped(piece) for piece in _CODE.split(text)
    )


def _code(text: str, link: Link) -> str:
    full = link(text)
    if full:
        return f"\\ :py:obj:`{text} <{full}>`\\ "
    return _escaped(f"`{text}`") if text != text.strip() or text.endswith("\\") else f"\\ ``{text}``\\ "


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_|:<>\[\]])", r"\\\1", text)
