"""First facts: declare attributes, say something, change it, and ask what is true now and what was."""

from __future__ import annotations

import factstore

SCHEMA = """
[{:db/ident :item/sku   :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :item/price :db/valueType :db.type/long   :db/cardinality :db.cardinality/one}
 {:db/ident :item/tag   :db/valueType :db.type/string :db/cardinality :db.cardinality/many}]
"""
PRICES = "[:find ?sku ?price :in $ :where [?item :item/sku ?sku] [?item :item/price ?price]]"

with factstore.connect("memory:") as conn:
    conn.transact(SCHEMA)
    before = conn.transact(
        [
            {":item/sku": "A-1", ":item/price": 900, ":item/tag": ["blue", "small"]},
            {":item/sku": "B-2", ":item/price": 400},
        ]
    ).db_after
    conn.transact([{":item/sku": "A-1", ":item/price": 750}])  # the same item, since its sku is an identity
    now = conn.db()

    print("now:   ", sorted(now.q(PRICES)))
    print("before:", sorted(before.q(PRICES)))

    item = now.pull([":item/sku", ":item/price", ":item/tag"], [":item/sku", "A-1"])
    assert item is not None  # `pull` returns None if no entity has this identity
    print(item[":item/sku"], "costs", item[":item/price"], "and is", " and ".join(sorted(item[":item/tag"])))

    changes = '[:find ?tx ?added ?price :where [?item :item/sku "A-1"] [?item :item/price ?price ?tx ?added]]'
    for _, added, price in sorted(now.history().q(changes)):
        print("+" if added else "-", price)

# prints:
# now:    [('A-1', 750), ('B-2', 400)]
# before: [('A-1', 900), ('B-2', 400)]
# A-1 costs 750 and is blue and small
# + 900
# - 900
# + 750
