"""Compare this store with Datomic on random cases: `make datomic-test SEED=1 N=1000`. The first difference is shrunk and printed.

Needs Java 11 or later, and Maven the first time. Exits with 1 if there is a difference that is not deliberate, and 2 without Datomic.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from hypothesis import HealthCheck, Phase, given, seed, settings

from benchmarks.java import Unavailable
from tests.datomic.cases import cases
from tests.datomic.compare import differences, shown
from tests.datomic.peer import Peer, peer


class Unexplained(AssertionError):
    """Both stores answer a case in different ways, and not on purpose."""


def compare(number: int, start: int, datomic: Peer) -> Counter[str]:
    """Compare a number of random cases; return how often each deliberate difference was met. Raises: Unexplained."""
    met = Counter[str]()

    @settings(
        max_examples=number, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink)
    )
    @seed(start)
    @given(cases())
    def agree(steps: list[dict[str, object]]) -> None:
        found = differences(steps, datomic)
        met.update(each.why for each in found if each.why)
        met["cases"] += 1
        if any(each.why is None for each in found):
            raise Unexplained(shown(steps, found))

    agree()
    return met


def main() -> None:
    """Compare as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.datomic", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=1000)
    asked = parser.parse_args()
    try:
        with peer() as datomic:
            met = compare(asked.cases, asked.seed, datomic)
    except Unavailable as error:
        print(f"Datomic does not run here: {error}", file=sys.stderr)
        sys.exit(2)
    except Unexplained as error:
        print(f"a difference that is not listed, seed {asked.seed}:\n{error}")
        sys.exit(1)
    print(", ".join(f"{count} {name}" for name, count in sorted(met.items(), key=lambda each: -each[1])))


if __name__ == "__main__":
    main()
