"""Fuzz entry points: `python -m tests.fuzz [NAME …] [--seconds 600]`, one after the other; without a name, all of them share the seconds.

    --engine atheris    choose inputs by the code that they reach (Linux, CPython 3.11 to 3.14, with the extra `fuzz`); the default where it is installed
    --engine random     choose inputs at random, from --seed
    --input FILE        run one input again
    --minimise          write the corpus anew: few of the known inputs that together reach the same lines

New inputs that reach new code, and those with a fault, are kept in .fuzz/NAME. Prints figures as JSON; exits with 1 if there was a fault.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz import corpus, engines
from tests.fuzz.targets import NAMES


def main() -> None:
    """Fuzz the entry points that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("atheris", "random"), default="atheris" if find_spec("atheris") else "random")
    parser.add_argument("--input", type=Path)
    parser.add_argument("--minimise", action="store_true")
    given = parser.parse_args()
    names = given.names or list(NAMES)
    if unknown := sorted(set(names) - set(NAMES)):
        parser.error(f"expected names of {', '.join(NAMES)}; got {', '.join(unknown)}")
    if len(names) > 1:
        sys.exit(_each_in_a_process(names, given))
    if given.input is not None:
        print(engines.outcome(names[0], given.input.read_bytes()))
    elif given.minimise:
        corpus.minimise(names[0])
    elif given.engine == "random":
        sys.exit(engines.random_inputs(names[0], given.seconds, given.seed))
    else:
        engines.guided_inputs(names[0], given.seconds, given.seed)


def _each_in_a_process(names: list[str], given: argparse.Namespace) -> int:
    """Fuzz each entry point in a process of its own; return 1 if any had a fault."""
    seconds = given.seconds / len(names)
    options = ["--minimise"] if given.minimise else ["--seconds", str(seconds), "--seed", str(given.seed), "--engine", given.engine]
    return max(min(1, subprocess.run([sys.executable, "-m", "tests.fuzz", name, *options], check=False).returncode) for name in names)


if __name__ == "__main__":
    main()
