"""Workers whose store has a transactor: claims, heartbeats and outcomes are transactions, which the transactor commits.

The transactor is a process of its own; its clock judges the leases.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import factstore
from factstore import Keyword
from overseer import Config, Worker, install, job_txn, unique
from overseer.jobs.states import FINISHED
from tests.factstore.transactor.running import transactor
from tests.postgres import Server

COUNT = 120


def test_workers_run_each_job_once_and_by_the_clock_of_the_transactor(server: Server) -> None:
    uri = server.uri()
    with factstore.connect(uri) as conn:
        install(conn)
    ran: list[str] = []
    a_day = timedelta(days=1)
    with transactor(uri, "--require", "overseer"):
        # The clocks of these hosts differ by a day.
        conns = [factstore.connect(uri, clock=lambda day=day: datetime.now(UTC) + day * a_day) for day in (-1, 0, 1)]  # type: ignore[misc]
        began = datetime.now(UTC)
        conns[2].transact([unique(f"key {n % COUNT}", job_txn(":a", id=f"j{n}")) for n in range(COUNT)])
        conns[0].transact([unique("key 0", job_txn(":a", id="another"))])  # one with this key lives
        workers = [Worker(conn, {":a": lambda job: ran.append(job.id)}, Config(seed=n)) for n, conn in enumerate(conns)]
        threads = [threading.Thread(target=worker.run, kwargs={"until_idle": True}) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        db = conns[1].db()
        newest = db.instant_of(db.basis_t)
        for conn in conns:
            conn.close()
    assert sorted(ran) == sorted(f"j{n}" for n in range(COUNT))
    statuses = factstore.q("[:find (count ?j) . :in $ ?s :where [?j :job/status ?s]]", db, Keyword(FINISHED))
    assert statuses == COUNT
    assert began - timedelta(minutes=1) < newest < datetime.now(UTC) + timedelta(minutes=1)
