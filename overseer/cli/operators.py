"""The commands for operators of jobs; each calls a function of the same name elsewhere, and prints the result."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from getpass import getuser
from typing import Any

import click

import factstore
from factstore import DatabaseError, quoted
from factstore.cli.options import AS_JSON
from factstore.cli.output import print_json
from overseer import cron, retention, reverting
from overseer import questions as asked
from overseer import status as ask
from overseer.cli.commands import STORE
from overseer.jobs import queues
from overseer.jobs.store import install
from overseer.planning.plan import plan as planned
from overseer.worker import worker_name


def add_to(group: click.Group) -> None:
    """Add the commands of this module to a group."""
    for command in (schedules, run_now, backfill, queue, prune, revert, plan, questions, answer):
        group.add_command(command)


def _time(ctx: click.Context, param: click.Parameter, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{quoted(text)} is no time such as 2026-01-31T12:00+01:00") from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


@click.command(name="run-now")
@STORE
@click.argument("schedule")
def run_now(uri: str, schedule: str) -> None:
    """Insert a job of SCHEDULE now, also if the schedule is paused."""
    with factstore.connect(uri, create=False) as conn:
        click.echo(f"{cron.run_now(conn, schedule, by=f'cli {worker_name()}')} will run")


@click.command()
@STORE
@click.argument("schedule")
@click.option("--from", "start", required=True, callback=_time, help="The first time (ISO 8601; UTC without a zone).")
@click.option("--to", "end", required=True, callback=_time, help="The time before which it ends (UTC without a zone).")
@click.option("--dry-run", is_flag=True, help="Only list the jobs.")
def backfill(uri: str, schedule: str, start: datetime, end: datetime, dry_run: bool) -> None:
    """Insert the jobs of SCHEDULE for its times in a period that have no job."""
    with factstore.connect(uri, create=False) as conn:
        done = cron.backfill(conn, schedule, start=start, end=end, by=f"cli {worker_name()}", dry_run=dry_run)
    for job in done if dry_run else ():
        click.echo(job)
    click.echo(f"{len(done):,} jobs {'would run' if dry_run else 'will run'}")


@click.command()
@STORE
@AS_JSON
def schedules(uri: str, as_json: bool) -> None:
    """Show each schedule with its last and next time, or why its jobs cannot be inserted."""
    with factstore.connect(uri, create=False) as conn:
        db = conn.db()
        if as_json:
            print_json({**each._asdict(), "next": cron.next_time(each)} for each in cron.schedules(db))
            return
        problems = cron.problems(db)
        for schedule in cron.schedules(db):
            last = schedule.last.isoformat() if schedule.last else "never"
            next = f"cannot be enqueued: {problems.pop(schedule.id)}" if schedule.id in problems else _next_of(schedule)
            click.echo(
                f"{schedule.id}  {schedule.type}  {quoted(schedule.cron)} {schedule.timezone}  last {last}  {next}"
            )
        for id, why in problems.items():
            click.echo(f"{id}  cannot be enqueued: {why}")


def _next_of(schedule: cron.Schedule) -> str:
    time = cron.next_time(schedule)
    return "paused" if schedule.paused else f"next {time.isoformat()}" if time else "never again"


def _number(ctx: click.Context, param: click.Parameter, text: str | None) -> int | queues.Unchanged | None:
    """Return the limit in a text: a number, or none; a limit that is not given does not change."""
    if text is None:
        return queues.UNCHANGED
    if text == "none":
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 19 and int(text) > 0):
        raise click.BadParameter(f"{quoted(text)} is neither a whole number from 1 on nor none")
    return int(text)


def _period(ctx: click.Context, param: click.Parameter, text: str | None) -> timedelta | queues.Unchanged:
    return queues.UNCHANGED if text is None else _duration(ctx, param, text)


@click.command()
@STORE
@click.argument("name")
@click.option("--limit", callback=_number, help="Maximum number of its jobs that run at a time.")
@click.option("--partition-limit", callback=_number, help="Maximum number of jobs of one partition that run at a time.")
@click.option("--rate", callback=_number, help="Maximum number of its jobs that start in a period.")
@click.option("--period", callback=_period, help="The period of the rate: 1s, 5m, 1h.")
def queue(uri: str, name: str, **settings: Any) -> None:
    """Set the limits of the queue NAME, or remove them with `none`, and show the new settings."""
    with factstore.connect(uri, create=False) as conn:
        given = queues.queue(name, **settings)
        if len(given) > 1:
            install(conn)
            conn.transact([given, [":db/add", "datomic.tx", ":overseer/by", f"cli {worker_name()}"]])
        current = queues.queues(conn.db()).get(given[":queue/name"])
    click.echo(f"{name} {_settings_of(current)}" if current else f"{name} has no settings")


def _settings_of(queue: queues.Queue) -> str:
    parts = ["is paused" if queue.paused else "is not paused"]
    parts += [f"limit {queue.limit:,}"] if queue.limit is not None else []
    parts += [f"partition limit {queue.partition_limit:,}"] if queue.partition_limit is not None else []
    parts += [f"rate {queue.rate:,} in {queue.period.total_seconds():g} s"] if queue.rate is not None else []
    return ", ".join(parts)


def _duration(ctx: click.Context, param: click.Parameter, text: str) -> timedelta:
    try:
        return factstore.duration(text)
    except DatabaseError:
        raise click.BadParameter(f"{quoted(text)} is no time such as 30d, 12h, 15m or 90s") from None


@click.command()
@STORE
@click.option(
    "--older-than", required=True, callback=_duration, help="Minimum time since they ended: 30d, 12h, 15m, 90s."
)
@click.option(
    "--status",
    "statuses",
    multiple=True,
    default=["finished"],
    help="How they ended; can be repeated.",
)
@click.option("--type", "types", multiple=True, help="Only this type; can be repeated.")
@click.option(
    "--keep-last", type=click.IntRange(min=0), default=0, help="Number of jobs of each type, the newest ones, to keep."
)
@click.option("--excise", is_flag=True, help="Erase them from history, too, one by one, which is slow.")
@click.option("--dry-run", is_flag=True, help="Only count them.")
def prune(
    uri: str,
    older_than: timedelta,
    statuses: tuple[str, ...],
    types: tuple[str, ...],
    keep_last: int,
    excise: bool,
    dry_run: bool,
) -> None:
    """Retract jobs that ended long ago, with their facts; jobs that other facts refer to stay."""
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
    """Revert TRANSACTION, given by its t, for the jobs that have not changed since."""
    with factstore.connect(uri, create=False) as conn:
        done = reverting.revert_now(conn, transaction, by=f"cli {worker_name()}")
    click.echo(f"{len(done.reverted):,} jobs are as they were before")
    for id in sorted(done.left_alone):
        click.echo(f"{id} moved on, and was left alone")


@click.command()
@STORE
@click.option("--workers", type=click.IntRange(min=1), default=1, help="Number of jobs that run at a time.")
@click.option("--most", type=click.IntRange(min=0), default=10, help="Maximum number of jobs to show.")
@AS_JSON
def plan(uri: str, workers: int, most: int, as_json: bool) -> None:
    """Show the jobs that would run next, and the ones that determine the end, given how long jobs usually take."""
    with factstore.connect(uri, create=False) as conn:
        schedule = planned(conn.db(), now=datetime.now(UTC), workers=workers)
    if as_json:
        print_json([schedule])
        return
    for step in schedule.steps[:most]:
        click.echo(
            f"{step.start.isoformat(timespec='seconds')}  {step.type} {step.id}"
            + (f"  after {step.after}" if step.after else "")
        )
    click.echo(
        f"{len(schedule.steps):,} jobs end by {schedule.ends.isoformat(timespec='seconds')} with {workers} at a time"
    )
    chain = " → ".join(str(step.type) for step in schedule.critical)
    click.echo(f"not before {schedule.soonest.isoformat(timespec='seconds')}: {chain or 'nothing to do'}")
    if schedule.never:
        click.echo(f"{len(schedule.never):,} would never run: {', '.join(schedule.never[:most])}")


@click.command()
@STORE
@AS_JSON
def questions(uri: str, as_json: bool) -> None:
    """Show the questions of jobs that wait for an answer."""
    with factstore.connect(uri, create=False) as conn:
        if as_json:
            print_json(asked.unanswered(conn.db()))
            return
        for question in asked.unanswered(conn.db()):
            until = question.until.isoformat(timespec="seconds") if question.until else "its deadline"
            choice = f" [{' | '.join(question.options)}]" if question.options else ""
            click.echo(f"{question.job}  {question.type}  {quoted(question.text)}{choice}  until {until}")


@click.command()
@STORE
@click.argument("job")
@click.argument("value", metavar="ANSWER")
@click.option("--by", default=getuser, help="Your name, which is stored with the answer; by default, your user name.")
def answer(uri: str, job: str, value: str, by: str) -> None:
    """Answer the open question of JOB."""
    with factstore.connect(uri, create=False) as conn:
        job = ask.id_of(conn.db(), job)
        conn.transact(asked.answer(job, value, by=by))
        click.echo(f"{job} has the answer {quoted(value)} by {by}")
