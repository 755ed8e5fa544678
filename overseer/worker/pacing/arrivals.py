"""Whether facts of certain attributes have come, for a lookout that has nothing to do until they do.

A worker that stands by does not read what others commit. Its lookouts would: each look would read and decode all of it,
to find that there is still no schedule, and no job that waits for a query. A file answers that from shared memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from factstore import Connection


class Arrivals:
    """Answers whether a fact of an attribute may have been asserted.

    Args:
        attributes: their values are no keywords.
    """

    def __init__(self, conn: Connection, *attributes: str) -> None:
        self._conn = conn
        self._facts: list[tuple[Any, Any, bool]] = [(attribute, None, True) for attribute in attributes]
        self._t = -1  # the newest transaction at the last answer, once the attributes are declared

    def any(self) -> bool:
        """Return whether there may be any since the last call; True for the first call.

        A database that is read after the call contains them.
        """
        if self._t < 0:
            db = self._conn.db()
            if all(db.entid(attribute) is not None for attribute, _, _ in self._facts):
                self._t = db.basis_t
            return True
        self._t, counts = self._conn.peek(*self._facts, after=self._t, rough=True)
        return any(counts)
