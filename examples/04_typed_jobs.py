"""Typed jobs: a decorated function declares a job type, the attributes of its arguments, and the type of its result."""

from __future__ import annotations

from dataclasses import dataclass

import factstore
import overseer
from overseer import Facts, Job

app = overseer.App()


@dataclass(frozen=True)
class Receipt:
    order: int
    cents: int


@app.job(queue="money", retry=overseer.Retry(max_attempts=5), timeout="30s")
def pay(job: Job, order: int, cents: int) -> Receipt:
    return Receipt(order, cents)


@app.job()
async def pack(job: Job, order: int, items: list[str]) -> str:
    return f"a box with {', '.join(items)}"


@app.job()
def ship(job: Job, order: int, express: bool = False) -> Facts:
    receipt = pay.result_in(job)  # a Receipt
    return [{":order/number": order, ":order/paid": receipt.cents, ":order/content": pack.result_in(job)}]


SCHEMA = """
[{:db/ident :order/number  :db/valueType :db.type/long   :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :order/paid    :db/valueType :db.type/long   :db/cardinality :db.cardinality/one}
 {:db/ident :order/content :db/valueType :db.type/string :db/cardinality :db.cardinality/one}]
"""

with factstore.connect("memory:") as conn:
    app.install(conn)
    conn.transact(SCHEMA)

    g = app.graph()
    paid = g.add(pay, order=17, cents=1200)
    packed = g.add(pack, order=17, items=["cup", "plate"])
    shipped = g.add(ship, order=17).after(paid, packed)
    conn.transact([{":order/number": 17}, *g.txns()])  # the order and its jobs, or neither

    overseer.Worker(conn, app, concurrency=2).run(until_idle=True)

    print(paid.ref(conn).result())
    print(factstore.pull(conn.db(), [":order/paid", ":order/content"], [":order/number", 17]))

    print(pay.options(id="pay-18").txn(order=18, cents=500))  # transaction data, like job_txn
    one = pay.enqueue(conn, order=18, cents=500)
    print(one.explain().why, one.cancel(), one.status.name)

# prints:
# Receipt(order=17, cents=1200)
# {:order/paid: 1200, :order/content: 'a box with cup, plate'}
# {':db/id': 'pay-18', ':job/queue': :money, ':job/id': 'pay-18', ':job/type': :pay, ':job/status': :job.status/unstarted, ':pay/order': 18, ':pay/cents': 500}
# it is ready; a worker with a handler for :pay will take it True aborted
