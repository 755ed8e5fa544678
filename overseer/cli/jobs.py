"""The commands about jobs, also about all that filters choose: jobs, enqueue, retry, abort, logs; and workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click

import factstore
from factstore import quoted
from factstore.cli.options import AS_JSON, AS_OF, at, point_option
from factstore.cli.output import cell_text, json_text, table
from factstore.cli.texts import pair_of, typed_value
from overseer import status as ask
from overseer.cli.commands import STORE
from overseer.jobs.store import JobStore, install
from overseer.jobs.txns import job_txn, signed
from overseer.typed.parameters import attribute_of, namespace_of
from overseer.worker import worker_name

Command = TypeVar("Command", bound=Callable[..., Any])
_WHY: Final = 100  # characters of a failure in a list


def add_to(group: click.Group) -> None:
    """Add the commands of this module to a group."""
    for command in (jobs, enqueue, retry, abort, logs, workers):
        group.add_command(command)


def opened(uri: str) -> factstore.Connection:
    """Open a store that exists."""
    return factstore.connect(uri, create=False)


def _wanted(_ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    """Return the values in texts such as :mail/to=ann@x; a value that is not EDN is a string."""
    return dict(map(pair_of, texts))


_FILTERS: Final = (
    click.option("--status", help="unstarted, started, finished, failed or aborted."),
    click.option("--type", help="Only jobs of this type."),
    click.option("--queue", help="Only jobs of this queue."),
    click.option("--worker", help="Only jobs that this worker claimed last."),
    click.option("--text", help="Only jobs whose id or failure contains this text."),
    click.option(
        "--where", multiple=True, callback=_wanted, help="Only jobs with this value: :mail/to=ann@x; can be repeated."
    ),
    point_option("--since", "since", help="Only jobs whose status changed since then: -1h, a t or a time."),
)


def _filters(command: Command) -> Command:
    """Give a command the filters of jobs."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def _chosen(db: factstore.Database, filters: Mapping[str, Any], limit: int | None) -> list[ask.Listed]:
    since = filters["since"]
    since = db.instant_of(since) if isinstance(since, int) else since
    return ask.jobs(db, **{**filters, "since": since}, limit=limit)


@click.command()
@STORE
@_filters
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="Maximum number of jobs.")
@AS_OF
@AS_JSON
def jobs(uri: str, as_of: int | datetime | None, as_json: bool, limit: int, **filters: Any) -> None:
    """List the jobs for which all filters hold; the job whose status changed last is the first."""
    with opened(uri) as conn:
        listed = _chosen(at(conn, as_of), filters, limit)
    if as_json:
        for job in listed:
            click.echo(json_text(job._asdict()))
        return
    rows = [
        (job.since, job.status.name, job.id, job.type, job.queue, job.attempt, _first_line(job.why)) for job in listed
    ]
    table(("since", "status", "id", "type", "queue", "attempt", "why"), rows)


def _first_line(why: str | None) -> str:
    return "" if why is None else why.partition("\n")[0][:_WHY]


@click.command()
@click.argument("type")
@click.argument("arguments", nargs=-1, metavar="[ATTRIBUTE=VALUE]…")
@STORE
@click.option("--id", help="The id of the job; a transaction with an id that exists is rejected.")
@click.option("--queue", help="The queue whose limits apply to it.")
@click.option("--priority", type=int, help="Jobs with a higher priority start first.")
@click.option("--partition", help="The value by which the queue's limit per partition counts.")
@click.option("--run-at", "run_at", help="The earliest start: a time (ISO 8601 with zone), or 5m from now.")
@click.option("--timeout", help="The maximum duration of an attempt: 30s.")
@click.option("--try", "is_trial", is_flag=True, help="Insert nothing; show the transaction.")
def enqueue(
    uri: str, type: str, arguments: tuple[str, ...], run_at: str | None, is_trial: bool, **options: Any
) -> None:
    """Insert a job of TYPE. The value of each ATTRIBUTE is read by its type.

    ATTRIBUTE is an attribute such as `:mail/to`, or the name of an argument of the type: for the type `mail`, `to` is
    `:mail/to`; for the type `mail/send`, `reply_to` is `:mail.send/reply-to`.
    """
    with opened(uri) as conn:
        db = conn.db()
        attrs: dict[str, Any] = {}
        for text in arguments:
            name, value = _argument(db, type, text)
            attrs[name] = [*attrs.get(name, []), value] if db.attribute(name).many else value
        job = job_txn(type, attrs, run_at=None if run_at is None else _time(conn, run_at), **options)
        if is_trial:
            click.echo(factstore.edn.write([{factstore.Keyword(key): value for key, value in job.items()}]))
            factstore.with_(db, [job])
            return
        install(conn)
        conn.transact([job, signed(f"cli {worker_name()}")])
    click.echo(job[":job/id"])


def _argument(db: factstore.Database, type: str, text: str) -> tuple[str, Any]:
    """Return the attribute and the value of an argument."""
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"{quoted(text)} is not an attribute with a value, such as :mail/to=ann@x")
    name = name.removeprefix(":")
    attribute = db.attribute(f":{name}" if "/" in name else _own_attribute(db, type, name))
    try:
        return str(attribute.ident), typed_value(attribute, value)
    except ValueError as error:
        raise click.UsageError(f"{attribute.ident} cannot be {quoted(value)}: {error}") from None


def _own_attribute(db: factstore.Database, type: str, name: str) -> str:
    """Return the attribute of an argument: that of a typed job, unless only one with the name as it is exists."""
    typed, plain = attribute_of(type, name), f":{namespace_of(type)}/{name}"
    return plain if db.entid(typed) is None and db.entid(plain) is not None else typed


def _time(conn: factstore.Connection, text: str) -> datetime:
    try:
        return conn.now() + factstore.duration(text)
    except factstore.DatabaseError:
        return factstore.moment(text, now=conn.now())


@click.command()
@STORE
@click.argument("jobs", nargs=-1, metavar="[JOB]…")
@_filters
@click.option("--dry-run", is_flag=True, help="Only list the jobs that were chosen.")
def retry(uri: str, jobs: tuple[str, ...], dry_run: bool, **filters: Any) -> None:
    """Let failed or aborted JOBs run again, with the jobs that were aborted because of them.

    A JOB is an id, or the beginning of one. Filters choose jobs instead; all are changed in one transaction.
    """
    _check_choice(jobs, filters)
    with opened(uri) as conn:
        store = JobStore(conn, worker=f"cli {worker_name()}")
        if len(jobs) == 1 and not dry_run:
            id = ask.id_of(conn.db(), jobs[0])
            if not store.retry(id):
                raise click.ClickException(f"{id} neither failed nor was aborted")
            click.echo(f"{id} will run again")
            return
        chosen = _ids(conn.db(), jobs, filters, ("failed", "aborted"))
        ids = chosen if dry_run else store.retry_all(chosen)
        _report(ids, "would run again" if dry_run else "will run again")


@click.command()
@STORE
@click.argument("jobs", nargs=-1, metavar="[JOB]…")
@_filters
@click.option("-m", "--message", default="aborted by hand", help="The reason; stored with the job.")
@click.option("--dry-run", is_flag=True, help="Only list the jobs that were chosen.")
def abort(uri: str, jobs: tuple[str, ...], message: str, dry_run: bool, **filters: Any) -> None:
    """Abort JOBs that have not ended, and the jobs that depend on them.

    A JOB is an id, or the beginning of one. Filters choose jobs instead; all are changed in one transaction.
    """
    _check_choice(jobs, filters)
    with opened(uri) as conn:
        store = JobStore(conn, worker=f"cli {worker_name()}")
        if len(jobs) == 1 and not dry_run:
            id = ask.id_of(conn.db(), jobs[0])
            if not store.abort(id, message):
                raise click.ClickException(f"{id} had ended already")
            click.echo(f"{id} is aborted")
            return
        chosen = _ids(conn.db(), jobs, filters, ("unstarted", "started"))
        _report(
            chosen if dry_run else store.abort_all(chosen, message), "would be aborted" if dry_run else "are aborted"
        )


def _check_choice(jobs: tuple[str, ...], filters: Mapping[str, Any]) -> None:
    if bool(jobs) == any(filters.values()):
        raise click.UsageError("give JOBs or filters, such as --type or --status")


def _ids(
    db: factstore.Database, jobs: tuple[str, ...], filters: Mapping[str, Any], statuses: tuple[str, ...]
) -> list[str]:
    """Return the ids of the given jobs, or of those with one of the statuses for which the filters hold."""
    if jobs:
        return [ask.id_of(db, job) for job in jobs]
    if filters["status"] is not None:
        return [job.id for job in _chosen(db, filters, None)]
    return [job.id for status in statuses for job in _chosen(db, {**filters, "status": status}, None)]


def _report(ids: list[str], what: str) -> None:
    for id in ids:
        click.echo(id)
    click.echo(f"{len(ids):,} jobs {what}")


@click.command()
@STORE
@click.argument("job")
@AS_JSON
def logs(uri: str, job: str, as_json: bool) -> None:
    """Show each attempt at JOB with its traceback, and the lines that its handler logged, if they are kept."""
    with opened(uri) as conn:
        db = conn.db()
        for attempt in ask.attempts(db, ask.id_of(db, job)):
            if as_json:
                click.echo(json_text(attempt._asdict()))
            else:
                _show_attempt(attempt)


def _show_attempt(attempt: ask.Attempt) -> None:
    click.echo(f"{attempt.began.isoformat(timespec='seconds')}  {attempt}")
    for line in (attempt.logs or "").splitlines():
        click.echo(f"  {cell_text(line)}")
    failure = factstore.edn.read(attempt.failure) if attempt.failure else {}
    for name in (":traceback", ":message"):
        text = failure.get(name)
        if text:
            for line in str(text).splitlines():
                click.echo(f"  {cell_text(line)}")
            return


@click.command()
@STORE
@click.option("--ended", is_flag=True, help="Also show workers that have ended.")
@AS_JSON
def workers(uri: str, ended: bool, as_json: bool) -> None:
    """List the workers, with the jobs that they hold. One that was killed is listed, too.

    It is silent once the lease of a job that it held has expired, also when other workers have taken the job.
    A worker that was killed while it held no job looks the same as an idle one.
    """
    with opened(uri) as conn:
        found = ask.workers(conn.db(), ended=ended)
    if as_json:
        for worker in found:
            click.echo(json_text(worker._asdict()))
        return
    now = datetime.now(UTC)
    rows = [
        (
            worker.name,
            worker.state,
            worker.began,
            "" if worker.beat is None else f"{max(0.0, (now - worker.beat).total_seconds()):,.0f} s ago",
            worker.slots,
            len(worker.jobs),
            " ".join(worker.handlers),
            "all" if worker.queues is None else " ".join(worker.queues),
        )
        for worker in found
    ]
    table(("worker", "state", "began", "beat", "slots", "jobs", "handlers", "queues"), rows)
