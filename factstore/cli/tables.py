"""The commands that exchange tables with other programs: export, import, sql."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

import factstore
from factstore import Keyword, edn
from factstore.cli.commands import need
from factstore.cli.options import AS_JSON, AS_OF, STORE, Point, opened_at
from factstore.cli.output import table
from factstore.cli.texts import text_of
from factstore.edn.layout import laid_out
from factstore.errors import StorageError
from factstore.upkeep import imports
from factstore.upkeep.dump_files import os_errors_as_unavailable
from factstore.upkeep.imports.sources import FORMATS as SUFFIXES
from factstore.upkeep.imports.sources import NO_NAMESPACE
from factstore.upkeep.whole_files import replacing
from factstore.upkeep.wide_tables import FORMATS, file_of, namespaces, wide_table

_IMPORTED = [*dict.fromkeys(SUFFIXES.values()), "datascript"]


@click.command()
@click.argument("target")
@STORE
@AS_OF
@click.option("--namespace", help="Only the attributes of this namespace, such as person.")
@click.option("--format", "form", type=click.Choice(list(FORMATS)), help="By default, the suffix of TARGET.")
@click.option(
    "--for-spreadsheets",
    is_flag=True,
    help="In CSV, put an apostrophe before a text that a spreadsheet would run as a formula. Not for `import`.",
)
def export(
    target: str, store: str, as_of: Point | None, namespace: str | None, form: str | None, for_spreadsheets: bool
) -> None:
    """Write the entities of a namespace as a wide table to the file TARGET (- for stdout).

    Without --namespace, TARGET is a folder, which gets one file per namespace. `factstore import` reads all formats.
    """
    suffix = Path(target).suffix.removeprefix(".")
    if namespace is None and (target == "-" or suffix in FORMATS or Path(target).is_file()):
        raise click.UsageError("without --namespace, TARGET is a folder; one file has one namespace")
    form = form or ("csv" if namespace is None else suffix)
    if form not in FORMATS:
        raise click.UsageError(f"the suffix of TARGET is none of {', '.join(FORMATS)}; give --format")
    if for_spreadsheets and form != "csv":
        raise click.UsageError(f"--for-spreadsheets is an option of CSV, and the format is {form}")
    with opened_at(store, as_of) as db:
        if namespace is not None:
            _write(db, namespace, target, form, for_spreadsheets)
            return
        with os_errors_as_unavailable(Path(target)):
            Path(target).mkdir(exist_ok=True)
        for each in namespaces(db):
            _write(db, each, str(Path(target, f"{each or NO_NAMESPACE}.{form}")), form, for_spreadsheets)


def _write(db: factstore.Database, namespace: str, target: str, form: str, for_spreadsheets: bool) -> None:
    found = wide_table(db, namespace)
    content = file_of(found, form, for_spreadsheets=for_spreadsheets)
    if target == "-":
        click.echo(content, nl=False)
        return
    with os_errors_as_unavailable(Path(target)), replacing(Path(target)) as unfinished:
        unfinished.write_bytes(content)
    click.echo(f"{target} holds {len(found.columns['db/id']):,} entities", err=True)


@click.command(name="import")
@click.argument("file")
@STORE
@click.option("--format", "form", type=click.Choice(_IMPORTED), help="By default, the suffix of FILE.")
@click.option("--namespace", help="The namespace of the attributes; by default, the name of the table.")
@click.option(
    "--identity", multiple=True, metavar="COLUMN", help="A column that identifies a row; rows update entities."
)
@click.option(
    "--ref",
    "refs",
    multiple=True,
    metavar="COLUMN=ATTRIBUTE",
    help="The column has values of this unique attribute, and refers to its entities: boss=:person/email.",
)
@click.option("--dry-run", is_flag=True, help="Write nothing; print the guessed schema and the number of rows.")
def import_(
    file: str,
    store: str,
    form: str | None,
    namespace: str | None,
    identity: tuple[str, ...],
    refs: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Import FILE, in a new store if necessary: CSV, NDJSON, Parquet, SQLite, EDN, or a printed database of DataScript.

    EDN is a map for each entity, as `export` writes it; `load` commits transaction data. Attributes that the store
    lacks are declared with the types of their values.
    """
    options = imports.Options(form, namespace, identity, dict(map(_ref_of, refs)))
    with _existing_or_empty(store) as conn:
        planned = imports.plan(conn.db(), Path(file), options)
    if dry_run:
        click.echo(laid_out(edn.write([_edn_map(each) for each in planned.schema])), nl=False)
        for line in _lines_of(planned):
            click.echo(f";; {line}")
        return
    with factstore.connect(store) as conn:
        done = imports.carry_out(conn, planned)
    for step in planned.steps:
        if step.ignored:
            click.echo(f"{step.name}: {_left_out(step)}", err=True)
    click.echo(f"{done.rows:,} rows, {done.datoms:,} datoms")


def _edn_map(form: dict[str, Any]) -> dict[Keyword, Any]:
    return {Keyword(key): value for key, value in form.items()}


def _existing_or_empty(store: str) -> factstore.Connection:
    """Open a store for reading, or an empty one in memory if it does not exist: a wrong file creates none."""
    try:
        return factstore.connect(store, create=False, read_only=True)
    except StorageError as error:
        if error.code != ":db.error/not-a-store" or Path(store.removeprefix("lmdb:")).exists():
            raise
        return factstore.connect("memory:")


def _ref_of(text: str) -> tuple[str, str]:
    column, equals, attribute = text.partition("=")
    if not equals:
        raise click.UsageError(f"--ref is COLUMN=ATTRIBUTE, such as boss=:person/email, got {text!r}")
    return column, attribute


def _lines_of(planned: imports.Plan) -> Iterator[str]:
    for step in planned.steps:
        ignored = f"; {_left_out(step)}" if step.ignored else ""
        yield f"{step.name}: {step.size:,} rows{ignored}" if step.size else step.name
    if planned.forms:
        yield f"{len({form[1] for form in planned.forms}):,} entities, {len(planned.forms):,} datoms"


def _left_out(step: imports.Step) -> str:
    remedy = ", because entities get new ids; `dump` and `undump` keep the ids" if "db/id" in step.ignored else ""
    return f"not imported: {', '.join(step.ignored)}{remedy}"


@click.command()
@click.argument("query", required=False)
@STORE
@AS_OF
@AS_JSON
def sql(query: str | None, store: str, as_of: Point | None, as_json: bool) -> None:
    """Run QUERY in SQL (DuckDB): each namespace is a view, with the columns db_id and its attributes.

    QUERY may be @FILE, or - for stdin. Without a QUERY, list the views. Nothing is written to the store.
    """
    try:
        from factstore.upkeep.sql_views import run, views
    except ImportError as error:
        need("sql", error)
    with opened_at(store, as_of) as db:
        if query is None:
            table(("view", "column", "type"), views(db), as_json=as_json)
            return
        names, rows = run(db, text_of(query))
        table(names, rows, as_json=as_json)
