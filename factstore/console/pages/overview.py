"""The first page: how much the store contains, in which namespaces, and what happened last."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from typing import Final

from factstore.console.facts import declared, newest_sizes, size_of
from factstore.console.page import Answer, PageRequest, Table

_NEWEST: Final = 8


def overview(request: PageRequest) -> Answer:
    """Return the first page."""
    db, moment = request.db, request.moment
    spaces: defaultdict[str, list[tuple[int, bool]]] = defaultdict(list)
    for attribute in declared(request):
        spaces[attribute.ident.rpartition("/")[0].lstrip(":")].append(size_of(db, attribute))
    used = {name: sizes for name, sizes in sorted(spaces.items()) if any(size for size, _ in sizes)}
    rows = [(name, sum(1 for size, _ in sizes if size), sum(size for size, _ in sizes)) for name, sizes in used.items()]
    tiles = {
        "transactions": moment.upto,
        "facts now": sum(row[2] for row in rows),
        "attributes in use": sum(row[1] for row in rows),
        "namespaces": len(rows),
    }
    values = {
        "tiles": tiles,
        "is_exact": all(exact for sizes in used.values() for _, exact in sizes),
        "newest": list(islice(newest_sizes(request, moment.upto, moment.after, _NEWEST), _NEWEST)),
        "last": db.instant_of(moment.upto),
    }
    return Answer("overview.html", values, {"namespaces": Table(("namespace", "attributes", "facts"), rows)})
