"""The console: a store as web pages that can be moved through time. It needs `factstore[console]`.

    request ──► protect (host, origin, sign-in, headers) ──► respond ──► view (a page's function) ──► template or export

`console(conn)` is an ASGI application; a package adds pages of its own with an `Extension`, and writes with `commit`
or `signing`, so that each transaction states who made it.
"""

from __future__ import annotations

from factstore.console.application import console
from factstore.console.page import Answer, Extension, Page, PageRequest, Redirect, Ref, Table
from factstore.console.sign_in import OneTimeLink
from factstore.console.writing import commit, signing

__all__ = [
    "Answer",
    "Extension",
    "OneTimeLink",
    "Page",
    "PageRequest",
    "Redirect",
    "Ref",
    "Table",
    "commit",
    "console",
    "signing",
]
