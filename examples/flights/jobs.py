"""The pictures of jobs: their graph with the time each took, and who ran which of them when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from . import svg
from .attempts import FINISHED, STARTED, Attempt

BOX = (138.0, 27.0)  # width and height of a job in the graph
Spot = tuple[float, float]


def layers(waits: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return the jobs by how many must run before them, one after the other.

    >>> layers({"end": ["a", "b"], "a": ["start"], "b": ["start"], "start": []})
    [['start'], ['a', 'b'], ['end']]
    """
    depths: dict[str, int] = {}

    def depth(job: str) -> int:
        if job not in depths:
            depths[job] = 1 + max((depth(parent) for parent in waits[job]), default=-1)
        return depths[job]

    found: defaultdict[int, list[str]] = defaultdict(list)
    for job in sorted(waits):
        found[depth(job)].append(job)
    return [found[n] for n in sorted(found)]


def label(job: str) -> str:
    """Return a job's type as people say it.

    >>> label(":load/flights-03"), label(":delays/by-carrier")
    ('flights 03', 'by carrier')
    """
    return job.rpartition("/")[2].removeprefix(":").replace("-", " ")


def job_graph(waits: Mapping[str, Sequence[str]], attempts: Sequence[Attempt]) -> str:
    """Return the graph from left to right, each job with the time it took and the colour of the worker that finished it."""
    columns = layers(waits)
    last = {attempt.type: attempt for attempt in attempts}
    workers = colours(attempts)
    rows = max(map(len, columns))
    width, height = 1000.0, rows * 36.0 + 16
    gap = (width - BOX[0] - 4) / max(len(columns) - 1, 1)
    spots = {
        job: (2 + x * gap, height / 2 + (y - len(column) / 2) * 36 + 4)
        for x, column in enumerate(columns)
        for y, job in enumerate(column)
    }
    longest = max((a.seconds or 0 for a in last.values()), default=0) or 1
    marks = [_edge(spots[parent], spots[job]) for job, parents in waits.items() for parent in parents]
    marks += [_box(job, spot, last.get(job), workers, longest) for job, spot in spots.items()]
    took = "; ".join(f"{label(job)} {_took(last.get(job))}" for column in columns for job in column)
    return svg.picture("graph", "The graph of jobs, with the time each took", took + ".", width, height, *marks)


def colours(attempts: Sequence[Attempt]) -> dict[str, int]:
    """Return the number of each worker's colour, in order of their first jobs."""
    return {worker: n for n, worker in enumerate(dict.fromkeys(attempt.worker for attempt in attempts))}


def _took(attempt: Attempt | None) -> str:
    if attempt is None:
        return "waits"
    return "runs" if attempt.seconds is None else svg.seconds(attempt.seconds)


def _edge(start: Spot, end: Spot) -> str:
    x0, y0 = start[0] + BOX[0], start[1] + BOX[1] / 2
    x1, y1 = end[0], end[1] + BOX[1] / 2
    bend = (x1 - x0) / 2
    path = f"M{svg.number(x0)},{svg.number(y0)}C{svg.number(x0 + bend)},{svg.number(y0)} "
    return svg.element(
        "path", d=path + f"{svg.number(x1 - bend)},{svg.number(y1)} {svg.number(x1)},{svg.number(y1)}", class_="edge"
    )


def _box(job: str, spot: Spot, attempt: Attempt | None, workers: Mapping[str, int], longest: float) -> str:
    (x, y), (width, height) = spot, BOX
    status = "waiting" if attempt is None else attempt.status.rpartition("/")[2]
    colour = "" if attempt is None else f" w{workers[attempt.worker] % 6}"
    share = 0 if attempt is None else (attempt.seconds or 0) / longest
    bar = max((width - 14) * share, 2)
    marks = [svg.hint(f"{job} {status}" + (f" by {attempt.worker}, {_took(attempt)}" if attempt else ""))]
    marks.append(svg.element("rect", x=x, y=y, width=width, height=height, rx=6, class_="box"))
    marks.append(svg.element("rect", x=x + 7, y=y + height - 5, width=bar, height=2.5, rx=1, class_=f"bar{colour}"))
    marks.append(svg.text(label(job), x + 8, y + 16))
    marks.append(svg.text(_took(attempt), x + width - 8, y + 16, anchor="end", class_="tick"))
    return svg.element("g", *marks)


def timeline(attempts: Sequence[Attempt], origin: datetime) -> str:
    """Return a lane for each worker, with the jobs it ran from when to when."""
    workers = colours(attempts)
    now = max((a.end or a.start for a in attempts), default=origin)
    end = (now - origin).total_seconds() or 1.0
    left, lane, top, width = 14.0, 54.0, 4.0, 1000.0
    x = svg.linear((0, end), (left, width - 14))
    bottom = top + lane * len(workers)
    marks = []
    for tick in svg.ticks(0, end, about=8):
        marks.append(svg.element("line", x1=x(tick), x2=x(tick), y1=top, y2=bottom, class_="grid"))
        marks.append(svg.text(f"{tick:g} s", x(tick), bottom + 16, anchor="middle", class_="tick"))
    for worker, n in workers.items():
        mine = [attempt for attempt in attempts if attempt.worker == worker]
        busy = sum(((a.end or now) - a.start).total_seconds() for a in mine)
        marks.append(
            svg.text(
                f"worker {worker} · {len(mine)} jobs · busy {busy / end:.0%}", left, top + lane * n + 14, class_="tick"
            )
        )
        for a in mine:
            span = x((a.start - origin).total_seconds()), x(((a.end or now) - origin).total_seconds())
            marks.append(_span(a, span, top + lane * n + 20, n))
    about = "; ".join(
        f"{worker}: {', '.join(label(a.type) for a in attempts if a.worker == worker)}" for worker in workers
    )
    return svg.picture("timeline", "Which worker ran which job when", about + ".", width, bottom + 24, *marks)


def _span(attempt: Attempt, span: tuple[float, float], y: float, worker: int) -> str:
    start, end = span
    lost = "" if attempt.status in (FINISHED, STARTED) else " lost"
    said = f"{attempt.type} {attempt.status.rpartition('/')[2]}, {_took(attempt)}"
    bar = svg.element(
        "rect", x=start, y=y, width=max(end - start - 1.5, 1), height=26.0, rx=3, class_=f"bar w{worker % 6}{lost}"
    )
    name = label(attempt.type)
    fits = len(name) * svg.TEXT_WIDTH < end - start - 8
    words = svg.text(name, (start + end) / 2 - 1, y + 17, anchor="middle", class_="on-bar") if fits else ""
    return svg.element("g", svg.hint(said), bar, words)
