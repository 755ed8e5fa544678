"""Datalog beside other engines, in one run: `python -m benchmarks.queries [--quick] [--peers FOLDER] [section …]`.

Everyone is timed inside a process of its own, on the same seeded data, for the best of seven samples on the clock or, where the
machine was busy with others, of the processor; answers as the language of the one who asks has them (Python: tuples) count as part
of it. SQLite is always there. FOLDER holds the programs of the others and a `run_peers.py` that takes PEER/WORKLOAD and prints a
line of JSON a metric. Answers are compared: with SQLite whole, with the others by their number of rows and the sum of their last
column; a difference fails the run. A section that is named replaces its own rows of the results and leaves the others.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import Row, save, show

LIMIT = 900  # seconds for one program

Line = dict[str, Any]


class Section(NamedTuple):
    """Questions that are asked of one database."""

    workload: str  # as the peers call it
    peers: tuple[str, ...]
    aims: dict[str, str]
    aim: str = ""


ALL = ("datalevin-jvm", "datascript-js", "cozo_embedded-mem")
LABELS = {
    "datalevin-jvm": "Datalevin JVM",
    "datalevin-py": "Datalevin Python",
    "datascript-js": "DataScript Node",
    "cozo_embedded-mem": "Cozo",
}
SECTIONS = {
    "people": Section("w1q", ("datalevin-jvm", "datalevin-py", *ALL[1:]), {}, "ratio <= 0.5"),
    "1 million": Section("w3:200000", ALL, {}, "<= 0.33 of Datalog peers, < SQLite"),
    "4 million": Section("w3:800000", ALL, {}, "<= 0.33 of Datalog peers, < SQLite"),
    "rules": Section("w1r", ALL, {}, "ratio < 1; of SQLite where it takes > 0.5"),
    "graph": Section(
        "w4",
        ALL,
        {"2hop-100": "<= 1.5", "tri-all": "<= 300", "chain-src": "<= 3", "chain-full": "<= 100", "tree-full": "<= 12"},
    ),
    "points": Section("", (), {}, "<= 60"),
}
STEADY = {"order": "<= 1.3", "join": "<= 1,024", "queries": "no growth"}
NAMES = {
    **{
        f"2hop-100{how}": f"2 hops from 100 of 100,000 nodes, 400,000 edges{how or ', at once'}"
        for how in ("", " one by one")
    },
    "tri-all": "all triangles of them",
    "chain-src": "reach along a chain of 1,000 from one node",
    "chain-full": "full closure of the chain",
    "tree-src": "reach in a tree of depth 10 from its root",
    "tree-full": "full closure of the tree",
}


def lines(command: list[str], **env: str) -> tuple[list[Line], str]:
    """Run a program and return its lines of JSON, and why there are no more if it failed."""
    try:
        done = subprocess.run(
            command, env={**os.environ, **env}, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired as late:
        out = late.stdout or b""
        return parsed(out.decode() if isinstance(out, bytes) else out), f"over {LIMIT} s"
    last = done.stderr.strip().splitlines()[-1:] or [""]
    return parsed(done.stdout), "" if done.returncode == 0 else f"failed: {last[0]}"


def parsed(text: str) -> list[Line]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def own(program: str, *args: str, quick: bool) -> list[Line]:
    """Run a program of ours, which must not fail."""
    found, failure = lines([sys.executable, "-m", f"benchmarks.{program}", *args], **({"QUICK": "1"} if quick else {}))
    if failure:
        raise SystemExit(f"{program} {' '.join(args)}: {failure}")
    return found


def peer(folder: Path, name: str, workload: str) -> tuple[dict[str, Line], str]:
    """Run a peer's program and return its fastest line for each metric, and a reason for those it has not."""
    with tempfile.TemporaryDirectory() as scratch:
        found, failure = lines(
            [sys.executable, str(folder / "run_peers.py"), f"{name}/{workload}"], PB_OUT=f"{scratch}/lines"
        )
    best: dict[str, Line] = {}
    for line in found:
        if "metric" in line and "-cached" not in line["peer"]:
            known = best.get(line["metric"])
            if known is None or taken(line) < taken(known):
                best[line["metric"]] = line
        elif line.get("rc"):
            failure = f"stopped after {line['wall_s']:.0f} s" if line["rc"] == -9 else "failed"
    return best, failure or "not asked"


def taken(line: Line) -> float:
    """Return the seconds an answer took: the least on the clock or, where the machine was busy with others, of the processor."""
    if line["min"] is None:
        return math.inf
    return float(min(line["min"], line.get("cpu") or math.inf))


def section(name: str, folder: Path | None, *, quick: bool) -> list[Row]:
    """Ask everyone the questions of a section and return the rows."""
    what = SECTIONS[name]
    ours, sqlite = (
        own("asked", "ours", name, quick=quick),
        {line["metric"]: line for line in own("asked", "sqlite", name, quick=quick)},
    )
    others = {peer_name: peer(folder, peer_name, what.workload) for peer_name in what.peers} if folder else {}
    rows = []
    for line in ours:
        metric = line["metric"]
        against = {"SQLite": sqlite[metric]}
        for peer_name, (answers, reason) in others.items():
            against[LABELS[peer_name]] = answers.get(metric.removesuffix(" one by one"), {"min": None, "note": reason})
        title = NAMES.get(metric, metric if name in ("people", "rules") else f"{name}: {metric}")
        rows.append(row(title, line, against, what.aims.get(metric, what.aim)))
        rows[-1].part, rows[-1].note = name, differences(metric, line, against)
    return rows


def row(title: str, ours: Line, against: dict[str, Line], aim: str) -> Row:
    """Return a row, and print it: ours beside the fastest of the others."""
    seconds = {name: taken(line) for name, line in against.items() if line["min"] is not None}
    fastest = min(seconds, key=seconds.__getitem__)
    scale, unit = (1e3, "ms") if taken(ours) > 2e-4 else (1e6, "µs")
    cells = {
        name: seconds[name] * scale if name in seconds else str(line.get("note", "")).removeprefix("error: ")
        for name, line in against.items()
    }
    made = Row(title, taken(ours) * scale, seconds[fastest] * scale, fastest, unit, aim, peers=cells)
    show(made)
    return made


def differences(metric: str, ours: Line, against: dict[str, Line]) -> str:
    """Return who answered something else than we did, and what."""
    wrong = []
    for name, told in against.items():
        if told["min"] is None:
            continue
        keys = ("count", "check", "digest") if name == "SQLite" else ("count", "check")
        # A number that a peer gives as text, or as a column before the last, is not in its sum.
        differs = [key for key in keys if told.get(key) is not None and told[key] != ours[key]]
        if differs:
            wrong.append(f"{metric}: {name} answers {differs[0]} {told[differs[0]]}, we {ours[differs[0]]}")
    return "; ".join(wrong)


def steady(*, quick: bool) -> Iterable[Row]:
    """Measure what must not depend on how a query is written, or on how many were asked."""
    for program, aim in STEADY.items():
        if quick and program != "order":
            continue
        for line in own("steady", program, quick=quick):
            title = f"clause order, slowest over fastest: {line['metric']}" if program == "order" else line["metric"]
            found = Row(title, line["value"], None, "", "" if program == "order" else "MiB", aim, part="steady")
            show(found)
            yield found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queries")
    parser.add_argument("--quick", action="store_true", help="short samples and small data, against SQLite alone")
    parser.add_argument("--peers", type=Path, metavar="FOLDER", help="where run_peers.py and the peers' programs are")
    parser.add_argument(
        "sections", nargs="*", metavar="section", help=f"{', '.join([*SECTIONS, 'steady'])}; all when none is named"
    )
    args = parser.parse_args()
    small = ("people", "rules", "points", "steady")
    wanted = args.sections or (small if args.quick else [*SECTIONS, "steady"])
    rows = [found for name in wanted if name != "steady" for found in section(name, args.peers, quick=args.quick)]
    rows += steady(quick=args.quick) if "steady" in wanted else []
    if not args.quick:
        save("queries", rows)
    wrong = [found.note for found in rows if found.note]
    if wrong:
        raise SystemExit("answers differ: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
