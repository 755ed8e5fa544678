"""The builder: queries written in Python over the dataclasses that are the schema, checked by editors and by mypy.

    p = entity(Person)                                # a variable for an entity; to a type checker, a Person
    q(find(p.name, count(each(p.friends))).where(p.born > 1980, p.city.name == "Rome"), db)

`find`, `find_each`, `find_row` and `find_value` begin a query; `entity` and `var` create variables; a field is an
attribute, and `==` states a fact. `to_edn()` returns the text of a query. docs/how-to/build-queries.md describes
everything.
"""

from __future__ import annotations

from factstore.query.builder import *  # noqa: F403
from factstore.query.builder import __all__ as __all__
