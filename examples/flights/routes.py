"""The map of routes: all airports as dots, which together draw the land, and an arc for each route, coloured by its delay."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from . import svg
from .charts import heat, heat_legend

Place = tuple[float, float]  # degrees north, degrees east


class Route(NamedTuple):
    """Flights from one airport to another, and how late they left."""

    origin: str
    dest: str
    flights: int
    minutes: float


# Albers' equal-area conic projection with the parallels customary for the 48 states.
_SOUTH, _NORTH, _MIDDLE, _CENTRE = (math.radians(degrees) for degrees in (29.5, 45.5, 37.5, -96))
_N: Final = (math.sin(_SOUTH) + math.sin(_NORTH)) / 2
_C: Final = math.cos(_SOUTH) ** 2 + 2 * _N * math.sin(_SOUTH)
_R0: Final = math.sqrt(_C - 2 * _N * math.sin(_MIDDLE)) / _N
_PIXELS: Final = 1180.0
_WIDTH, _HEIGHT = 1000.0, 600.0


def project(place: Place) -> tuple[float, float]:
    """Return where a place is on the map, in pixels; what is far from the 48 states falls outside the picture."""
    north, east = map(math.radians, place)
    radius = math.sqrt(max(_C - 2 * _N * math.sin(north), 0)) / _N
    angle = _N * (east - _CENTRE)
    return _WIDTH / 2 - 10 + _PIXELS * radius * math.sin(angle), _HEIGHT / 2 - 14 - _PIXELS * (
        _R0 - radius * math.cos(angle)
    )


def route_map(routes: Sequence[Route], places: Mapping[str, Place]) -> str:
    """Return the map; routes to places it does not show are left out."""
    at = {faa: project(place) for faa, place in places.items()}
    seen = {faa: (x, y) for faa, (x, y) in at.items() if 4 < x < _WIDTH - 4 and 4 < y < _HEIGHT - 44}
    drawn = [route for route in routes if route.origin in seen and route.dest in seen]
    land = "".join(f"M{svg.number(x)},{svg.number(y)}h0" for x, y in seen.values())
    marks = [svg.element("path", d=land, class_="land")]
    # The latest are drawn last, on top of the others.
    marks += [_arc(route, seen[route.origin], seen[route.dest]) for route in sorted(drawn, key=lambda r: r.minutes)]
    ends = {route.dest: seen[route.dest] for route in drawn}
    origins = {route.origin: seen[route.origin] for route in drawn}
    marks += [svg.element("circle", cx=x, cy=y, r=2.4, class_="end") for x, y in ends.values()]
    marks += [svg.element("circle", cx=x, cy=y, r=4.5, class_="origin") for x, y in origins.values()]
    busy: Counter[str] = Counter()
    for route in drawn:
        busy[route.dest] += route.flights
    marks += [_named(dest, ends[dest]) for dest in _apart([dest for dest, _ in busy.most_common(24)], ends)]
    marks.append(heat_legend(24, _HEIGHT - 32))
    worst = max(routes, key=lambda route: route.minutes)
    about = (
        f"{len(drawn)} of {len(routes)} routes from {', '.join(sorted({r.origin for r in routes}))}. "
        f"The latest was {worst.origin} to {worst.dest}, {svg.minutes(worst.minutes)}."
    )
    return svg.picture("routes", "Routes, coloured by average departure delay", about, _WIDTH, _HEIGHT, *marks)


def _apart(busiest: Sequence[str], ends: Mapping[str, Place]) -> list[str]:
    """Return the destinations whose names do not run into those of busier ones, nor into New York's."""
    kept: list[str] = []
    for dest in busiest:
        x, y = ends[dest]
        if all(abs(x - ends[other][0]) > 34 or abs(y - ends[other][1]) > 14 for other in kept) and x < 900:
            kept.append(dest)
    return kept


def _named(dest: str, at: Place) -> str:
    x, y = at
    return svg.text(dest, x - 5, y + 13, anchor="end", class_="tick place")


def _arc(route: Route, start: tuple[float, float], end: tuple[float, float]) -> str:
    (x0, y0), (x1, y1) = start, end
    reach = math.hypot(x1 - x0, y1 - y0)
    bend = 0.16 * reach
    mx, my = (x0 + x1) / 2, (y0 + y1) / 2 - bend
    name = heat(route.minutes)
    path = f"M{svg.number(x0)},{svg.number(y0)}Q{svg.number(mx)},{svg.number(my)} {svg.number(x1)},{svg.number(y1)}"
    said = f"{route.origin} → {route.dest}: {svg.minutes(route.minutes)}, {route.flights:,} flights"
    thick = 0.8 + min(route.flights, 8000) ** 0.5 / 32
    return svg.element("path", svg.hint(said), d=path, stroke_width=round(thick, 2), class_=f"arc s{name[1:]}")
