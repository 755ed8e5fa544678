"""Engines: run the inputs of a target, and judge each.

An input is a fault if its target raises anything but an error of the family, takes more than 20 seconds, or needs more memory than the limit.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import json
import logging
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

from tests.fuzz.choices import Choices
from tests.fuzz.paths import FOUND, inputs_of
from tests.fuzz.targets import target

SECONDS_PER_INPUT: Final = 20
MEMORY_MB: Final = 4096
MOST_BYTES: Final = 2048  # of an input
FAULTS_SHOWN: Final = 20


class TooSlow(BaseException):
    """An input took too long."""


def outcome(name: str, data: bytes) -> str:
    """Run one input and return what came of it: "answered", the code of an error, or "fault" and a traceback."""
    from factstore import FactStoreError  # not above: atheris observes only modules that it sees imported

    with _time_limit():
        try:
            target(name)(Choices(data))
        except FactStoreError as error:
            str(error), error.to_dict()
            return error.code
        except (Exception, TooSlow):
            return "fault\n" + traceback.format_exc(limit=-6)
    return "answered"


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    """Raise `TooSlow` in the block when its time is up."""

    def too_slow(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, too_slow)
    signal.setitimer(signal.ITIMER_REAL, SECONDS_PER_INPUT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Figures:
    """The outcomes of a run; each new kind of fault is printed, and its input is kept."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._began = time.monotonic()
        self._counts = collections.Counter[str]()
        self._places = set[str]()

    def run(self, data: bytes) -> None:
        """Run one input and count its outcome."""
        found = outcome(self._name, data)
        if found.startswith("fault"):
            self._keep(data, found)
            found = "fault"
        self._counts[found] += 1

    def _keep(self, data: bytes, found: str) -> None:
        place = "".join(found.strip().splitlines()[-3:-1])
        if place in self._places or len(self._places) >= FAULTS_SHOWN:
            return
        self._places.add(place)
        kept = FOUND / self._name / f"fault-{digest(data)}"
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(data)
        print(f"--- python -m tests.fuzz {self._name} --input {kept}\n{found[-2500:]}", file=sys.stderr, flush=True)

    def ended(self) -> int:
        """Print the figures; return 1 if there was a fault."""
        figures: dict[str, Any] = {
            "target": self._name,
            "seconds": round(time.monotonic() - self._began, 1),
            "inputs": self._counts.total(),
            "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        }
        print(json.dumps({**figures, **dict(self._counts.most_common())}), flush=True)
        return min(1, self._counts["fault"])


def digest(data: bytes) -> str:
    """Return the name of an input."""
    return hashlib.sha256(data).hexdigest()[:16]


def random_inputs(name: str, seconds: float, seed: int) -> int:
    """Run the corpus and then random inputs for some time; return 1 if there was a fault."""
    quiet()
    if name not in ("factstore", "overseer"):  # a store in a file reserves more addresses than it has memory
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MB << 20, MEMORY_MB << 20))
    figures, rng = Figures(name), random.Random(seed)
    ends = time.monotonic() + seconds
    for data in inputs_of(name):
        figures.run(data)
    while time.monotonic() < ends:
        figures.run(rng.randbytes(rng.randint(1, MOST_BYTES)))
    return figures.ended()


def guided_inputs(name: str, seconds: float, seed: int) -> NoReturn:
    """Run inputs that atheris chooses for some time. Ends the process, with 1 if there was a fault."""
    import atheris

    quiet()
    atheris.instrument_imports(include=["factstore", "overseer"]).__enter__()  # for good: some modules are imported late
    target(name)
    figures, new, old = Figures(name), FOUND / name / "new", Path(tempfile.mkdtemp(prefix="fuzz-corpus-"))
    new.mkdir(parents=True, exist_ok=True)
    for data in inputs_of(name):
        (old / digest(data)).write_bytes(data)
    ends = time.monotonic() + seconds

    def run(data: bytes) -> None:
        figures.run(data)
        if time.monotonic() > ends:
            os._exit(figures.ended())

    limits = [
        f"-max_len={MOST_BYTES}",
        "-len_control=0",
        f"-rss_limit_mb={MEMORY_MB}",
        "-timeout=0",
        "-verbosity=0",
        f"-artifact_prefix={FOUND / name}/",
    ]
    atheris.Setup([sys.argv[0], *limits, f"-seed={seed}", str(new), str(old)], run)
    atheris.Fuzz()
    raise AssertionError("libFuzzer ends the process")


def quiet() -> None:
    """Log nothing and warn of nothing."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
