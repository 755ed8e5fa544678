"""Explanations: the executed steps of a query in their order, with their access paths, row counts and times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from factstore.query.language.dialect import shown
from factstore.query.planning.context import ExecutedStep
from factstore.rendering import html_table

_HEAD: Final = ("clause", "access", "estimate", "rows in", "rows out", "ms")


class ExplainedStep(NamedTuple):
    """One step: the clause, its access path, and the number of rows."""

    depth: int
    clause: str
    access: str
    estimate: float | None
    rows_in: int
    rows_out: int
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """The plan of a query as it was executed; `str()` shows it as a table."""

    data: tuple[ExplainedStep, ...]
    rows: int
    milliseconds: float

    def __str__(self) -> str:
        lines = [_HEAD, *(_cells(step) for step in self.data)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(_HEAD))]
        text = [
            "  ".join(
                cell.ljust(width) if i < 2 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        ]
        return "\n".join([*(line.rstrip() for line in text), self._total()])

    def _repr_html_(self) -> str:
        cells = [tuple(cell.replace("  ", "\u2003") for cell in _cells(step)) for step in self.data]
        return html_table(self._total(), _HEAD, cells)

    def _total(self) -> str:
        return f"{self.rows} row{'' if self.rows == 1 else 's'} in {self.milliseconds:.3f} ms"


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


def explained(steps: list[ExecutedStep], rows: int, seconds: float) -> Explanation:
    """Return the explanation of a finished run."""
    data = tuple(
        ExplainedStep(
            step.depth,
            " ".join(map(shown, step.form)),
            step.access,
            step.estimate,
            step.rows_in,
            step.rows_out,
            step.seconds * 1e3,
        )
        for step in steps
    )
    return Explanation(data, rows, seconds * 1e3)
