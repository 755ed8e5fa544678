"""The bounded cache: what stays, what goes first, and that threads may share it."""

from __future__ import annotations

from threading import Thread
from typing import Any

import pytest

from factstore.concurrency.bounded_cache import BoundedCache


def keys(cache: BoundedCache[Any, Any]) -> list[Any]:
    return [key for key in range(10) if cache.get(key) is not None]


def test_a_bound_on_entries_removes_the_oldest() -> None:
    cache: BoundedCache[int, str] = BoundedCache(max_entries=2)
    for key in range(4):
        assert str(key) == cache.put(key, str(key))
    assert [2, 3] == keys(cache)
    assert 2 == len(cache)


def test_use_keeps_an_entry_and_get_does_not() -> None:
    cache: BoundedCache[int, str] = BoundedCache(max_entries=2)
    cache.put(0, "a"), cache.put(1, "b")
    assert "a" == cache.use(0)
    assert "b" == cache.get(1)
    assert cache.use(7) is None
    cache.put(2, "c")
    assert [0, 2] == keys(cache)


def test_an_entry_that_is_put_again_is_the_newest_and_counts_once() -> None:
    cache: BoundedCache[int, str] = BoundedCache(max_bytes=10)
    cache.put(0, "a", 4), cache.put(1, "b", 4), cache.put(0, "A", 5)
    assert 9 == cache.bytes
    assert "A" == cache.get(0)
    cache.put(2, "c", 4)
    assert [0, 2] == keys(cache)
    assert 9 == cache.bytes


def test_a_bound_on_bytes_counts_what_stays() -> None:
    cache: BoundedCache[int, str] = BoundedCache(max_bytes=10)
    for key in range(9):
        cache.put(key, "x", key)
    assert [8] == keys(cache)
    assert 8 == cache.bytes
    cache.clear()
    assert 0 == len(cache)
    assert 0 == cache.bytes
    assert [] == keys(cache)


@pytest.mark.parametrize("bounds", [{"max_entries": 8}, {"max_bytes": 80}, {"max_entries": 8, "max_bytes": 80}])
def test_threads_share_a_cache_within_its_bounds(bounds: dict[str, int]) -> None:
    cache: BoundedCache[int, int] = BoundedCache(**bounds)
    wrong: list[Any] = []

    def work(seed: int) -> None:
        for i in range(3000):
            key = (i * seed) % 23
            if cache.use(key, key) != key or cache.put(key, key, 10) != key:
                wrong.append(key)

    threads = [Thread(target=work, args=(seed,)) for seed in (1, 5, 7, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == wrong
    assert len(cache) <= 8
    assert cache.bytes == (10 * len(cache) if "max_bytes" in bounds else 0)
