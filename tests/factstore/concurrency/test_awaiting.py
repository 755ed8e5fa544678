"""Futures of threads in coroutines: each gets its outcome, and many that end together wake the loop once."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from threading import Thread

from hypothesis import given
from hypothesis import strategies as st

from factstore.commit.background import PendingReport
from factstore.concurrency.awaiting import awaited
from factstore.errors import Closed


class Awaitable(Future[int]):
    def __await__(self):
        return awaited(self)


async def outcome(future: Awaitable) -> int | str:
    try:
        return await future
    except Closed as error:
        return error.message
    except asyncio.CancelledError:
        return "cancelled"
    except RuntimeError as error:
        return repr(error.__cause__)


def end(future: Future[int], kind: str, n: int) -> None:
    if kind == "result":
        future.set_result(n)
    elif kind == "stop":
        future.set_exception(StopIteration())
    elif kind == "error":
        future.set_exception(Closed(":db.error/storage-closed", str(n)))
    else:
        future.cancel()
        future.set_running_or_notify_cancel()


@given(st.lists(st.tuples(st.sampled_from(["result", "error", "stop", "cancel"]), st.booleans()), max_size=12))
def test_each_coroutine_gets_the_outcome_of_its_future(kinds: list[tuple[str, bool]]) -> None:
    async def main() -> list[int | str]:
        futures = [Awaitable() for _ in kinds]
        for n, (kind, is_early) in enumerate(kinds):
            if is_early:
                end(futures[n], kind, n)
        tasks = [asyncio.create_task(outcome(future)) for future in futures]
        await asyncio.sleep(0)
        late = [(future, kind, n) for n, (future, (kind, is_early)) in enumerate(zip(futures, kinds, strict=True)) if not is_early]
        thread = Thread(target=lambda: [end(*each) for each in late])
        thread.start()
        outcomes = await asyncio.gather(*tasks)
        thread.join()
        return outcomes

    expected = {"result": lambda n: n, "error": str, "stop": lambda n: "StopIteration()", "cancel": lambda n: "cancelled"}
    for _ in range(2):  # each time in another loop of the same thread
        assert asyncio.run(main()) == [expected[kind](n) for n, (kind, _) in enumerate(kinds)]


def test_many_futures_that_end_together_wake_the_loop_once_and_in_their_order() -> None:
    async def main() -> None:
        loop, calls, order = asyncio.get_running_loop(), [], []
        futures = [Awaitable() for _ in range(50)]

        async def wait(future: Awaitable) -> None:
            order.append(await future)

        tasks = [asyncio.create_task(wait(future)) for future in futures]
        await asyncio.sleep(0)
        wake = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *call: calls.append(call) or wake(*call)  # type: ignore[method-assign]
        thread = Thread(target=lambda: [futures[n].set_result(n) for n in reversed(range(50))])
        thread.start()
        thread.join()  # the loop does not turn meanwhile
        await asyncio.gather(*tasks)
        assert len(calls) == 1 and order == list(reversed(range(50)))

    asyncio.run(main())


def test_a_future_of_a_closed_loop_ends_without_harm() -> None:
    future = Awaitable()

    async def main() -> None:
        asyncio.create_task(outcome(future)).add_done_callback(lambda _: None)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert future.cancelled()  # with its task
    late, loop = Awaitable(), asyncio.new_event_loop()
    task = loop.create_task(outcome(late))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    late.set_result(1)
    assert late.result() == 1 and not task.done()
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_a_task_that_is_cancelled_cancels_a_future_that_has_not_begun() -> None:
    async def main() -> tuple[bool, bool]:
        waits, runs = PendingReport(), PendingReport()
        runs.set_running_or_notify_cancel()
        tasks = [asyncio.ensure_future(each) for each in (waits, runs)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return waits.cancelled(), runs.cancelled()

    assert asyncio.run(main()) == (True, False)
