"""The commands that copy a store: backups and dumps."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from factstore import dumps, maintain
from factstore.cli.commands import EXIT_DAMAGED, EXIT_REFUSED, EXIT_UNAVAILABLE, end
from factstore.cli.options import STORE, opened
from factstore.cli.output import progress
from factstore.storage import new_store, open_storage, shown
from factstore.upkeep.whole_files import making


@click.command()
@STORE
@click.argument("target")
def backup(store: str, target: str) -> None:
    """Copy to TARGET the data that it lacks, and check the copy."""
    _copied(store, target)


@click.command()
@click.argument("source")
@STORE
@click.option("--to", "upto", type=int, default=None, help="The last t; later transactions are not restored.")
def restore(source: str, store: str, upto: int | None) -> None:
    """Create a new store from the backup SOURCE, and check it."""
    if upto is not None and upto < 0:
        raise click.UsageError(f"--to is the t of a transaction, got {upto}")
    with _new(store) as unfinished:
        _copied(source, unfinished, upto, name=store)


@click.command()
@STORE
@click.argument("path", metavar="FILE")
@click.option("--to", "upto", type=int, default=None, help="The last t.")
@click.option("--only", multiple=True, metavar="ATTRIBUTE", help="Write only these attributes.")
@click.option("--without", multiple=True, metavar="ATTRIBUTE", help="Exclude these attributes.")
def dump(store: str, path: str, upto: int | None, only: tuple[str, ...], without: tuple[str, ...]) -> None:
    """Write the whole history to FILE as text, compressed if it ends in .gz."""
    with opened(store) as conn:
        manifest = dumps.dump(conn, path, upto=upto, only=only, without=without)
    click.echo(f"{path} holds {manifest.transactions:,} transactions, {manifest.datoms:,} datoms")


@click.command()
@click.argument("path", metavar="FILE")
@STORE
def undump(path: str, store: str) -> None:
    """Create a new store from a dump, identical to the dumped one."""
    with _new(store) as unfinished, closing(open_storage(unfinished)) as storage:
        manifest = dumps.undump(path, storage)
        maintain.rebuild(storage)
    click.echo(f"{shown(store)} holds {manifest.transactions:,} transactions, {manifest.datoms:,} datoms")


@click.command()
@click.argument("path", metavar="FILE")
@STORE
@click.option("--from", "start", type=int, default=None, help="The first t.")
@click.option("--to", "upto", type=int, default=None, help="The last t.")
def replay(path: str, store: str, start: int | None, upto: int | None) -> None:
    """Transact the contents of a dump on top of a store; its entities get new ids."""
    with opened(store, read_only=False) as conn:
        replayed = dumps.replay(conn, path, start=start, upto=upto)
    left_out = f", {replayed.left_out:,} left out: they refer to unknown entities" if replayed.left_out else ""
    click.echo(f"{replayed.transactions:,} transactions, {replayed.datoms:,} datoms{left_out}")


@contextmanager
def _new(store: str) -> Iterator[str]:
    """Give the uri of an unfinished store; it gets its name when the block ends, and is deleted if the block fails."""
    on_server = new_store(store)
    if on_server is not None:
        with on_server as unfinished_uri:
            yield unfinished_uri
        return
    target = Path(store.removeprefix("lmdb:")).absolute()
    if target.name == "" or store.startswith("memory:"):
        raise click.UsageError(f"{store} is not the path of a file; this command creates a new one")
    if target.exists():
        end(f"{store} exists already; this command creates a new store", EXIT_REFUSED)
    if not target.parent.is_dir():
        end(f"there is no directory {target.parent}; create it first", EXIT_UNAVAILABLE)
    try:
        with making(target) as unfinished:
            yield f"lmdb:{unfinished}"
    except FileExistsError:
        end(f"{store} was created in the meantime, and is not changed; this command creates a new store", EXIT_REFUSED)


def _copied(source: str, target: str, upto: int | None = None, *, name: str | None = None) -> None:
    with closing(open_storage(source, create=False, read_only=True)) as original, closing(open_storage(target)) as copy:
        if upto is None:
            head = maintain.copy(original, copy, progress())
        else:
            head = maintain.restore_to(original, copy, upto)
    with opened(target) as conn:
        result = maintain.check(conn)
    for problem in result.problems:
        click.echo(problem)
    verdict = "checked" if result.ok else "damaged"
    click.echo(f"{shown(name or target)} holds {head:,} transactions, {result.datoms:,} datoms: {verdict}")
    if not result.ok:
        sys.exit(EXIT_DAMAGED)
