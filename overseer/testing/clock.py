"""The clock of tests, which is the store's, and the moment at which it starts."""

from __future__ import annotations

from typing import Final

from factstore.testing import FakeClock

START: Final = FakeClock().now

__all__ = ["START", "FakeClock"]
