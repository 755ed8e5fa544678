"""The command line: one function per command, without logic."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Any

import click

import factstore
from factstore.cli.options import AS_JSON, as_of_option, at, opened_when_reachable, store_option
from factstore.cli.output import print_json
from overseer import status as ask
from overseer.cli import jobs, operators, watching
from overseer.cli.commands import STORE, Commands, import_from_here, load_handlers
from overseer.jobs import queues
from overseer.jobs.queues import queue as settings_of
from overseer.jobs.store import install
from overseer.listeners import logs
from overseer.worker import Config, Worker, worker_name
from overseer.worker.pools.pools import KINDS
from overseer.worker.pools.signals import handle_here


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="factstore")
def main() -> None:
    """Durable jobs in dependency graphs, on a fact store."""


jobs.add_to(main)
operators.add_to(main)
main.add_command(watching.status)


@main.command()
@click.argument("handlers")
@store_option("uri", variables=("OVERSEER_STORE",), required=False, after=", the file with settings, or $FACTSTORE")
@click.option("-c", "--config", "path", type=click.Path(dir_okay=False), help="A TOML or YAML file with settings.")
@click.option(
    "--until-idle", is_flag=True, help="Exit when all jobs for which HANDLERS has a handler have ended, on any worker."
)
@click.option(
    "--exit-code", is_flag=True, help="With --until-idle: exit with 3 if jobs failed meanwhile; the default is 0."
)
@click.option("--lease", type=float, help="Seconds without a renewal after which other workers take the jobs.")
@click.option("--concurrency", type=int, help="Maximum number of handlers that run at a time.")
@click.option("--executor", type=click.Choice(KINDS), help="Where handlers run.")
@click.option(
    "--queue", "queues", multiple=True, help="A queue to work on; can be repeated. The default is all queues."
)
@click.option(
    "--batch",
    type=int,
    help="Number of jobs to claim at a time, if more than can run; by default, it adapts to how long jobs take.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log each job.")
@click.option("--log-json", is_flag=True, help="Write the log as lines of JSON.")
@click.option(
    "--create",
    is_flag=True,
    help="Create the store if it does not exist; by default, this is an error.",
)
def worker(
    handlers: str,
    uri: str | None,
    path: str | None,
    until_idle: bool,
    exit_code: bool,
    lease: float | None,
    verbose: bool,
    log_json: bool,
    create: bool,
    **given: Any,
) -> None:
    """Work on jobs with HANDLERS, given as module:name of a mapping from job type to handler."""
    if exit_code and not until_idle:
        raise click.UsageError("--exit-code needs --until-idle: give both")
    logs.set_up(logging.DEBUG if verbose else logging.INFO, as_json=log_json)
    config = _settings(path, lease, {"store": uri, **given})
    by_type = load_handlers(handlers)
    with opened_when_reachable(config.store, create=create) as conn:
        running = Worker(conn, by_type, config)
        with _drain_on_signals(running):
            try:
                running.run(until_idle=until_idle)
            except Exception:
                if running.busy:
                    logging.getLogger("overseer").exception(
                        "worker %s failed, and ends the process while handlers still run", running.name
                    )
                    logging.shutdown()
                    os._exit(1)  # a process waits for its threads, unless it ends like this
                raise
        failed = until_idle and _report_failed(running)
        code = _JOBS_FAILED if failed and exit_code else 0
        if running.busy:  # a handler that exceeded its timeout may never end
            logging.getLogger("overseer").warning("worker %s ends the process while handlers still run", running.name)
            logging.shutdown()
            os._exit(code)
    sys.exit(code)


_JOBS_FAILED = 3  # the exit code of a worker that is idle, if jobs failed
_SHOWN = 5


def _report_failed(running: Worker) -> bool:
    """Log the jobs that failed while a worker ran until it was idle, and tell whether there are any."""
    failed = running.failed
    if failed:
        names = ", ".join(failed[:_SHOWN]) + (f" and {len(failed) - _SHOWN:,} more" if len(failed) > _SHOWN else "")
        logging.getLogger("overseer").warning(
            "worker %s ends; %s jobs failed: %s", running.name, f"{len(failed):,}", names
        )
    return bool(failed)


def _settings(path: str | None, lease: float | None, given: dict[str, Any]) -> Config:
    """Return the settings of a file, overridden by the options of the command line."""
    config = Config.read(path) if path else Config()
    if lease is not None:
        given["heartbeat_sleep_time"] = lease * 1000 / config.heartbeat_tolerance
    config = replace(config, **{name: value for name, value in given.items() if value is not None and value != ()})
    # FACTSTORE may name the store of other work, so it does not override the file.
    config = config if config.store else replace(config, store=os.environ.get("FACTSTORE", ""))
    if not config.store:
        raise click.UsageError("a store is required: --store, OVERSEER_STORE, or `store` in the file with settings")
    return config


def _drain_on_signals(running: Worker) -> AbstractContextManager[None]:
    """At the first signal, let the running jobs end; at the second, release them and exit."""

    def handle(number: int, frame: object) -> None:
        if not running.stopping:
            running.stop()
        else:
            running.abandon(128 + number)

    # A terminal that is closed sends SIGHUP; `nohup` lets the worker ignore that.
    hangup = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return handle_here(handle, signal.SIGTERM, signal.SIGINT, *hangup)


@main.command()
@STORE
@click.argument("job")
@AS_JSON
def history(uri: str, job: str, as_json: bool) -> None:
    """Show every status that JOB, given by its id, had, and the reason for the current one."""
    with factstore.connect(uri, create=False) as conn:
        db = conn.db()
        steps = ask.history(db, ask.id_of(db, job))
        if as_json:
            print_json(steps)
            return
        for step in steps:
            why = f"  {step.reason.name}" if step.reason else ""
            attempt = f"attempt {step.attempt}  {step.by or '-'}"
            click.echo(f"{step.at.isoformat()}  t={step.t}  {step.status.name:9}  {attempt}{why}")
        click.echo(ask.explain(db, ask.id_of(db, job)).why)


@main.command()
@STORE
@click.argument("job")
@as_of_option("point")
@AS_JSON
def explain(uri: str, job: str, point: int | datetime | None, as_json: bool) -> None:
    """Show why JOB is not running, or ran more than once, and the jobs that it waits for."""
    with factstore.connect(uri, create=False) as conn:
        db = at(conn, point)
        explanation = ask.explain(db, ask.id_of(db, job))
        if as_json:
            print_json([explanation])
            return
        click.echo(f"{explanation.status.name}: {explanation.why}")
        for name, jobs in (("jobs", explanation.jobs), ("in the end", explanation.roots)):
            if jobs:
                click.echo(f"{name}: {', '.join(jobs)}")


@main.command()
@STORE
@click.argument("queue")
def pause(uri: str, queue: str) -> None:
    """Let no job of QUEUE start; running jobs continue."""
    _set_paused(uri, queue, True)


@main.command()
@STORE
@click.argument("queue")
def resume(uri: str, queue: str) -> None:
    """Let the jobs of QUEUE start again."""
    _set_paused(uri, queue, False)


def _set_paused(uri: str, name: str, paused: bool) -> None:
    with factstore.connect(uri, create=False) as conn:
        install(conn)
        settings, db = settings_of(name, paused=paused), conn.db()
        current = queues.queues(db).get(settings[":queue/name"])
        if not paused and (current is None or not current.paused):
            raise click.ClickException(f"{name} was not paused")
        conn.transact([settings, [":db/add", "datomic.tx", ":overseer/by", f"cli {worker_name()}"]])
        click.echo(f"{name} is paused" if paused else f"{name} continues")
        if current is None and settings[":queue/name"] not in (named := queues.named(db)):
            click.echo(
                f"no job names it; the queues that jobs name are: {', '.join(sorted(named)) or 'none'}", err=True
            )


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGUMENT]…")
def demo(arguments: tuple[str, ...]) -> None:
    """Load the flights of 2013 and their delays, as jobs; see `overseer demo --help`."""
    sys.exit(_demo_main()(list(arguments)))


def _demo_main() -> Any:
    """Return the main function of the demo, from the installed package or from the examples of a checkout."""
    import_from_here()
    for name in ("overseer.demo.main", "examples.flights.main"):
        try:
            return importlib.import_module(name).main
        except ModuleNotFoundError as error:
            if not name.startswith(error.name or "?"):
                raise
    raise click.ClickException("the demo is not installed: install factstore[demo]")


if __name__ == "__main__":
    main()
