"""The navigation of the site: the pages that a page lists become its children.

README.md lists pages in groups, `- Group: … [title](page.md) …`, below the heading *Documentation*. A page in `LISTS` lists
its pages anywhere. Nothing else has to be kept in step when a page is added.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any, Final

_LINK: Final = re.compile(r"\]\((?P<path>[^):#\s]+\.md)\)")
_GROUP: Final = re.compile(r"^- (?P<caption>[^:\n]+): (?P<links>.*(?:\n  .*)*)", re.MULTILINE)
_TREE: Final = "\n```{{toctree}}\n:hidden:\n{option}\n{pages}\n```\n"
LISTS: Final = ("docs/decisions/README", "docs/reference/api")


def groups(text: str) -> list[tuple[str, list[str]]]:
    """Return the groups of pages below the heading *Documentation*: captions, and paths as written."""
    section = text.partition("\n## Documentation\n")[2].partition("\n## ")[0]
    return [(found["caption"], _LINK.findall(found["links"])) for found in _GROUP.finditer(section)]


def with_navigation(docname: str, text: str) -> str:
    """Return a page with a hidden table of contents for each group of pages that it lists."""
    if docname == "README":
        listed = groups(text)
    elif docname in LISTS:
        listed = [("", _LINK.findall(text))]
    else:
        return text
    return text + "".join(_tree(docname, caption, pages) for caption, pages in listed)


def _tree(docname: str, caption: str, pages: list[str]) -> str:
    top = PurePosixPath(docname).parent
    children = [str(top / page).removesuffix(".md") for page in pages if not page.startswith("..")]
    return _TREE.format(
        option=f":caption: {caption}\n" if caption else "",
        pages="\n".join(f"/{child}" for child in dict.fromkeys(children)),
    )


def _read(_app: Any, docname: str, source: list[str]) -> None:
    source[0] = with_navigation(docname, source[0])


def setup(app: Any) -> None:
    app.connect("source-read", _read)
