"""The pages of a store, in the order of the list of pages. Each module has the views of one subject."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from factstore.console.page import Extension, Page
from factstore.console.pages.difference import difference, from_backup
from factstore.console.pages.entity import entity
from factstore.console.pages.erase import erase
from factstore.console.pages.index import index
from factstore.console.pages.overview import overview
from factstore.console.pages.query import names, query
from factstore.console.pages.schema import schema
from factstore.console.pages.search import search
from factstore.console.pages.transact import transact
from factstore.console.pages.transactions import one, transactions

STORE: Final = Extension(
    "The store",
    (
        Page("/", "Overview", overview),
        Page("/schema", "Schema", schema),
        Page("/transactions", "Transactions", transactions),
        Page("/transactions/{t:int}", "", one),
        Page("/difference", "Difference", difference),
        Page("/difference/backup", "", from_backup, live=False),
        Page("/query", "Query", query, writes=True, live=False),
        Page("/search", "Search", search, live=False),
        Page("/index", "Index", index),
        Page("/transact", "Transact", transact, writes=True, live=False, is_form=True),
        Page("/names", "", names, live=False),
        Page("/entity/{name:path}", "", entity),
        Page("/erase/{eid:int}", "", erase, writes=True, live=False),
    ),
    Path(__file__).parent.parent / "html",
)
