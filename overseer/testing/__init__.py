"""Tools for tests of handlers.

FakeClock     a clock that moves only when a test moves it
drain         runs all jobs in this thread
simulate      runs jobs under many schedules of workers that crash, stall and overtake each other
replay        runs the jobs of a past moment with other handlers, and compares with what happened
"""

from overseer.testing.clock import FakeClock
from overseer.testing.draining import drain
from overseer.testing.replaying import Difference, Replayed, replay
from overseer.testing.simulating import Simulated, Violation, schedules, simulate

__all__ = ["Difference", "FakeClock", "Replayed", "Simulated", "Violation", "drain", "replay", "schedules", "simulate"]
