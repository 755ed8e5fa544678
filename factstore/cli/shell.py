"""The shell."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from io import TextIOWrapper
from typing import Any

import click

from factstore.cli.commands import EXIT_REFUSED, EXIT_USAGE, end, import_all, need
from factstore.cli.options import AS_JSON, IMPORT, opened
from factstore.cli.output import table
from factstore.shell.session import SHOWN, Session
from factstore.storage import shown


@click.command()
@click.argument("store", metavar="URI", envvar="FACTSTORE")
@click.option("--read-only", is_flag=True, help="Open the store for reading; nothing can be committed.")
@IMPORT
@AS_JSON
def shell(store: str, read_only: bool, modules: tuple[str, ...], as_json: bool) -> None:
    """Type queries and transactions on the store URI; from a pipe, run statements until the first error."""
    import_all(modules)
    is_terminal = sys.stdin.isatty()
    with opened(store, read_only=read_only) as conn:
        session = Session(conn, Printed(as_json), most=SHOWN if is_terminal else None)
        if not is_terminal:
            from factstore.shell.piped import run_all

            if isinstance(sys.stdin, TextIOWrapper):
                sys.stdin.reconfigure(encoding="utf-8", errors="strict")  # some locales would let anything through
            try:
                succeeded = run_all(session, sys.stdin, _complain)
            except UnicodeDecodeError as error:
                end(f"the input is not text in UTF-8: {error}", EXIT_USAGE)
            sys.exit(0 if succeeded else EXIT_REFUSED)
        try:
            from factstore.shell.terminal import history_path, talk
        except ImportError as error:
            need("cli", error)
        click.echo("Datalog and transactions; .help lists the commands, Ctrl-D leaves.")
        talk(session, shown(store).rpartition("/")[2], _complain, history_path())


def _complain(text: str) -> None:
    click.echo(text, err=True)


class Printed:
    """The output of a session on stdout; notes are on stderr unless a person reads them."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._notes_apart = as_json or not sys.stdout.isatty()

    def table(self, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write a table."""
        table(header, rows, as_json=self._as_json)

    def line(self, text: str) -> None:
        """Write lines of text."""
        click.echo(text)

    def note(self, text: str) -> None:
        """Write a line about the statement."""
        click.echo(text, err=self._notes_apart)
