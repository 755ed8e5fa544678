"""What all tests share: how hard hypothesis tries, a browser, a PostgreSQL server, and the interpreter's settings."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres import Server, running

# No deadlines: a shared machine makes any of them flicker. CI tries the same examples every time, so that only a change can turn it red.
_SLOW = (HealthCheck.too_slow,)
settings.register_profile("dev", deadline=None, max_examples=50, suppress_health_check=_SLOW)
settings.register_profile("ci", deadline=None, max_examples=100, suppress_health_check=_SLOW, derandomize=True, print_blob=True)
settings.register_profile("nightly", deadline=None, max_examples=5_000, suppress_health_check=_SLOW, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))

# The tests start hundreds of processes: each would compile the source again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell starts its background processes with Ctrl-C ignored, `nohup` with SIGHUP ignored, and they pass that on: tests that send
# these signals would wait without end.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect the tests without the garbage collector, and let it skip them afterwards: they are a million objects, and stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that contain slow tests. As the last file, one of them would run while the other processes have nothing to do."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="module", autouse=True)
def _frozen() -> Iterator[None]:
    """Freeze these objects again after a test that ended with `gc.unfreeze()`; no test leaves the collector off."""
    if not gc.get_freeze_count():
        gc.freeze()
    yield
    assert gc.isenabled()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium, driven by playwright; where there is none, CI fails and everybody else skips.

    Closed after each module: its driver runs an event loop on this thread, where other tests run loops of their own.
    """
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "/usr/bin/chromium"))), None)
    if path is None:
        why = "no Chromium on PATH, so no page can be looked at; on Debian: apt install chromium"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def memory_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, if the system has one with room: syncs take no time there.

    For stores whose processes are killed many times. A killed process has written to the memory of the system on any disk.
    """
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30:
        with tempfile.TemporaryDirectory(dir=memory) as folder:
            yield Path(folder)
    else:
        yield tmp_path


@pytest.fixture(scope="session", autouse=True)
def _own_host_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep blocks of stores on servers in a folder of the tests, also in processes that they start."""
    os.environ["FACTSTORE_CACHE"] = str(tmp_path_factory.mktemp("host-cache"))


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server that syncs nothing, so that tests are fast; those of durability run their own."""
    with running("fsync=off", "full_page_writes=off", "max_connections=200") as started:
        yield started
