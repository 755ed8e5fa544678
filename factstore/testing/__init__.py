"""A test harness for applications on factstore: fixtures of pytest, strategies and state machines of hypothesis.

    strategies/          values, transactions, histories, databases and queries, made from a schema
    machine.py           StoreMachine: random transactions, with invariants on every database value (invariants.py)
    rules.py             rules to mix into a machine: any transactions, and maintenance
    naive/               the models that the store is compared with
    faults.py            storages that fail on request
    simulation/          processes in every schedule, one verb of the storage at a time
    plugin.py, hook.py   what pytest and hypothesis load by themselves; they import nothing heavy
    storage_contract.py  the contract of a storage as tests, for other engines

The extra `testing` installs pytest and hypothesis. Names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from factstore.testing import strategies as strategies
    from factstore.testing.clock import FakeClock as FakeClock
    from factstore.testing.faults import Died as Died
    from factstore.testing.faults import Fault as Fault
    from factstore.testing.faults import FaultyStorage as FaultyStorage
    from factstore.testing.invariants import InvariantBroken as InvariantBroken
    from factstore.testing.invariants import invariant as invariant
    from factstore.testing.machine import ModelDisagrees as ModelDisagrees
    from factstore.testing.machine import StoreMachine as StoreMachine
    from factstore.testing.machine import transaction as transaction
    from factstore.testing.rules import AnyTransactions as AnyTransactions
    from factstore.testing.rules import Maintenance as Maintenance
    from factstore.testing.simulation.schedules import Schedule as Schedule
    from factstore.testing.simulation.simulation import check_interleavings as check_interleavings
    from factstore.testing.simulation.simulation import check_kills as check_kills
    from factstore.testing.simulation.simulation import publish_index as publish_index
    from factstore.testing.simulation.simulation import simulate as simulate

_HOMES: Final = {
    "AnyTransactions": "rules",
    "Died": "faults",
    "FakeClock": "clock",
    "Fault": "faults",
    "FaultyStorage": "faults",
    "InvariantBroken": "invariants",
    "Maintenance": "rules",
    "ModelDisagrees": "machine",
    "Schedule": "simulation.schedules",
    "StoreMachine": "machine",
    "check_interleavings": "simulation.simulation",
    "check_kills": "simulation.simulation",
    "invariant": "invariants",
    "publish_index": "simulation.simulation",
    "simulate": "simulation.simulation",
    "transaction": "machine",
}

__all__ = sorted([*_HOMES, "strategies"])


def __getattr__(name: str) -> Any:
    if name == "strategies":
        return import_module("factstore.testing.strategies")
    if name not in _HOMES:
        raise AttributeError(f"module 'factstore.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"factstore.testing.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return __all__
