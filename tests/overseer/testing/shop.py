"""A small shop for simulations: an account with a balance, and jobs that use it."""

from __future__ import annotations

from typing import Any

import factstore
from overseer import install

ANN = [":account/id", "ann"]
SCHEMA = [
    {":db/ident": ident, ":db/valueType": f":db.type/{kind}", ":db/cardinality": ":db.cardinality/one", **more}
    for ident, kind, more in [
        (":account/id", "string", {":db/unique": ":db.unique/identity"}),
        (":account/balance", "long", {}),
        (":account/payments", "long", {}),
        (":payment/of", "string", {":db/unique": ":db.unique/identity"}),
    ]
]


def shop(*forms: Any) -> factstore.Connection:
    """Return a store with Ann's account, which holds 10, and more forms, such as jobs."""
    conn = factstore.connect("memory:")
    install(conn)
    conn.transact(SCHEMA)
    conn.transact([{":account/id": "ann", ":account/balance": 10}, *forms])
    return conn


def balance(db: factstore.Database) -> int:
    return factstore.pull(db, "[:account/balance]", ANN)[":account/balance"]


def finished(db: factstore.Database) -> int:
    return factstore.q("[:find (count ?j) . :where [?j :job/status :job.status/finished]]", db) or 0
