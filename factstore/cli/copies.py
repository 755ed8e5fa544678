"""The commands that copy a store: backups and dumps."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from factstore import dumps, maintain
from factstore.cli.commands import EXIT_DAMAGED, EXIT_REFUSED, EXIT_UNAVAILABLE, end
from factstore.cli.options import STORE, opened
from factstore.cli.output import progress
from factstore.storage import new_store, open_storage, shown
from factstore.upkeep.dump_files import os_errors_as_unavailable
from factstore.upkeep.whole_files import making

_STANDARD = "-"  # as the name of a file: standard input or output
_GZIP = b"\x1f\x8b"  # the first bytes of a compressed file


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
    """Write the whole history to FILE as text, compressed if it ends in .gz, or to standard output if it is -."""
    with opened(store) as conn, _written(path) as file:
        manifest = dumps.dump(conn, file, upto=upto, only=only, without=without)
    counts = f"{manifest.transactions:,} transactions, {manifest.datoms:,} datoms"
    click.echo(f"{path} holds {counts}", err=path == _STANDARD)


@click.command()
@click.argument("path", metavar="FILE")
@STORE
def undump(path: str, store: str) -> None:
    """Create a new store from a dump, identical to the dumped one; from standard input if FILE is -."""
    with _new(store) as unfinished, closing(open_storage(unfinished)) as storage, _read(path) as file:
        manifest = dumps.undump(file, storage)
        maintain.rebuild(storage)
    click.echo(f"{shown(store)} holds {manifest.transactions:,} transactions, {manifest.datoms:,} datoms")


@click.command()
@click.argument("path", metavar="FILE")
@STORE
@click.option("--from", "start", type=int, default=None, help="The first t.")
@click.option("--to", "upto", type=int, default=None, help="The last t.")
def replay(path: str, store: str, start: int | None, upto: int | None) -> None:
    """Transact the contents of a dump on top of a store; its entities get new ids. FILE can be -, standard input."""
    with opened(store, read_only=False) as conn, _read(path) as file:
        replayed = dumps.replay(conn, file, start=start, upto=upto)
    left_out = f", {replayed.left_out:,} left out: they refer to unknown entities" if replayed.left_out else ""
    click.echo(f"{replayed.transactions:,} transactions, {replayed.datoms:,} datoms{left_out}")


@contextmanager
def _written(path: str) -> Iterator[str]:
    """Give the path of a file to write; if `-` was given, its bytes go to standard output, when they are complete."""
    if path != _STANDARD:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "standard-output")
        yield str(file)
        with file.open("rb") as complete:
            shutil.copyfileobj(complete, sys.stdout.buffer)


@contextmanager
def _read(path: str) -> Iterator[str]:
    """Give the path of a file to read, more than once; if `-` was given, a file with the bytes of standard input."""
    if path != _STANDARD:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        begin = sys.stdin.buffer.read(len(_GZIP))
        file = Path(folder, "standard-input.gz" if begin == _GZIP else "standard-input")
        with os_errors_as_unavailable(file), file.open("wb") as spool:
            spool.write(begin)
            shutil.copyfileobj(sys.stdin.buffer, spool)
        yield str(file)


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
