"""The commands by which operators look after jobs; each is a function of the same name elsewhere, and a few lines to print."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

import factstore
from factstore import quoted
from overseer import cron, planning, retention, reverting
from overseer.errors import OverseerError
from overseer.worker import worker_name

STORE = click.option("--store", "uri", required=True, envvar="OVERSEER_STORE", help="Path or uri of the store.")


def add_to(group: click.Group) -> None:
    """Make the commands of this module commands of a group."""
    for command in (schedules, prune, revert, plan):
        group.add_command(command)


@click.command()
@STORE
def schedules(uri: str) -> None:
    """Show when jobs are due by the clock: each schedule, its last time and its next."""
    with factstore.connect(uri, create=False) as conn:
        for found in cron.schedules(conn.db()):
            last = found.last.isoformat() if found.last else "never"
            click.echo(f"{found.id}  {found.type}  {quoted(found.cron)} {found.timezone}  last {last}  {_next_of(found)}")


def _next_of(schedule: cron.Schedule) -> str:
    try:
        time = cron.next_time(schedule)
    except OverseerError as error:
        return error.message
    return "paused" if schedule.paused else f"next {time.isoformat()}" if time else "never again"


def _duration(ctx: click.Context, param: click.Parameter, text: str) -> timedelta:
    """Return the time that a text such as 30d, 12h, 15m or 90s means."""
    unit = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}.get(text[-1:])
    if unit is None or not text[:-1].isdigit():
        raise click.BadParameter(f"{quoted(text)} is no time such as 30d, 12h, 15m or 90s")
    return timedelta(**{unit: int(text[:-1])})


@click.command()
@STORE
@click.option("--older-than", required=True, callback=_duration, help="How long ago they ended at least: 30d, 12h, 15m, 90s.")
@click.option("--status", "statuses", multiple=True, default=["finished"], help="How they ended; give it several times for several.")
@click.option("--type", "types", multiple=True, help="Of this type only; give it several times for several.")
@click.option("--keep-last", default=0, help="Of each type keep the newest so many.")
@click.option("--excise", is_flag=True, help="Take them out of history too, one by one, which takes long.")
@click.option("--dry-run", is_flag=True, help="Only count them.")
def prune(
    uri: str, older_than: timedelta, statuses: tuple[str, ...], types: tuple[str, ...], keep_last: int, excise: bool, dry_run: bool
) -> None:
    """Retract jobs that ended long ago, with their facts; those that other facts or unended jobs refer to stay."""
    rule, now = retention.Rule(older_than, statuses, types or None, keep_last), datetime.now(UTC)
    with factstore.connect(uri, create=False) as conn:
        if dry_run:
            click.echo(f"{len(retention.prunable(conn.db(), rule, now)):,} jobs would go")
            return
        done = retention.prune(conn, rule, now=now, excise=excise)
        click.echo(f"{done.jobs:,} jobs are gone")


@click.command()
@STORE
@click.argument("transaction", type=int)
def revert(uri: str, transaction: int) -> None:
    """Take back what TRANSACTION, given by its t, did to jobs that nothing has touched since."""
    with factstore.connect(uri, create=False) as conn:
        done = reverting.revert_now(conn, transaction, by=f"cli {worker_name()}")
    click.echo(f"{len(done.reverted):,} jobs are as they were before")
    for id in sorted(done.left_alone):
        click.echo(f"{id} moved on, and was left alone")


@click.command()
@STORE
@click.option("--workers", default=1, help="How many jobs run at a time.")
@click.option("--most", default=10, help="How many jobs to show.")
def plan(uri: str, workers: int, most: int) -> None:
    """Show what would run next, and what holds up the end, if jobs took as long as they usually do."""
    with factstore.connect(uri, create=False) as conn:
        made = planning.plan(conn.db(), now=datetime.now(UTC), workers=workers)
    for step in made.steps[:most]:
        click.echo(f"{step.start.isoformat(timespec='seconds')}  {step.type} {step.id}" + (f"  after {step.after}" if step.after else ""))
    click.echo(f"{len(made.steps):,} jobs end by {made.ends.isoformat(timespec='seconds')} with {workers} at a time")
    chain = " → ".join(str(step.type) for step in made.critical)
    click.echo(f"not before {made.soonest.isoformat(timespec='seconds')}: {chain or 'nothing to do'}")
    if made.never:
        click.echo(f"{len(made.never):,} would never run: {', '.join(made.never[:most])}")
