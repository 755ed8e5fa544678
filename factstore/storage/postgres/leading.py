"""The leader of a store: the process that commits for all others, as the row of the store describes it.

The lease is judged by the clock of the server. A leader that was stopped for longer than its lease, and replaced, still
believes that it leads; each of its writes requires that the row agrees, so none is applied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from factstore.storage.postgres import statements as sql
from factstore.storage.postgres.connections import Connections
from factstore.storage.protocol import Leader

LEASE_SECONDS: Final = 3.0


class PostgresLeadership:
    """The leadership of one store, as one handle sees it; see `Leadership`."""

    def __init__(self, connections: Connections, names: Mapping[str, Any], acknowledged: Callable[[int], None]) -> None:
        """Make the leadership of a handle.

        Args:
            acknowledged: notes the t of a commit of the leader.
        """
        self.acknowledged = acknowledged
        self._connections = connections
        self._names = {**names, "lease": LEASE_SECONDS}
        self.lease_seconds = LEASE_SECONDS
        self.term = 0
        self.leads = False  # whether this handle believes that it leads

    def leader(self) -> Leader | None:
        """Return the newest leader; None if there has never been one."""
        row = self._connections.read_now(lambda connection: connection.execute(sql.LEADER, self._names).fetchone())
        self.term = 0 if row is None else int(row[0])
        return None if row is None or not self.term else Leader(*row)

    def lead(self, address: str, secret: bytes, fingerprint: bytes) -> bool:
        """Become the leader, and return True; return False while another handle leads."""
        term = self._written(sql.LEAD, address=address, secret=secret, fingerprint=fingerprint)
        if term is not None:
            self.term, self.leads = term, True
        return term is not None

    def renew(self) -> bool:
        """Renew the lease; return False if another handle leads."""
        return self._written(sql.RENEW_LEAD) is not None

    def resign(self) -> None:
        """End the lease, so that another handle can lead at once; do nothing if this handle does not lead."""
        self._connections.start(lambda connection: connection.execute(sql.RESIGN, self._names)).result()
        self.leads = False

    def committed(self, txid: bytes) -> int | None:
        """Return the t of the record with this txid."""
        values = {**self._names, "txid": txid}
        row = self._connections.read(lambda connection: connection.execute(sql.T_OF, values).fetchone())
        return None if row is None else int(row[0])

    def retire(self) -> None:
        """End the leadership of any process; as if there had never been a leader."""
        self._connections.start(lambda connection: connection.execute(sql.RETIRE, self._names)).result()
        self.term = 0

    def _written(self, statement: str, **parameters: Any) -> int | None:
        values = {**self._names, **parameters}
        row = self._connections.start(lambda connection: connection.execute(statement, values).fetchone()).result()
        return None if row is None else int(row[0])
