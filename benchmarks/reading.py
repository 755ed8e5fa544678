"""Reading entities and the past beside plain SQLite tables, in one run: `python -m benchmarks.reading [name …]`.

Every sample checks what it read. Stores are in memory and indexed; SQLite has a primary key, and a history table for the past.
Where DATALEVIN says how to run benchmarks/datalevin.clj (`java -cp datalevin-runtime.jar clojure.main benchmarks/datalevin.clj`),
pulls and entities are also measured beside Datalevin, on the same people.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from benchmarks import past, pulling
from benchmarks.harness import Row, save

JOBS: dict[str, Callable[[], list[Row]]] = {
    "datalevin": lambda: pulling.beside_datalevin(os.environ["DATALEVIN"]) if "DATALEVIN" in os.environ else [],
    **pulling.JOBS,
    **past.JOBS,
}


def main() -> None:
    wanted = sys.argv[1:] or list(JOBS)
    rows = [row for name in wanted for row in JOBS[name]()]
    if wanted == list(JOBS):
        save("reading", rows)


if __name__ == "__main__":
    main()
