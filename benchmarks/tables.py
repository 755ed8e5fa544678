"""Write the tables of benchmarks/README.md from results/*.json: `python -m benchmarks.tables`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS

README = Path(__file__).parent / "README.md"


def table(run: dict[str, Any]) -> str:
    """Return one run as a table below a line about the machine; if there are several peers, each has a column."""
    others = list(dict.fromkeys(peer for row in run["rows"] for peer in row.get("peers", ())))
    lines = [
        f"`{run['command']}` · CPython {run['python']}, {run['machine']}, {run['cores']} cores, load {run['load']:.1f}",
        "",
        line("what", "ours", "best of the others" if others else "baseline", "ratio", "goal", *others),
        line("---", *["---:"] * 3, "---", *["---:"] * len(others)),
    ]
    for row in run["rows"]:
        baseline = "" if row["baseline"] is None else f"{row['baseline']:,.2f} {row['baseline_name']}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        cells = [cell(row.get("peers", {}).get(peer, "")) for peer in others]
        lines.append(line(row["name"], f"{row['ours']:,.2f} {row['unit']}", baseline, ratio, row["aim"], *cells))
    return "\n".join(lines)


def line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def cell(value: float | str) -> str:
    """Return a number as text, or the reason why there is none."""
    return value if isinstance(value, str) else f"{value:,.2f}"


def main() -> None:
    text = README.read_text(encoding="utf-8")
    for path in sorted(RESULTS.glob("*.json")):
        made = f"<!-- {path.stem} -->\n{table(json.loads(path.read_text(encoding='utf-8')))}\n<!-- end -->"
        text, count = re.subn(rf"<!-- {path.stem} -->.*?<!-- end -->", lambda _, made=made: made, text, flags=re.DOTALL)
        if not count:
            text += f"\n## {path.stem.capitalize()}\n\n{made}\n"
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
