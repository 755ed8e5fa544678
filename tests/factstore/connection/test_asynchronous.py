"""Coroutines: the future of a transaction, reports, and connections for asyncio. Nothing blocks the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import factstore
from factstore import TransactError, aconnect, connect


def doc(text: str) -> list[Any]:
    return [{":db/id": "x", ":db/doc": text}]


def docs_of(report: Any) -> list[Any]:
    return [datom.v for datom in report.datoms_of(":db/doc")]


def test_the_future_of_a_transaction_can_be_awaited() -> None:
    async def main(conn: Any) -> None:
        assert ["a"] == docs_of(await conn.transact_async(doc("a")))
        reports = await asyncio.gather(*(conn.transact_async(doc(str(i))) for i in range(20)))
        assert list(range(2, 22)) == [report.t for report in reports]
        with pytest.raises(TransactError) as caught:
            await conn.transact_async([{":no/such": 1}])
        assert ":db.error/not-an-entity" == caught.value.code
        assert 22 == (await conn.transact_async(doc("k"), key="k")).t == (await conn.transact_async(doc("k"), key="k")).t

    with connect("memory:") as conn:
        asyncio.run(main(conn))
        assert 23 == conn.transact_async(doc("z")).result(60).t


def test_a_connection_for_asyncio_does_what_the_other_one_does() -> None:
    async def main() -> None:
        async with aconnect("memory:") as conn:
            report = await conn.transact(doc("a"))
            assert report.t == (await conn.db()).basis_t
            assert "a" == await conn.call((await conn.db()).q, '[:find ?d . :where [?e :db/doc ?d] [(= ?d "a")]]')
            first = await conn.transact(doc("k"), key="k")
            assert first.t == (await conn.transact(doc("k"), key="k")).t
            inner = conn.connection
        with pytest.raises(factstore.errors.Closed):
            inner.db()

    asyncio.run(main())


def test_a_connection_for_asyncio_infers_a_schema() -> None:
    async def main() -> None:
        async with aconnect("memory:", infer_schema=True) as conn:
            await conn.transact([{":note/text": "a"}])
            assert "a" == (await conn.db()).q("[:find ?t . :where [_ :note/text ?t]]")

    asyncio.run(main())


def test_reports_arrive_in_order_from_the_past_from_this_connection_and_from_others() -> None:
    async def main() -> list[int]:
        seen: list[int] = []
        async with aconnect("memory:reports") as conn:
            await conn.transact(doc("1"))
            with connect("memory:reports") as other:
                reports = conn.tx_reports(from_t=1)
                seen.append((await anext(reports)).t)
                waiting = asyncio.ensure_future(anext(reports))
                await asyncio.to_thread(other.transact, doc("2"))
                seen.append((await waiting).t)
                await conn.transact(doc("3"))
                seen.append((await anext(reports)).t)
                await reports.aclose()
        return seen

    assert [1, 2, 3] == asyncio.run(main())


def test_reading_reports_ends_when_the_connection_is_closed() -> None:
    async def main() -> list[int]:
        conn = await asyncio.to_thread(connect, "memory:")
        reports = conn.tx_reports()
        started = asyncio.Event()

        async def read() -> list[int]:
            started.set()
            return [report.t async for report in reports]

        task = asyncio.ensure_future(read())
        await started.wait()
        await conn.transact_async(doc("a"))
        await asyncio.to_thread(conn.close)
        return await task

    assert [1] == asyncio.run(main())


def test_a_hundred_streams_use_one_thread() -> None:
    async def main() -> None:
        async with aconnect("memory:") as conn:
            streams = [conn.connection.tx_reports() for _ in range(100)]
            tasks = [asyncio.ensure_future(anext(aiter(stream))) for stream in streams]
            await asyncio.sleep(0)
            followers = [thread for thread in threading.enumerate() if thread.name == "factstore-follower"]
            assert 1 == len(followers)
            report = await conn.transact(doc("a"))
            assert [report.t] * 100 == [each.t for each in await asyncio.gather(*tasks)]
            for stream in streams:
                stream.close()

    asyncio.run(main())


async def turns_while(started: Awaitable[Any], work: Callable[[], Awaitable[Any]], release: Callable[[], None]) -> int:
    """Return how many turns the event loop makes while some work waits for a resource that is released only afterwards."""
    await started
    task = asyncio.ensure_future(work())
    turns = 0
    for _ in range(1000):
        await asyncio.sleep(0)
        turns += 1
    assert not task.done()  # it still waits
    release()
    await task
    return turns


def test_the_loop_turns_while_another_process_holds_the_writer_lock(tmp_path: Any) -> None:
    uri = str(tmp_path / "held.facts")
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with connect(uri) as other, other.transaction() as tx:
            tx.transact(doc("held"))
            held.set()
            release.wait(60)

    async def main() -> int:
        async with aconnect(uri) as conn:
            reports = conn.tx_reports()
            first = asyncio.ensure_future(anext(reports))
            holder = threading.Thread(target=hold)
            holder.start()
            turns = await turns_while(asyncio.to_thread(held.wait, 60), lambda: conn.transact(doc("mine")), release.set)
            await asyncio.to_thread(holder.join)
            assert ["held"] == docs_of(await first)
            assert ["mine"] == docs_of(await anext(reports))
            await reports.aclose()
            return turns

    assert 1000 == asyncio.run(main())


def test_the_loop_turns_while_the_disk_does_not_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Each verb of the storage that a commit or a read uses waits until the loop has made its turns."""
    from factstore.storage.lmdb.engine import LmdbStorage

    answered, asked, is_slow = threading.Event(), threading.Event(), threading.Event()
    loop_thread = threading.current_thread()
    blocked_the_loop: list[str] = []

    def slow(name: str) -> Any:
        verb = getattr(LmdbStorage, name)

        def waits(self: Any, *args: Any, **options: Any) -> Any:
            if is_slow.is_set():
                if threading.current_thread() is loop_thread:
                    blocked_the_loop.append(name)
                else:
                    asked.set()
                    answered.wait(60)
            return verb(self, *args, **options)

        return waits

    async def main() -> int:
        async with aconnect(str(tmp_path / "slow.facts")) as conn:
            await conn.transact(doc("fast"))
            is_slow.set()
            turns = await turns_while(asyncio.sleep(0), lambda: conn.transact(doc("slow")), answered.set)
            await conn.db()
            is_slow.clear()
            return turns

    for name in ("append", "head", "turn"):
        monkeypatch.setattr(LmdbStorage, name, slow(name))
    assert 1000 == asyncio.run(main())
    assert [] == blocked_the_loop and asked.is_set()


def test_a_cancelled_task_does_not_commit_what_has_not_begun(tmp_path: Any) -> None:
    async def main() -> list[Any]:
        async with aconnect(str(tmp_path / "cancelled.facts")) as conn:
            with conn.connection.transaction() as tx:  # holds the turn, so nothing else begins
                tx.transact(doc("held"))
                pending = await asyncio.to_thread(conn.connection.transact_async, doc("never"))
                task = asyncio.ensure_future(wait_for(pending))
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await conn.transact(doc("after"))
            return sorted(datom.v for datom in (await conn.db()).datoms("aevt", ":db/doc") if datom.v in ("held", "never", "after"))

    async def wait_for(pending: Any) -> Any:
        return await pending

    assert ["after", "held"] == asyncio.run(main())
