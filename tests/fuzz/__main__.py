"""Fuzz one entry point: `python -m tests.fuzz NAME [--seconds 600] [--seed N]`; without a name, list the entry points.

Each input has a seed of its own, which a fault prints; `--seed N --once` runs that input again. An input is a fault if its entry point raises anything
but an error of the family, takes more than 20 seconds, or needs more memory than the limit. Prints figures as JSON; exits with 1 when there was a fault.
"""

from __future__ import annotations

import argparse
import collections
import json
import logging
import random
import resource
import signal
import sys
import time
import traceback
import warnings
from typing import Any

from factstore import FactStoreError
from tests.fuzz.targets import TARGETS

SECONDS_PER_INPUT = 20
MEMORY = 4 << 30  # bytes of address space
FAULTS_SHOWN = 20


class TooSlow(BaseException):
    """An input took too long."""


def outcome(name: str, seed: int) -> str:
    """Run one input and return what came of it: "answered", the code of an error, or the traceback of a fault."""
    signal.alarm(SECONDS_PER_INPUT)
    try:
        TARGETS[name](random.Random(seed))
    except FactStoreError as error:
        str(error), error.to_dict()
        return error.code
    except (Exception, TooSlow):
        signal.alarm(0)
        return "fault\n" + traceback.format_exc(limit=-6)
    finally:
        signal.alarm(0)
    return "answered"


def fuzz(name: str, seconds: float, seed: int) -> dict[str, Any]:
    """Run random inputs for some time and return figures."""
    ends, counts, places = time.monotonic() + seconds, collections.Counter[str](), set()
    inputs = 0
    while time.monotonic() < ends:
        found = outcome(name, seed + inputs)
        inputs += 1
        if found.startswith("fault"):
            place = "".join(found.strip().splitlines()[-3:])
            if place not in places and len(places) < FAULTS_SHOWN:
                print(f"--- {name}, seed {seed + inputs - 1}\n{found[-2500:]}", file=sys.stderr, flush=True)
            places.add(place)
            found = "fault"
        counts[found] += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return {"target": name, "seconds": seconds, "seed": seed, "inputs": inputs, "peak MB": peak, **dict(counts.most_common())}


def main() -> None:
    """Fuzz the entry point that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("name", nargs="?", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--once", action="store_true")
    given = parser.parse_args()
    if given.name is None:
        print("\n".join(sorted(TARGETS)))
        return
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    if given.name not in ("factstore", "overseer"):  # a store in a file reserves more addresses than it has memory
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    def too_slow(*_: object) -> None:
        raise TooSlow

    signal.signal(signal.SIGALRM, too_slow)
    if given.once:
        print(outcome(given.name, given.seed or 0))
        return
    figures = fuzz(given.name, given.seconds, time.time_ns() // 1000 if given.seed is None else given.seed)
    print(json.dumps(figures))
    sys.exit(1 if figures.get("fault") else 0)


if __name__ == "__main__":
    main()
