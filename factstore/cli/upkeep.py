"""The commands that inspect and repair a store."""

from __future__ import annotations

import json
import sys
from contextlib import closing

import click

from factstore import maintain
from factstore.cli.commands import EXIT_DAMAGED
from factstore.cli.options import AS_JSON, STORE, opened
from factstore.storage import open_storage


@click.command()
@STORE
@AS_JSON
def stats(store: str, as_json: bool) -> None:
    """Count transactions, datoms and bytes."""
    with opened(store) as conn:
        numbers = maintain.stats(conn)
    if as_json:
        click.echo(json.dumps(numbers, default=str))
        return
    click.echo(
        f"{numbers['t']:>12,} transactions   {numbers['datoms']:,} live datoms   {numbers['novelty']:,} not indexed yet"
    )
    click.echo(f"{numbers['storage']['bytes']:>12,} bytes")
    for name, row in numbers["attributes"].items():
        click.echo(f"{row['live']:>12,} {name}" + (f"   past {row['past']:,}" if row["past"] else ""))


@click.command()
@STORE
@AS_JSON
def check(store: str, as_json: bool) -> None:
    """Compare the index with the log, and read every block and record."""
    with opened(store) as conn:
        result = maintain.check(conn)
    if as_json:
        click.echo(json.dumps({**{name: getattr(result, name) for name in result.__slots__}, "ok": result.ok}))
    else:
        for problem in result.problems:
            click.echo(problem)
        verdict = "all is well" if result.ok else f"{len(result.problems)} problems"
        click.echo(
            f"{result.transactions:,} transactions, {result.datoms:,} datoms, {result.blocks:,} blocks: {verdict}"
        )
    if not result.ok:
        sys.exit(EXIT_DAMAGED)


@click.command()
@STORE
def reindex(store: str) -> None:
    """Rebuild the index from the log."""
    with closing(open_storage(store, create=False)) as storage:  # no connection, which would read the old index
        click.echo(f"indexed up to t={maintain.rebuild(storage)}")


@click.command()
@STORE
def gc(store: str) -> None:
    """Delete blocks that no process needs."""
    with opened(store, read_only=False) as conn:
        deleted = maintain.collect(conn)
        why = (
            ": a process is building an index, and deletes them when it has finished"
            if not deleted and maintain.is_building(conn)
            else ""
        )
        click.echo(f"deleted {deleted:,} blocks{why}")
