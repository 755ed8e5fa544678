"""What if: a transaction on a database that nobody else sees, and the error of one that cannot be."""

from __future__ import annotations

import factstore

SCHEMA = """
[{:db/ident :seat/number  :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :seat/holder  :db/valueType :db.type/string :db/cardinality :db.cardinality/one}]
"""
FREE = "[:find (count ?seat) . :where [?seat :seat/number] (not [?seat :seat/holder])]"

with factstore.connect("memory:") as conn:
    conn.transact(SCHEMA)
    conn.transact([{":seat/number": f"{row}{letter}"} for row in (1, 2) for letter in "AB"])
    conn.transact([{":seat/number": "1A", ":seat/holder": "Ann"}])
    db = conn.db()

    booking = [[":db/cas", [":seat/number", seat], ":seat/holder", None, "Bo"] for seat in ("1B", "2A")]
    print(
        "free now:",
        factstore.q(FREE, db),
        "| after the booking:",
        factstore.q(FREE, factstore.with_(db, booking).db_after),
    )

    try:
        conn.transact([*booking, [":db/cas", [":seat/number", "1A"], ":seat/holder", None, "Bo"]])
    except factstore.CasFailed as error:
        print(error.code, "| found", error.found)
    print("free still:", factstore.q(FREE, conn.db()))

# prints:
# free now: 3 | after the booking: 1
# :db.error/cas-failed | found Ann
# free still: 3
