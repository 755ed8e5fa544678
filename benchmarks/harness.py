"""How benchmarks measure: interleaved samples, medians, ratios within one run."""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass
class Row:
    """One measured thing beside its baseline, each the median of the samples, per operation."""

    name: str
    ours: float
    baseline: float | None
    baseline_name: str
    unit: str
    aim: str = ""
    samples: list[float] = field(default_factory=list)
    peers: dict[str, float | str] = field(
        default_factory=dict
    )  # what each of the others took, or why there is no figure
    note: str = ""
    part: str = ""  # of the benchmark, which can be run by itself
    medians: dict[str, float] = field(default_factory=dict)  # by side, where the figures above are the least

    @property
    def ratio(self) -> float | None:
        """Ours over the baseline."""
        return None if self.baseline is None else self.ours / self.baseline


def timed(run: Callable[[], int]) -> float:
    """Return seconds per operation of a run, which returns how many it did."""
    gc.collect()
    start = time.perf_counter()
    operations = run()
    return (time.perf_counter() - start) / operations


def pair(
    name: str,
    ours: Callable[[], Callable[[], int]],
    baseline: Callable[[], Callable[[], int]] | None = None,
    *,
    baseline_name: str = "",
    samples: int = 3,
    scale: float = 1e6,
    unit: str = "µs",
    aim: str = "",
) -> Row:
    """Measure ours and a baseline by turns; each factory sets up outside the clock and returns the run."""
    mine, theirs = [], []
    for _ in range(samples):
        if baseline is not None:
            theirs.append(timed(baseline()) * scale)
        mine.append(timed(ours()) * scale)
    row = Row(
        name,
        statistics.median(mine),
        statistics.median(theirs) if theirs else None,
        baseline_name,
        unit,
        aim,
        [round(x, 3) for x in mine],
    )
    show(row)
    return row


def show(row: Row) -> None:
    """Print a row of the table as soon as it is known."""
    against = "" if row.baseline is None else f"{row.baseline_name} {row.baseline:,.2f}   ratio {row.ratio:.2f}"
    print(f"{row.name:<44}{row.ours:>12,.2f} {row.unit:<10}{against:<44}{row.aim}", flush=True)


def save(name: str, rows: list[Row]) -> None:
    """Write the rows with machine and command; parts that were not run keep the rows they had."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": " ".join(["python", "-m", f"benchmarks.{name}", *(Path(arg).name for arg in sys.argv[1:])]),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
    made = [{**asdict(row), "ratio": row.ratio} for row in rows]
    known = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    parts = {row.part for row in rows}
    kept = [row for row in known if row.get("part", "") not in parts] if parts != {""} else []
    order = list(dict.fromkeys(row.get("part", "") for row in [*known, *made]))
    whole = sorted([*kept, *made], key=lambda row: order.index(row.get("part", "")))
    path.write_text(json.dumps({**about, "rows": whole}, indent=1) + "\n", encoding="utf-8")
