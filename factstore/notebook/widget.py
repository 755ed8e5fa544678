"""The slider: a value of a store that follows the moment of a slider. Only this module knows anywidget.

    JavaScript            t ──► Python: view(conn.db().as_of(t)) ──► html, moment, last ──► JavaScript

The page sends the next t only after it has received the answer for the last one, so that a quick hand does not make a
queue. Law: when the hand rests, the page shows the value for the t of the slider.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anywidget
import traitlets

from factstore.values.quoting import text_of

if TYPE_CHECKING:
    from factstore.connection.connection import Connection
    from factstore.db.database import Database

_HERE: Final = Path(__file__).parent


class Slider(anywidget.AnyWidget):
    """A slider over the transactions of a store, and the value of a function of the database at that moment."""

    _esm = _HERE / "slider.js"
    _css = _HERE / "slider.css"
    t = traitlets.Int(0).tag(sync=True)
    last = traitlets.Int(0).tag(sync=True)  # the newest transaction
    shown = traitlets.Int(-1).tag(sync=True)  # the t of `html`
    moment = traitlets.Unicode("").tag(sync=True)
    html = traitlets.Unicode("").tag(sync=True)

    def __init__(self, conn: Connection, view: Callable[[Database], Any], t: int | None) -> None:
        super().__init__()
        self._conn, self._view = conn, view
        newest = conn.db().basis_t
        self.last = newest
        self.t = newest if t is None else max(0, min(t, newest))
        self._show()
        self.observe(lambda _: self._show(), "t")

    def _show(self) -> None:
        last, moment, html = _answer(self._conn, self._view, self.t)
        with self.hold_sync():
            self.last = self.last if last is None else last
            self.moment, self.html, self.shown = moment, html, self.t


def made(conn: Connection, view: Callable[[Database], Any], t: int | None) -> Slider:
    """Return the widget of `factstore.notebook.slider`."""
    return Slider(conn, view, t)


def _answer(conn: Connection, view: Callable[[Database], Any], t: int) -> tuple[int | None, str, str]:
    """Return the newest t, the moment of `t` and the value as HTML; an error of the store or the view as its value."""
    last, moment = None, ""
    try:
        db = conn.db()
        last = db.basis_t
        at = db.instant_of(min(t, last)) if t > 0 else None
        moment = "before the first transaction" if at is None else at.isoformat(" ", "seconds")
        return last, moment, html_of(view(db.as_of(max(0, min(t, last)))))
    except Exception as error:
        return last, moment, f"<pre>{escape(type(error).__name__)}: {escape(text_of(error))}</pre>"


def html_of(value: Any) -> str:
    """Return a value as HTML, in the richest form that it has itself."""
    for name in ("_repr_html_", "_repr_svg_"):
        method = getattr(value, name, None)
        found = method() if callable(method) else None
        if isinstance(found, str):
            return found
    method = getattr(value, "_repr_png_", None)
    png = method() if callable(method) else None
    if isinstance(png, bytes):
        return f'<img alt="" src="data:image/png;base64,{b64encode(png).decode()}">'
    return f"<pre>{escape(value if isinstance(value, str) else repr(value))}</pre>"
