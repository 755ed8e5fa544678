"""The command status, once or after each change."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any, Final

import click

import factstore
from factstore.cli.options import AS_JSON, as_of_option, at
from factstore.cli.output import json_text, table, until_unread
from overseer import cron
from overseer import status as ask
from overseer.cli.commands import EXIT_INTERRUPTED, STORE
from overseer.jobs import queues
from overseer.jobs.states import STATUSES

_PAUSE: Final = 0.5  # seconds between two pictures of a store that changes all the time
_COLUMNS: Final = ("ready", "blocked", "later", "running", "silent")


@click.command()
@STORE
@as_of_option("point")
@click.option("-w", "--watch", is_flag=True, help="Show it again after each change, until Ctrl-C.")
@AS_JSON
def status(uri: str, point: int | datetime | None, watch: bool, as_json: bool) -> None:
    """Show the number of jobs of each type and status, and the backlog of each queue."""
    if watch and point is not None:
        raise click.UsageError("--watch shows the present: give either --watch or --as-of")
    with factstore.connect(uri, create=False) as conn:
        db = at(conn, point)
        _show(db, as_json)
        if watch:
            _watch(conn, db, as_json)


def _watch(conn: factstore.Connection, db: factstore.Database, as_json: bool) -> None:
    try:
        with until_unread(conn):
            while True:
                sys.stdout.flush()
                conn.wait(db.basis_t)
                db = conn.wait(conn.db().basis_t, _PAUSE)  # several changes in a row are one picture
                if not as_json:
                    click.clear()
                _show(db, as_json)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _show(db: factstore.Database, as_json: bool) -> None:
    total = ask.counts(db)
    backlogs, now = ask.backlog(db), db.moment or datetime.now(UTC)
    problems = [f"queue {name}: {why}" for name, why in queues.problems(db).items()]
    problems += [f"schedule {id} cannot be enqueued: {why}" for id, why in cron.problems(db).items()]
    if as_json:
        types = {str(type): _counts(row) for type, row in ask.counts_by_type(db).items()}
        named = {str(name or ""): backlog._asdict() for name, backlog in backlogs.items()}
        all_types = {"t": db.basis_t, "types": types, "total": _counts(total)}
        click.echo(json_text({**all_types, "queues": named, "problems": problems}))
        return
    rows = [(type, *(row[status] for status in STATUSES)) for type, row in ask.counts_by_type(db).items()]
    rows.append(("total", *(total[status] for status in STATUSES)))
    table(("type", *(status.name for status in STATUSES)), rows)
    if backlogs:
        click.echo()
        table(("queue", *_COLUMNS, "oldest ready"), [_row(name, backlogs[name], now) for name in backlogs])
    for problem in problems:
        click.echo(problem)


def _counts(row: Any) -> dict[str, int]:
    return {status.name: row[status] for status in STATUSES}


def _row(name: Any, backlog: ask.Backlog, now: datetime) -> tuple[Any, ...]:
    shown = "(no queue)" if name is None else f"{name}{' (paused)' if backlog.paused else ''}"
    since = backlog.since
    oldest = f"{backlog.oldest}, for {max(0.0, (now - since).total_seconds()):,.0f} s" if since else ""
    return shown, *(getattr(backlog, column) for column in _COLUMNS), oldest
