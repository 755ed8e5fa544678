"""The statements of the PostgreSQL engine. Each is one transaction, so it is applied as a whole or not at all.

Parameters: `store` and `me` are the ids of the store and of the handle, `held` is whether the handle has the
writer lock, `leads` whether it is the leader. Arrays of bytes are sent in binary (`%(ids)b`): psycopg would escape each
element of a text.
"""

from __future__ import annotations

from typing import Final

# What a write needs of the row of its store: no other handle has the writer lock, and a leader still leads. A stopped
# process that continues after its lease finds another owner or leader here, or another epoch; if there is none, it
# continues.
_MINE: Final = """(CASE WHEN %(held)s THEN owner = %(me)s
                       ELSE owner IS NULL OR owner_until <= now() OR (%(passing)s AND owner_is_block) END)
        AND (NOT %(leads)s OR leader = %(me)s)"""

HEAD: Final = "SELECT t, txid, leader_term FROM factstore.store WHERE id = %(store)s"

STATE: Final = """
SELECT t, txid, epoch, root_version, owner IS NOT NULL AND owner_until > now() AND owner <> %(me)s, owner = %(me)s,
       coalesce(leader = %(me)s, false)
FROM factstore.store WHERE id = %(store)s
"""

# The whole protocol of an append: one row of `store` has head, epoch and writer lock, so one condition covers them all.
APPEND: Final = f"""
WITH head AS (
    UPDATE factstore.store
    SET t = t + cardinality(%(txids)b::bytea[]), previous = txid, txid = %(last)s
    WHERE id = %(store)s AND t = %(expected)s AND txid = coalesce(%(seen)s, txid) AND epoch = %(epoch)s AND {_MINE}
    RETURNING t, epoch, previous, leader_term
), added AS (
    INSERT INTO factstore.record (store, t, epoch, txid, previous, body)
    SELECT %(store)s, %(expected)s + new.n, head.epoch, new.txid, coalesce(new.previous, head.previous), new.body
    FROM head, unnest(%(txids)b::bytea[], %(previous)b::bytea[], %(bodies)b::bytea[])
         WITH ORDINALITY AS new (txid, previous, body, n)
)
SELECT t, leader_term, pg_notify(%(channel)s, t::text || ' ' || encode(%(last)s, 'hex')) FROM head
"""

# Without sync: the commit of this transaction does not wait for the disk.
RELAXED_APPEND: Final = APPEND.replace("pg_notify(", "set_config('synchronous_commit', 'off', true), pg_notify(")

RAISE_EPOCH: Final = "UPDATE factstore.store SET epoch = epoch + 1 WHERE id = %(store)s RETURNING epoch"

T_OF: Final = "SELECT t FROM factstore.record WHERE store = %(store)s AND txid = %(txid)s"

# The first row is the record at t=%(after)s, without its body. The sizes are added up without reading the bodies.
READ_LOG: Final = """
SELECT t, txid, previous, body
FROM (SELECT t, txid, previous, body, sum(octet_length(body)) OVER (ORDER BY t) - octet_length(body) AS size_before
      FROM (SELECT t, txid, previous, CASE WHEN t > %(after)s THEN body ELSE '' END AS body FROM factstore.record
            WHERE store = %(store)s AND t >= %(after)s AND t <= %(upto)s ORDER BY t LIMIT %(rows)s) AS nearest) AS sized
WHERE size_before < %(bytes)s
ORDER BY t
"""

# A replica that lacks an excision has records with excised facts.
READ_LOG_OF_REPLICA: Final = READ_LOG.replace(
    "WHERE size_before < %(bytes)s",
    """WHERE size_before < %(bytes)s
  AND (SELECT excisions FROM factstore.store WHERE id = %(store)s) >= %(excisions)s""",
)

REWRITE_HEAD: Final = f"""
UPDATE factstore.store
SET t = t + cardinality(%(txids)b::bytea[]), previous = CASE WHEN %(last)s::bytea IS NULL THEN previous ELSE txid END,
    txid = coalesce(%(last)s, txid), root_version = root_version + 1, excisions = excisions + 1
WHERE id = %(store)s AND t = %(expected)s AND epoch = %(epoch)s AND root_version = %(version)s AND {_MINE}
RETURNING previous
"""

REWRITE_RECORDS: Final = """
UPDATE factstore.record SET body = new.body
FROM unnest(%(ts)s::bigint[], %(txids)b::bytea[], %(bodies)b::bytea[]) AS new (t, txid, body)
WHERE record.store = %(store)s AND record.t = new.t AND record.txid = new.txid
RETURNING record.t
"""

ADD_RECORDS: Final = """
INSERT INTO factstore.record (store, t, epoch, txid, previous, body)
SELECT %(store)s, %(expected)s + new.n, %(epoch)s, new.txid, coalesce(new.previous, %(before)s), new.body
FROM unnest(%(txids)b::bytea[], %(previous)b::bytea[], %(bodies)b::bytea[])
     WITH ORDINALITY AS new (txid, previous, body, n)
"""

NOTIFY: Final = """
SELECT pg_notify(%(channel)s, t::text || ' ' || encode(txid, 'hex')) FROM factstore.store WHERE id = %(store)s
"""

PUT_BLOCKS: Final = """
WITH relaxed AS (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO factstore.block (store, id, body)
SELECT %(store)s, new.id, new.body FROM relaxed, unnest(%(ids)b::bytea[], %(bodies)b::bytea[]) AS new (id, body)
ON CONFLICT DO NOTHING
"""

GET_BLOCKS: Final = "SELECT id, body, place FROM factstore.block WHERE store = %(store)s AND id = ANY(%(ids)b::bytea[])"

# Blocks in objects. A place is announced before its object is written, and is loose until a block refers to it:
#
#     announced ──► referred to by a block ──► doomed ──► gone          announced ──► doomed, after an hour
#
# Only the objects of doomed places are deleted, and no block can refer to those, nor is a place used twice. So neither
# a late request nor the death of a process at any point deletes the bytes of a block, or loses track of an object.
MISSING_BLOCKS: Final = """
SELECT wanted.id FROM unnest(%(ids)b::bytea[]) AS wanted (id)
WHERE NOT EXISTS (SELECT FROM factstore.block WHERE block.store = %(store)s AND block.id = wanted.id)
"""
ANNOUNCE: Final = "INSERT INTO factstore.loose (store, place) SELECT %(store)s, unnest(%(places)s::text[])"
REFER: Final = """
WITH relaxed AS (SELECT set_config('synchronous_commit', 'off', true)),
announced AS (
    SELECT place FROM factstore.loose WHERE place = ANY(%(places)s::text[]) AND NOT doomed FOR UPDATE
), added AS (
    INSERT INTO factstore.block (store, id, body, place, size)
    SELECT %(store)s, new.id, '', new.place, new.size
    FROM relaxed, unnest(%(ids)b::bytea[], %(places)s::text[], %(sizes)s::bigint[]) AS new (id, place, size)
         JOIN announced USING (place)
    ON CONFLICT DO NOTHING RETURNING place
)
DELETE FROM factstore.loose USING added WHERE loose.place = added.place
"""
# Also those of stores that do not exist any more.
DOOM: Final = """
UPDATE factstore.loose SET doomed = true
WHERE (doomed OR since < now() - interval '1 hour')
  AND (store = %(store)s OR NOT EXISTS (SELECT FROM factstore.store WHERE id = loose.store))
RETURNING place
"""
FORGET: Final = "DELETE FROM factstore.loose WHERE doomed AND place = ANY(%(places)s::text[])"

# The row of the store is locked, so the writer lock does not pass to another handle before the blocks are gone.
DELETE_BLOCKS: Final = f"""
WITH mine AS (
    SELECT id FROM factstore.store WHERE id = %(store)s AND (NOT %(held)s OR {_MINE}) FOR NO KEY UPDATE
), deleted AS (
    DELETE FROM factstore.block USING mine WHERE block.store = mine.id AND block.id = ANY(%(ids)b::bytea[])
    RETURNING place
), loosened AS (
    INSERT INTO factstore.loose (store, place, doomed)
    SELECT %(store)s, place, true FROM deleted WHERE place IS NOT NULL
)
SELECT (SELECT count(*) FROM mine), (SELECT count(*) FROM deleted)
"""

BLOCK_IDS: Final = """
SELECT id FROM factstore.block WHERE store = %(store)s AND id > %(last)s ORDER BY id LIMIT %(rows)s
"""

READ_ROOT: Final = """
SELECT root.version, root.body, store.excisions, store.t, store.txid FROM factstore.store
JOIN factstore.root ON root.store = store.id AND root.version = coalesce(%(version)s, store.root_version)
WHERE store.id = %(store)s
"""

_NOT_HELD: Final = """root.store = %(store)s AND root.version < %(version)s AND NOT EXISTS (
        SELECT FROM factstore.hold WHERE hold.store = root.store AND hold.version = root.version AND until > now())"""

# The root before this one stays: a reader may have read it and not held it yet.
SWAP_ROOT: Final = f"""
WITH swapped AS (
    UPDATE factstore.store SET root_version = root_version + 1
    WHERE id = %(store)s AND root_version = %(version)s AND (NOT %(held)s OR {_MINE})
    RETURNING root_version
), added AS (
    INSERT INTO factstore.root (store, version, body) SELECT %(store)s, root_version, %(body)s FROM swapped
), removed AS (
    DELETE FROM factstore.root USING swapped WHERE {_NOT_HELD}
)
SELECT root_version FROM swapped
"""
ADD_ROOT: Final = "INSERT INTO factstore.root (store, version, body) VALUES (%(store)s, %(version)s + 1, %(root)s)"

REMOVE_ROOTS: Final = f"DELETE FROM factstore.root WHERE {_NOT_HELD}"

# The writer lock. Each new owner raises the epoch, so that a write of an older owner, still on its way, is rejected.
TAKE_TURN: Final = """
UPDATE factstore.store
SET owner = %(me)s, owner_until = now() + %(lease)s * interval '1 second', owner_since = now(),
    owner_is_block = %(is_block)s, owner_about = %(about)s, epoch = epoch + 1
WHERE id = %(store)s AND (owner IS NULL OR owner = %(me)s OR owner_until <= now())
RETURNING epoch, t, txid
"""
GIVE_TURN: Final = "UPDATE factstore.store SET owner = NULL WHERE id = %(store)s AND owner = %(me)s"
ABOUT_TURN: Final = """
SELECT owner_about, owner_since, owner_is_block FROM factstore.store WHERE id = %(store)s AND owner IS NOT NULL
"""
RENEW: Final = """
WITH turn AS (
    UPDATE factstore.store SET owner_until = now() + %(lease)s * interval '1 second'
    WHERE id = %(store)s AND owner = %(me)s AND %(held)s
), expired AS (
    DELETE FROM factstore.hold WHERE store = %(store)s AND until < now() - interval '1 hour'
)
UPDATE factstore.hold SET until = now() + %(hold)s * interval '1 second' WHERE store = %(store)s AND holder = %(me)s
RETURNING version
"""

HOLD: Final = """
INSERT INTO factstore.hold (store, holder, version, until)
VALUES (%(store)s, %(me)s, %(version)s, now() + %(hold)s * interval '1 second')
ON CONFLICT (store, holder, version) DO UPDATE SET until = excluded.until
"""
RELEASE: Final = (
    "DELETE FROM factstore.hold WHERE store = %(store)s AND holder = %(me)s AND version = ANY(%(versions)s)"
)
HELD: Final = "SELECT DISTINCT version FROM factstore.hold WHERE store = %(store)s AND until > now()"
LEAVE: Final = "DELETE FROM factstore.hold WHERE store = %(store)s AND holder = %(me)s"

USAGE: Final = """
SELECT (SELECT count(*) FROM factstore.record WHERE store = %(store)s),
       (SELECT count(*) FROM factstore.block WHERE store = %(store)s),
       (SELECT coalesce(sum(pg_column_size(body)), 0) FROM factstore.record WHERE store = %(store)s)
       + (SELECT coalesce(sum(coalesce(size, pg_column_size(body))), 0) FROM factstore.block WHERE store = %(store)s),
       (SELECT count(DISTINCT holder) FROM factstore.hold WHERE store = %(store)s AND until > now())
"""

PROBLEMS: Final = """
WITH chain AS (
    SELECT t, previous, lag(t) OVER (ORDER BY t) AS t_before, lag(txid) OVER (ORDER BY t) AS txid_before
    FROM factstore.record WHERE store = %(store)s
)
SELECT 'the log has no record of t=' || coalesce(t_before, 0) + 1 FROM chain WHERE t <> coalesce(t_before, 0) + 1
UNION ALL
SELECT 'the record of t=' || t || ' does not follow the record before it' FROM chain
WHERE t_before = t - 1 AND previous <> txid_before
UNION ALL
SELECT 'the head is t=' || t || ', and the newest record another one' FROM factstore.store
WHERE id = %(store)s AND t <> (SELECT coalesce(max(t), 0) FROM chain)
UNION ALL
SELECT 'the root of version ' || root_version || ' is missing' FROM factstore.store
WHERE id = %(store)s AND root_version > 0
  AND NOT EXISTS (SELECT FROM factstore.root WHERE root.store = store.id AND root.version = store.root_version)
"""

BARRIER: Final = "UPDATE factstore.store SET created = created WHERE id = %(store)s"

# The leader. Each new one raises the epoch, so that a write of the one before it, still on its way, is rejected.
LEADER: Final = """
SELECT leader_term, coalesce(leader_until > now(), false), leader_address, leader_secret, leader_fingerprint
FROM factstore.store WHERE id = %(store)s
"""
LEAD: Final = """
UPDATE factstore.store
SET leader = %(me)s, leader_until = now() + %(lease)s * interval '1 second', leader_term = leader_term + 1,
    leader_address = %(address)s, leader_secret = %(secret)s, leader_fingerprint = %(fingerprint)s, epoch = epoch + 1
WHERE id = %(store)s AND (leader IS NULL OR leader_until <= now())
RETURNING leader_term
"""
RENEW_LEAD: Final = """
UPDATE factstore.store SET leader_until = now() + %(lease)s * interval '1 second'
WHERE id = %(store)s AND leader = %(me)s RETURNING leader_term
"""
RESIGN: Final = """
UPDATE factstore.store SET leader = NULL, leader_until = NULL WHERE id = %(store)s AND leader = %(me)s
"""
RETIRE: Final = """
UPDATE factstore.store
SET leader = NULL, leader_until = NULL, leader_term = 0, leader_address = '', leader_secret = '',
    leader_fingerprint = '', epoch = epoch + 1
WHERE id = %(store)s
"""
