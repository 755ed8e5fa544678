"""Pictures of facts as SVG, by own code: for notebooks, pages and files.

    svg.py     elements, scales, axes            rows.py     bars on an axis of time with folded gaps: spans
    style.py   colours for light and dark: CSS   entity.py   the values that an entity had: timeline
    chart.py   columns and lines over time       bars.py     bars of categories

Law: every picture has a title and a description for screen readers, and refers to nothing outside of itself.
"""

from __future__ import annotations

from factstore.drawing import svg
from factstore.drawing.bars import bars
from factstore.drawing.chart import Series, chart, lines
from factstore.drawing.entity import timeline
from factstore.drawing.rows import Row, Span, spans
from factstore.drawing.style import CSS

__all__ = ["CSS", "Row", "Series", "Span", "bars", "chart", "lines", "spans", "svg", "timeline"]
