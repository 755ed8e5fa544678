"""Notebooks: cells of Datalog, completion in them, and a slider over the time of a store.

    %load_ext factstore          inputs.py       the {python} inputs of a cell as :in parameters
    %%datalog name << conn       magics.py       the cell magic and its completion, on IPython
    slider(conn, view)           widget.py       the slider, on anywidget

Every public value of factstore and overseer also shows itself in a notebook, without this package: as a table, or as a
picture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from factstore.errors import DatabaseError

if TYPE_CHECKING:
    from factstore.connection.connection import Connection
    from factstore.db.database import Database

__all__ = ["slider"]


def load_ipython_extension(shell: Any) -> None:
    """Add the cell magic `%%datalog` to IPython; `%load_ext factstore` calls this."""
    from factstore.notebook import magics

    magics.load(shell)


def slider(conn: Connection, view: Callable[[Database], Any], *, t: int | None = None) -> Any:
    """Return a widget that shows `view(db)` as of the moment that its slider has.

    Args:
        view: a function from a database to any value that a notebook can show. The widget calls it again after each
            move; an error of it is shown in place of its value.
        t: where the slider is at first; None: at the newest transaction.
    Returns: an anywidget, for Jupyter, VS Code and marimo. `widget.t` is the t of the slider, and can be set.
    Raises: DatabaseError(:db.error/unsupported) without the extra `notebook`.
    """
    try:
        from factstore.notebook import widget
    except ImportError as error:
        message = f"the slider needs {error.name}: install factstore[notebook]"
        raise DatabaseError(":db.error/unsupported", message, package=error.name) from None
    return widget.made(conn, view, t)
