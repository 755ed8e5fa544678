"""Words and phrases that documentation, docstrings, comments and messages do not use, with plain ones to use instead.

A phrase is a regular expression between word boundaries, in any case.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

INSTEAD: Final[dict[str, str]] = {
    # archaic words and idioms
    r"anew": "again, from the log",
    r"be that": "whether",
    r"for ever": "forever, permanently",
    r"for (the )?want of": "because there is no",
    r"in one breath": "in short",
    r"knows? nothing of": "does not use",
    r"lest": "so that … not",
    r"mend(s|ed)?": "fix, repair",
    r"of (its|their) own accord": "automatically",
    r"on whose account": "because of which",
    r"shall": "must, should, will",
    r"taken for dead": "presumed dead",
    r"to be had": "available",
    r"whence": "from which",
    # verbs of speech for data, and persons for processes
    r"(is|are|be|was|were|been) told": "is notified",
    r"hears? of|heard of": "is notified of, sees",
    r"told of": "notified of",
    r"(is|was|were|be|been) said": "is stated, was asserted",
    r"said (of|so far)": "stated about, asserted so far",
    r"says of": "states about",
    r"speaks? of": "refers to",
    r"nobody|somebody|anybody": "no process, another process, any caller",
    r"who(m)?ever": "the process that",
    # verbs with a term of the field
    r"asked for": "requested",
    r"gives? up|given up": "aborts, ends",
    r"goes on|went on": "continues",
    r"lets? go of": "releases, stops tracking",
    r"look(s|ed)? at": "checks, reads",
    r"made again": "rebuilt",
    r"makes? up for|made up for": "replaces",
    r"met": "seen, found",
    r"takes? apart|taken apart": "splits, destructures",
    # numbers and places without a name
    r"all the same": "anyway",
    r"in the place of": "instead of",
    r"so many": "a number with a name: max_rows, limit",
    r"the like": "name the others, or: such as",
    r"unless (you say otherwise|said)": "by default",
    r"a (datom|transaction|job|line) a (line|file|record)": "one … per …",
}
_FENCE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"`[^`\n]*`|\]\([^)\n]*\)")
_HEADLESS: Final = re.compile(r"(?:^|(?<=[.:] ))(?:What|Who|Whatever|Whoever)\b[^.?|]*\.(?=\s|$)", re.MULTILINE)
_TEXTS: Final = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


class Text(NamedTuple):
    """Text for people, and the line on which it starts."""

    line: int
    words: str


def of_page(text: str) -> Text:
    """Return the text of a Markdown page with blanks for its code, so that lines keep their numbers."""
    return Text(1, _CODE.sub(_blank, _FENCE.sub(_blank, text)))


def of_source(path: Path) -> Iterator[Text]:
    """Yield the comments and strings of a module."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type in _TEXTS:
            yield Text(token.start[0], token.string)


def phrases(text: Text, patterns: Iterator[str] | list[str]) -> Iterator[str]:
    """Yield each occurrence of a phrase with its line and the plain words to use instead."""
    for pattern in patterns:
        for match in re.finditer(rf"\b(?:{pattern})\b", text.words, re.IGNORECASE):
            line = text.line + text.words.count("\n", 0, match.start())
            yield f"line {line}: {match[0]!r}; instead: {INSTEAD[pattern]}"


def headless(text: Text) -> Iterator[str]:
    """Yield each sentence whose subject is a clause with What or Who, and that is no question."""
    for match in _HEADLESS.finditer(text.words):
        yield f"line {text.line + text.words.count(chr(10), 0, match.start())}: {match[0]!r}; instead: name the subject"


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])
