"""Jobs: a graph of jobs is tx-data; what a handler returns commits with the status of its job, or not at all."""

from __future__ import annotations

from collections.abc import Callable

import factstore
import overseer

SCHEMA = """
[{:db/ident :order/number :db/valueType :db.type/long   :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :order/steps  :db/valueType :db.type/string :db/cardinality :db.cardinality/many}
 {:db/ident :job/order    :db/valueType :db.type/long   :db/cardinality :db.cardinality/one}]
"""
GRAPH = {":order/pay": [], ":order/pack": [], ":order/ship": [":order/pay", ":order/pack"]}


def step(word: str) -> Callable[[overseer.Job], list[dict[str, object]]]:
    return lambda job: [{":order/number": job[":job/order"], ":order/steps": word}]


HANDLERS = {":order/pay": step("paid"), ":order/pack": step("packed"), ":order/ship": step("shipped")}

with factstore.connect("memory:") as conn:
    overseer.install(conn)
    conn.transact(SCHEMA)
    overseer.validate_graph_handlers(HANDLERS, GRAPH)
    # The order and its jobs: both, or neither.
    before = conn.transact([{":order/number": 17}, *overseer.graph_txns(GRAPH, {":job/order": 17})]).db_after

    overseer.Worker(conn, HANDLERS).run(until_idle=True)

    db = conn.db()
    order = factstore.pull(db, [":order/steps"], [":order/number", 17])
    assert order is not None  # `pull` returns None if no entity has this identity
    print("order 17:", ", ".join(sorted(order[":order/steps"])))

    statuses = "[:find ?type ?status :where [?job :job/type ?type] [?job :job/status ?status]]"
    for type_, status in sorted(factstore.q(statuses, db)):
        print(type_, status)
    print("as it was:", {str(status) for _, status in factstore.q(statuses, before)})

    life = """[:find ?tx ?status :where [?job :job/type :order/ship] [?job :job/status ?status ?tx true]]"""
    print("the life of the last:", " → ".join(status.name for _, status in sorted(factstore.q(life, db.history()))))

# prints:
# order 17: packed, paid, shipped
# :order/pack :job.status/finished
# :order/pay :job.status/finished
# :order/ship :job.status/finished
# as it was: {':job.status/unstarted'}
# the life of the last: unstarted → started → finished
