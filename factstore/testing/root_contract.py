"""The contract of a storage: the root, and holds on its versions."""

from __future__ import annotations

import pytest

from factstore.errors import Conflict
from factstore.storage import Root, Storage


class RootContract:
    """The tests of the root; `store` and `other` are handles on one store."""

    def test_of_two_swaps_from_one_version_the_second_is_refused(self, store: Storage, other: Storage) -> None:
        assert store.swap_root(b"one", expected_version=0) == Root(1, b"one")
        with pytest.raises(Conflict) as refused:
            other.swap_root(b"uno", expected_version=0)
        assert refused.value.version == 1
        assert other.read_root() == Root(1, b"one")
        assert other.swap_root(b"two", expected_version=1) == Root(2, b"two")
        assert store.read_root() == Root(2, b"two")

    def test_a_held_version_is_seen_by_everybody_and_stays_readable_until_released(
        self, store: Storage, other: Storage
    ) -> None:
        store.swap_root(b"1", expected_version=0)
        hold, again = store.hold(1), store.hold(1)
        for version in range(1, 5):
            store.swap_root(b"%d" % (version + 1), expected_version=version)
        assert other.held() == {1}
        assert [other.read_root(version) for version in (1, 2, 3)] == [Root(1, b"1"), None, None]
        hold.release()
        hold.release()
        assert other.held() == {1}
        with again:
            assert again.version == 1
        assert other.held() == set()
        store.swap_root(b"6", expected_version=5)
        assert other.read_root(1) is None

    def test_a_version_that_was_overtaken_is_not_held_unless_it_is_already(self, store: Storage) -> None:
        store.swap_root(b"1", expected_version=0)
        store.swap_root(b"2", expected_version=1)
        with pytest.raises(Conflict) as refused:
            store.hold(1)
        assert refused.value.version == 2
        with store.hold(2):
            store.swap_root(b"3", expected_version=2)
            with store.hold(2):
                assert store.held() == {2}

    def test_version_0_is_a_sign_that_is_always_granted(self, store: Storage) -> None:
        with store.hold(0):
            assert store.held() == {0}
            store.swap_root(b"1", expected_version=0)
        with store.hold(0), store.hold(1):
            assert store.held() == {0, 1}
        assert store.held() == set()
