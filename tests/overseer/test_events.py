"""Events reach every listener, and no listener reaches the job."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Barrier, Thread

import pytest

from factstore import Keyword
from overseer.events import Listeners, Started, carried, current_lease
from overseer.jobs.states import Lease


def lease(id: str) -> Lease:
    return Lease(job=1, id=id, type=Keyword(":a"), attempt=1, token="t", worker="w")


STARTED = Started(at=datetime(2026, 1, 1, tzinfo=UTC), worker="w", lease=lease("j1"), attributes={":job/queue": Keyword(":mail")})


class Attempt:
    """What `around` looks at of a job."""

    def __init__(self, id: str) -> None:
        self.lease, self.attributes, self.db, self.asserted = lease(id), {}, None, []

    def assert_(self, *forms):
        self.asserted.extend(forms)


def fails(event):
    raise ValueError("a listener's own")


class Fails:
    def __init__(self, error):
        self.error = error

    def __call__(self, event):
        raise self.error

    def close(self):
        raise self.error


@pytest.mark.parametrize("error", [GeneratorExit, asyncio.CancelledError, BaseException])
def test_no_exception_of_a_listener_ends_a_worker(error, caplog):
    told = []
    listeners = Listeners([Fails(error), told.append])
    listeners.tell(STARTED)
    listeners.close()
    assert [STARTED] == told
    assert "failed on Started" in caplog.text
    assert "failed on closing" in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_request_to_end_the_program_passes_through_listeners_in_the_main_thread_alone(error, caplog):
    told = []
    listeners = Listeners([Fails(error), told.append])
    with pytest.raises(error):
        listeners.tell(STARTED)
    with pytest.raises(error):
        listeners.close()
    assert [] == told
    with ThreadPoolExecutor(1) as elsewhere:
        elsewhere.submit(listeners.tell, STARTED).result()
        elsewhere.submit(listeners.close).result()
    assert [STARTED] == told


def test_an_event_tells_of_the_attempt_and_its_queue():
    assert "j1" == STARTED.lease.id
    assert Keyword(":mail") == STARTED.queue


def test_a_listener_that_raises_is_logged_and_the_others_are_told_all_the_same(caplog):
    told = []
    Listeners([fails, told.append]).tell(STARTED)
    assert [STARTED] == told
    assert ["listener", "failed on Started"] == [words for words in ("listener", "failed on Started") if words in caplog.text]


def test_without_listeners_nobody_need_make_an_event():
    assert bool(Listeners()) is False
    assert bool(Listeners([fails])) is True


def test_listeners_that_hold_something_are_closed_whatever_the_others_do(caplog):
    class Holds:
        closed = 0

        def __init__(self, error=None):
            self.error = error

        def __call__(self, event):
            pass

        def close(self):
            self.closed += 1
            if self.error:
                raise self.error

    broken, sound = Holds(OSError("no route")), Holds()
    Listeners([broken, fails, sound]).close()
    assert 1 == broken.closed
    assert 1 == sound.closed
    assert ("failed on closing" in caplog.text) is True


class Surrounds:
    def __init__(self, *, on_enter: bool = False, on_exit: bool = False) -> None:
        self.on_enter, self.on_exit, self.steps = on_enter, on_exit, []

    def __call__(self, event):
        pass

    @contextmanager
    def around(self, job):
        if self.on_enter:
            raise RuntimeError("on entering")
        try:
            yield
        except KeyError:
            self.steps.append("saw it, and swallows it")
            return
        if self.on_exit:
            raise RuntimeError("on leaving")
        self.steps.append("left")


def test_a_handlers_context_is_its_listeners_contexts():
    one, two = Surrounds(), Surrounds()
    with Listeners([one, two, fails]).around(Attempt("j1")):
        assert lease("j1") == current_lease()
    assert ["left"] == one.steps
    assert ["left"] == two.steps
    assert current_lease() is None


def test_a_listener_cannot_swallow_what_a_handler_raises():
    listener = Surrounds()
    with pytest.raises(KeyError), Listeners([listener]).around(Attempt("j1")):
        raise KeyError("the handler's")
    assert ["saw it, and swallows it"] == listener.steps
    assert current_lease() is None


@pytest.mark.parametrize("broken", [Surrounds(on_enter=True), Surrounds(on_exit=True)], ids=["enter", "exit"])
def test_a_context_that_breaks_is_logged_and_the_handler_runs(broken, caplog):
    ran = []
    with Listeners([broken]).around(Attempt("j1")):
        ran.append(True)
    assert [True] == ran
    assert [logging.ERROR] == [record.levelno for record in caplog.records]


def test_handlers_that_run_at_once_each_see_their_own_attempt():
    """Both are inside before either looks, so a value that threads shared would show."""
    both, listeners = Barrier(2), Listeners()

    def handler(id: str) -> str:
        with listeners.around(Attempt(id)):
            both.wait(10)
            return current_lease().id

    with ThreadPoolExecutor(2) as pool:
        assert ["j1", "j2"] == list(pool.map(handler, ["j1", "j2"]))


def test_tasks_that_run_at_once_each_see_their_own_attempt():
    async def handler(id: str, own: asyncio.Event, other: asyncio.Event) -> str:
        with Listeners().around(Attempt(id)):
            own.set()
            await other.wait()
            return current_lease().id

    async def both() -> list[str]:
        one, two = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(handler("j1", one, two), handler("j2", two, one))

    with ThreadPoolExecutor(1) as pool:  # a browser of another test may have left its loop on this thread
        assert ["j1", "j2"] == pool.submit(lambda: asyncio.run(both())).result(30)


def test_a_thread_that_a_handler_starts_sees_its_attempt_when_that_is_carried_there():
    seen = []
    with Listeners().around(Attempt("j1")):
        thread = Thread(target=carried(lambda: seen.append(current_lease().id)))
        thread.start()
        thread.join()
        with ThreadPoolExecutor(2) as pool:
            seen += pool.map(carried(lambda _: current_lease().id), range(4))
    assert ["j1"] * 5 == seen
