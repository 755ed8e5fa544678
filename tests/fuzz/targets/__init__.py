"""Targets of the fuzzer: each takes one input to an entry point.

A target makes its decisions from the `Random` that it is given, and returns when the entry point answered, or raised an error of the family.
Anything else that it raises is a fault.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from random import Random
from typing import Final

# The names of the targets, by the module that has them in its table. A module is imported when it is needed: atheris must see it, and that takes time.
MODULES: Final = {
    "language": ("edn-read", "edn-write", "query", "functions", "rules", "pull", "transact"),
    "files": ("csv", "dump"),
    "settings": ("cron", "settings", "options", "address"),
    "network": ("transactor", "handshake", "console", "mcp"),
    "commands": ("factstore", "overseer"),
}
NAMES: Final = tuple(name for names in MODULES.values() for name in names)


def target(name: str) -> Callable[[Random], None]:
    """Return the target with a name."""
    module = next(module for module, names in MODULES.items() if name in names)
    found: Callable[[Random], None] = import_module(f"tests.fuzz.targets.{module}").TARGETS[name]
    return found
