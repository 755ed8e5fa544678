"""Whether a text of EDN is complete: an editor that reads line by line asks this before it runs a text.

Law: a proper prefix of a bracketed form is not complete; the whole form is.
"""

from __future__ import annotations

from typing import Final

from factstore.edn.read import TOKEN

_OPENERS: Final = frozenset(("(", "[", "{", "#{"))
_CLOSERS: Final = frozenset((")", "]", "}"))


def is_complete(text: str) -> bool:
    """Tell whether a text has at least one form, and no bracket or string in it is still open.

    A text that is wrong in another way is complete, because more of it would not make it right.

    >>> is_complete("[:find ?e"), is_complete("[:find ?e]"), is_complete(""), is_complete(")")
    (False, True, False, True)
    """
    depth = forms = 0
    is_prefix = False  # whether the last token is a tag, or the sign that discards a form
    for match in TOKEN.finditer(text):
        token = match[1]
        if not token:
            break
        if token == '"':  # the quote that opens an unclosed string
            return False
        is_prefix = token.startswith("#") and token not in _OPENERS and not token.startswith("##")
        depth += (token in _OPENERS) - (token in _CLOSERS)
        forms += not is_prefix
        if depth < 0:
            return True
    return forms > 0 and depth == 0 and not is_prefix
