"""The network between a primary and its synchronous standby is cut: the side without the standby acknowledges nothing.

The servers run on hosts of their own (network namespaces), and the clients reach both.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from time import sleep

import pytest

from factstore.errors import UnknownOutcome
from factstore.storage import open_storage
from factstore.testing.storage_model import LONG, records, txid
from tests.networks import hosts
from tests.postgres import Server, cluster, until


def uri_of(*servers: Server, durability: str = "managed") -> str:
    places = ",".join(f"{server.host}:{server.port}" for server in servers)
    return f"postgresql://postgres@{places}/postgres?name=shop&durability={durability}&connect_timeout=2"


@pytest.mark.slow
def test_the_side_without_the_standby_acknowledges_nothing() -> None:
    with hosts(2) as (one, two), cluster(synchronous=True, on=(one, two)) as (primary, standby):
        everybody = uri_of(primary, standby, durability="replicated")
        with closing(open_storage(everybody)) as storage, ThreadPoolExecutor(1) as pool:
            assert storage.append(records(1, 2), expected_t=0) == 2
            one.cut_off(two)
            sent = pool.submit(storage.append, records(3), expected_t=2)
            until(lambda: primary.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").strip() == "1")
            standby.promote()
            with closing(open_storage(uri_of(standby))) as majority:
                for n in range(4, 14):
                    assert majority.append(records(n), expected_t=n - 2) == n - 1
            sleep(1.0)  # no event shows that an answer does not come
            assert not sent.done()
            primary.kill()  # as the fence of a cluster's manager does
            with pytest.raises(UnknownOutcome):
                sent.result(LONG)
            assert storage.resolve(txid(3)) is None
            log = [record.txid for record in storage.read_log(0)]
            assert log == [txid(1), txid(2), *map(txid, range(4, 14))]
            assert storage.append(records(14), expected_t=12) == 13
            assert storage.problems() == []


@pytest.mark.slow
def test_an_append_that_waited_for_the_network_is_acknowledged_when_it_is_back() -> None:
    with hosts(2) as (one, two), cluster(synchronous=True, on=(one, two)) as (primary, standby):
        with closing(open_storage(uri_of(primary, standby, durability="replicated"))) as storage, ThreadPoolExecutor(1) as pool:
            storage.append(records(1), expected_t=0)
            one.cut_off(two)
            sent = pool.submit(storage.append, records(2), expected_t=1)
            until(lambda: primary.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").strip() == "1")
            assert not sent.done()
            one.reconnect(two)
            assert sent.result(LONG) == 2
        assert [record.txid for record in _log(standby)] == [txid(1), txid(2)]


def _log(server: Server) -> list[object]:
    until(lambda: server.sql("SELECT t FROM factstore.store").strip() == "2")
    with closing(open_storage(uri_of(server), read_only=True)) as storage:
        return list(storage.read_log(0))
