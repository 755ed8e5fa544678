"""The command fmt, which lays EDN out for people."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from factstore.cli.commands import EXIT_REFUSED
from factstore.cli.texts import text_of
from factstore.edn.layout import WIDTH, laid_out
from factstore.errors import ReadError


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]…")
@click.option("--check", is_flag=True, help="Write nothing; list the files that would change, and exit with 1.")
@click.option("--width", type=click.IntRange(min=20), default=WIDTH, show_default=True, help="Columns of a line.")
def fmt(files: tuple[str, ...], check: bool, width: int) -> None:
    """Lay out FILEs of EDN: queries, schemas, transactions. Without a FILE, read stdin and write to stdout."""
    if not files:
        click.echo(laid_out(text_of("-"), width=width), nl=False)
        return
    changed = [file for file in files if _is_changed(file, width, writes=not check)]
    for file in changed:
        click.echo(f"{file} would change" if check else f"{file} is laid out")
    if check and changed:
        sys.exit(EXIT_REFUSED)


def _is_changed(file: str, width: int, *, writes: bool) -> bool:
    before = text_of(f"@{file}")
    try:
        after = laid_out(before, width=width)
    except ReadError as error:
        raise ReadError(error.code, f"{file}: {error.message}", **error.data) from error
    if writes and after != before:
        Path(file).write_text(after, encoding="utf-8")
    return after != before
