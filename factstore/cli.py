"""The command line: one function per command, without logic of its own."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from errno import EPIPE
from importlib import import_module
from io import TextIOWrapper
from os.path import isfile
from pathlib import Path
from threading import Event, current_thread, main_thread
from types import FrameType
from typing import Any, NoReturn

import click

import factstore
from factstore import dumps, maintain
from factstore.errors import Corrupt, FactStoreError, StorageError
from factstore.storage import new_store, open_storage, shown
from factstore.upkeep.whole_files import making
from factstore.values.quoting import text_of

EXIT_REFUSED, EXIT_USAGE, EXIT_UNAVAILABLE, EXIT_DAMAGED = 1, 2, 3, 4
EXIT_INTERRUPTED = 130  # the convention of shells: 128 + the number of SIGINT

_store = click.option(
    "--store",
    "-s",
    envvar="FACTSTORE",
    required=True,
    metavar="URI",
    help="A path, lmdb:PATH, or postgresql://host/database?name=NAME. Also from $FACTSTORE.",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Commands(click.Group):
    """Commands whose errors are one line on stderr and an exit code, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                # Paths and values may contain characters that the terminal's encoding lacks.
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except FactStoreError as error:
            damaged = EXIT_DAMAGED if isinstance(error, Corrupt) else EXIT_UNAVAILABLE
            _end(str(error), damaged if isinstance(error, StorageError) else EXIT_REFUSED)
        except OSError as error:
            if error.errno == EPIPE:  # the reader of the output has closed the pipe; click ends without a message
                raise
            _end(f"{error.filename}: {error.strerror}" if error.filename else str(error), EXIT_UNAVAILABLE)
        except KeyboardInterrupt:
            _end("interrupted", EXIT_INTERRUPTED)


def _end(why: str, code: int) -> NoReturn:
    click.echo(f"factstore: {' '.join(why.splitlines())}", err=True)
    sys.exit(code)


@click.group(cls=Commands)
@click.version_option(package_name="factstore")
def main() -> None:
    """Inspect, check and back up a fact store."""


@contextmanager
def _opened(store: str, *, read_only: bool = True) -> Iterator[factstore.Connection]:
    with factstore.connect(store, create=False, read_only=read_only) as conn:
        yield conn


def _import_all(modules: Iterable[str]) -> None:
    """Import modules; an exception in their code, even `SystemExit`, is an error of the command line."""
    for module in modules:
        interrupted = Event()
        try:
            with _noting_interrupts(interrupted):
                import_module(module)
        except BaseException as error:
            if interrupted.is_set():
                raise
            _end(f"the module {module!r} cannot be imported: {type(error).__name__}: {text_of(error)}", EXIT_USAGE)


@contextmanager
def _noting_interrupts(interrupted: Event) -> Iterator[None]:
    """Set an event when Ctrl-C raises `KeyboardInterrupt`, which imported code may raise too."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or current_thread() is not main_thread():
        yield
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@main.command()
@_store
@_as_json
def stats(store: str, as_json: bool) -> None:
    """Count transactions, datoms and bytes."""
    with _opened(store) as conn:
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


@main.command()
@_store
@_as_json
def check(store: str, as_json: bool) -> None:
    """Compare the index with the log, and read every block and record."""
    with _opened(store) as conn:
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


@main.command()
@_store
def reindex(store: str) -> None:
    """Rebuild the index from the log."""
    with closing(open_storage(store, create=False)) as storage:  # no connection, which would read the old index
        click.echo(f"indexed up to t={maintain.rebuild(storage)}")


@main.command()
@_store
def gc(store: str) -> None:
    """Delete blocks that no process needs."""
    with _opened(store, read_only=False) as conn:
        deleted = maintain.collect(conn)
        why = (
            ": a process is building an index, and deletes them when it has finished"
            if not deleted and maintain.is_building(conn)
            else ""
        )
        click.echo(f"deleted {deleted:,} blocks{why}")


@main.command()
@_store
@click.option("--from", "start", type=int, default=None, help="The first t.")
@click.option("--to", "end", type=int, default=None, help="The t after the last one.")
def log(store: str, start: int | None, end: int | None) -> None:
    """Print transactions, one line per datom."""
    with _opened(store) as conn:
        db = conn.db()
        for t, data in conn.log().tx_range(start, end):
            click.echo(f"t={t}  {db.instant_of(t)}")
            _print_datoms(db, data)


def _print_datoms(db: factstore.Database, data: Iterable[factstore.Datom]) -> None:
    for datom in data:
        sign = "+" if datom.added else "-"
        click.echo(f"  {sign} [{datom.e} {db.ident(datom.a)} {factstore.edn.write(datom.v)}]")


@main.command()
@_store
@click.argument("folder")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Commit nothing; print the datoms of each, up to the first migration that fails, and the reasons.",
)
@click.option(
    "--import",
    "modules",
    multiple=True,
    metavar="MODULE",
    help="A module to import first, which registers functions that the migrations call.",
)
@_as_json
def migrate(store: str, folder: str, dry_run: bool, modules: tuple[str, ...], as_json: bool) -> None:
    """Apply the migrations of FOLDER, one per EDN file, in order of name, that the store lacks."""
    _import_all(modules)
    with _opened(store, read_only=dry_run) as conn:
        report = factstore.migrate(conn, factstore.migrations_in(folder), dry_run=dry_run)
    if as_json:
        fields = {**report._asdict(), "applied": [migrated._asdict() for migrated in report.applied]}
        click.echo(json.dumps({key: value for key, value in fields.items() if key != "db"}, default=str))
    else:
        _print_migrations(report)
    if report.failed is not None:
        sys.exit(EXIT_REFUSED)


def _print_migrations(report: factstore.MigrationReport) -> None:
    for name, t, datoms in report.applied:
        click.echo(f"{name}  {'would be ' if report.dry_run else ''}t={t}, {len(datoms)} datoms")
        if report.dry_run and report.db is not None:
            _print_datoms(report.db, datoms)
    if report.failed is not None:
        click.echo(f"{report.failed}  would be refused")
        for problem in report.problems:
            click.echo(f"  {problem['code']}: {problem['message']}")
    click.echo(
        f"{len(report.applied)} {'to apply' if report.dry_run else 'applied'}, {len(report.already)} applied before"
    )


@main.command()
@click.argument("path", metavar="FILE")
@_store
@click.option(
    "--import",
    "modules",
    multiple=True,
    metavar="MODULE",
    help="A module to import first, which registers functions that the file calls.",
)
def load(path: str, store: str, modules: tuple[str, ...]) -> None:
    """Commit the transactions of an EDN file (one, a vector of them, or several), in a new store if necessary."""
    _import_all(modules)
    if not isfile(path):  # noqa: PTH113 -- `Path.is_file` raises for a name that is too long
        _end(f"{path} is no file", EXIT_UNAVAILABLE)
    with factstore.connect(store) as conn:
        committed = factstore.transact_file(conn, path, progress=_progress() if sys.stderr.isatty() else None)
    click.echo(f"{committed.transactions:,} transactions, {committed.datoms:,} datoms")


@main.command()
@_store
@click.argument("target")
def backup(store: str, target: str) -> None:
    """Copy to TARGET the data that it lacks, and check the copy."""
    _copied(store, target)


@main.command()
@click.argument("source")
@_store
@click.option("--to", "upto", type=int, default=None, help="The last t; later transactions are not restored.")
def restore(source: str, store: str, upto: int | None) -> None:
    """Create a new store from the backup SOURCE, and check it."""
    if upto is not None and upto < 0:
        raise click.UsageError(f"--to is the t of a transaction, got {upto}")
    with _new(store) as unfinished:
        _copied(source, unfinished, upto, name=store)


@main.command()
@_store
@click.argument("path", metavar="FILE")
@click.option("--to", "upto", type=int, default=None, help="The last t.")
@click.option("--only", multiple=True, metavar="ATTRIBUTE", help="Write only these attributes.")
@click.option("--without", multiple=True, metavar="ATTRIBUTE", help="Exclude these attributes.")
def dump(store: str, path: str, upto: int | None, only: tuple[str, ...], without: tuple[str, ...]) -> None:
    """Write the whole history to FILE as text, compressed if it ends in .gz."""
    with _opened(store) as conn:
        manifest = dumps.dump(conn, path, upto=upto, only=only, without=without)
    click.echo(f"{path} holds {manifest.transactions:,} transactions, {manifest.datoms:,} datoms")


@main.command()
@click.argument("path", metavar="FILE")
@_store
def undump(path: str, store: str) -> None:
    """Create a new store from a dump, identical to the dumped one."""
    with _new(store) as unfinished, closing(open_storage(unfinished)) as storage:
        manifest = dumps.undump(path, storage)
        maintain.rebuild(storage)
    click.echo(f"{shown(store)} holds {manifest.transactions:,} transactions, {manifest.datoms:,} datoms")


@main.command()
@click.argument("path", metavar="FILE")
@_store
@click.option("--from", "start", type=int, default=None, help="The first t.")
@click.option("--to", "upto", type=int, default=None, help="The last t.")
def replay(path: str, store: str, start: int | None, upto: int | None) -> None:
    """Transact the contents of a dump on top of a store; its entities get new ids."""
    with _opened(store, read_only=False) as conn:
        replayed = dumps.replay(conn, path, start=start, upto=upto)
    left_out = f", {replayed.left_out:,} left out: they refer to unknown entities" if replayed.left_out else ""
    click.echo(f"{replayed.transactions:,} transactions, {replayed.datoms:,} datoms{left_out}")


@main.command()
@click.argument("uri")
@click.option(
    "--require",
    "modules",
    multiple=True,
    metavar="MODULE",
    help="A module to import first, which registers functions that transactions call.",
)
@click.option("--listen", default="127.0.0.1:0", show_default=True, metavar="HOST:PORT", help="Port 0: a free one.")
@click.option("--address", metavar="HOST:PORT", help="How clients reach it, if not by the address of --listen.")
@click.option("--retire", is_flag=True, help="Run none: from now on, each process commits its own transactions again.")
def transactor(uri: str, modules: tuple[str, ...], listen: str, address: str | None, retire: bool) -> None:
    """Commit the transactions of all processes to the store URI in PostgreSQL, or wait to take over."""
    from factstore.transactor import service

    if retire:
        service.retire(uri)
        click.echo("no transactor any more: each process commits its own transactions")
        return
    _import_all(modules)
    host, port = _host_and_port(listen)
    if address is not None:
        _host_and_port(address)
    service.run(uri, service.Options(host=host, port=port, address=address), _told)


@main.command()
@click.argument("store", metavar="URI", envvar="FACTSTORE")
@click.option("--read-only", is_flag=True, help="Open the store for reading; no page can write.")
@click.option("--hide", multiple=True, metavar="ATTRIBUTE", help="Do not show the facts of this attribute.")
@click.option("--listen", default="127.0.0.1:0", show_default=True, metavar="HOST:PORT", help="Port 0: a free one.")
@click.option("--host-name", "hosts", multiple=True, metavar="NAME", help="Another name under which browsers reach it.")
@click.option("--token-file", metavar="PATH", help="A token that programs send; needed for other hosts than loopback.")
@click.option("--name", help="Your name, which its transactions state; by default that of your account.")
def console(
    store: str,
    read_only: bool,
    hide: tuple[str, ...],
    listen: str,
    hosts: tuple[str, ...],
    token_file: str | None,
    name: str | None,
) -> None:
    """Open the console of the store URI: print a link that works once, and serve it until Ctrl-C."""
    try:
        from factstore.console import server
    except ImportError as error:
        _end(f"the console needs {error.name}: install factstore[console]", EXIT_USAGE)
    host, port = _host_and_port(listen)
    options = server.Options(host, port, token_file, name, read_only, hide, hosts)
    server.run(store, options, _link)


def _link(link: str) -> None:
    click.echo(link)
    sys.stdout.flush()


def _told(sentence: str) -> None:
    click.echo(f"transactor {os.getpid()} {sentence}")
    sys.stdout.flush()


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal() and int(port) < 1 << 16) or not host:
        raise click.UsageError(f"expected HOST:PORT, got {text!r}")
    return host.strip("[]"), int(port)


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
        _end(f"{store} exists already; this command creates a new store", EXIT_REFUSED)
    if not target.parent.is_dir():
        _end(f"there is no directory {target.parent}; create it first", EXIT_UNAVAILABLE)
    try:
        with making(target) as unfinished:
            yield f"lmdb:{unfinished}"
    except FileExistsError:
        _end(f"{store} was created in the meantime, and is not changed; this command creates a new store", EXIT_REFUSED)


def _copied(source: str, target: str, upto: int | None = None, *, name: str | None = None) -> None:
    with closing(open_storage(source, create=False, read_only=True)) as original, closing(open_storage(target)) as copy:
        if upto is None:
            head = maintain.copy(original, copy, _progress() if sys.stderr.isatty() else None)
        else:
            head = maintain.restore_to(original, copy, upto)
    with _opened(target) as conn:
        result = maintain.check(conn)
    for problem in result.problems:
        click.echo(problem)
    verdict = "checked" if result.ok else "damaged"
    click.echo(f"{shown(name or target)} holds {head:,} transactions, {result.datoms:,} datoms: {verdict}")
    if not result.ok:
        sys.exit(EXIT_DAMAGED)


def _progress() -> Callable[[int, int], Any]:
    return lambda done, whole: click.echo(f"\r{done:,} of {whole:,} transactions", nl=done == whole, err=True)


if __name__ == "__main__":
    main()
