"""A batch: consecutive rows of a table as named columns, with the position of each row for errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from factstore.errors import TransactError


def invalid(message: str, **data: Any) -> TransactError:
    """Return the error of an invalid load."""
    return TransactError(":db.error/invalid-load", message, **data)


class Batch(NamedTuple):
    """Consecutive rows of a table."""

    columns: Mapping[Any, Sequence[Any]]  # name → one value per row
    size: int
    first_row: int = 1  # the number of the batch's first row in the table
    lines: Sequence[int] | None = None  # of a file: the line in which each row ends

    def position(self, row: int) -> tuple[str, dict[str, int]]:
        """Return the position in the table of a row of the batch, as text and as data of an error."""
        number = self.first_row + row
        if self.lines is None:
            return f"row {number}", {"row": number}
        return f"row {number} (line {self.lines[row]})", {"row": number, "line": self.lines[row]}
