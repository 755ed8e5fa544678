"""What a query did: its steps in the order in which they were taken, with the sizes and times that they really had."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

from factstore.query.context import Step
from factstore.query.forms import shown


class ExplainedStep(NamedTuple):
    """One step: the clause, how its rows were found, and how many there were."""

    depth: int
    clause: str
    access: str
    estimate: float | None
    rows_in: int
    rows_out: int
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """The plan of a query as it was carried out; `str()` shows it as a table."""

    data: tuple[ExplainedStep, ...]
    rows: int
    milliseconds: float

    def __str__(self) -> str:
        head = ("clause", "access", "estimate", "rows in", "rows out", "ms")
        lines = [head, *(_cells(step) for step in self.data)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        text = [
            "  ".join(cell.ljust(width) if i < 2 else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths, strict=True)))
            for line in lines
        ]
        return "\n".join([*(line.rstrip() for line in text), f"{self.rows} rows in {self.milliseconds:.3f} ms"])

    def _repr_html_(self) -> str:
        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(step)).replace("  ", "&emsp;") + "</tr>" for step in self.data
        )
        head = "".join(f"<th>{name}</th>" for name in ("clause", "access", "estimate", "rows in", "rows out", "ms"))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table><p>{self.rows} rows in {self.milliseconds:.3f} ms</p>"


def _cells(step: ExplainedStep) -> tuple[str, ...]:
    estimate = "" if step.estimate is None else f"{step.estimate:.0f}"
    return (
        "  " * step.depth + step.clause,
        step.access,
        estimate,
        str(step.rows_in),
        str(step.rows_out),
        f"{step.milliseconds:.3f}",
    )


def explained(steps: list[Step], rows: Any, seconds: float) -> Explanation:
    """Return the explanation of a run that is over."""
    data = tuple(
        ExplainedStep(
            step.depth, " ".join(map(shown, step.form)), step.access, step.estimate, step.rows_in, step.rows_out, step.seconds * 1e3
        )
        for step in steps
    )
    size = len(rows) if isinstance(rows, list | set) else int(rows is not None)
    return Explanation(data, size, seconds * 1e3)
