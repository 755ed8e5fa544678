"""The commands that change a store: transact, migrate, load; revert and excise, which undo."""

from __future__ import annotations

import json
import sys
from os.path import isfile

import click

import factstore
from factstore.cli.commands import EXIT_REFUSED, EXIT_UNAVAILABLE, end, import_all
from factstore.cli.options import AS_JSON, IMPORT, STORE, Point, opened, point_option
from factstore.cli.output import json_text, print_datoms, progress
from factstore.cli.texts import entity_of, text_of
from factstore.transact.forms import read_forms


@click.command()
@STORE
@click.argument("folder")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Commit nothing; print the datoms of each, up to the first migration that fails, and the reasons.",
)
@IMPORT
@AS_JSON
def migrate(store: str, folder: str, dry_run: bool, modules: tuple[str, ...], as_json: bool) -> None:
    """Apply the migrations of FOLDER, one per EDN file, in order of name, that the store lacks."""
    import_all(modules)
    with opened(store, read_only=dry_run) as conn:
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
            print_datoms(report.db, datoms)
    if report.failed is not None:
        click.echo(f"{report.failed}  would be refused")
        for problem in report.problems:
            click.echo(f"  {problem['code']}: {problem['message']}")
    click.echo(
        f"{len(report.applied)} {'to apply' if report.dry_run else 'applied'}, {len(report.already)} applied before"
    )


@click.command()
@click.argument("path", metavar="FILE")
@STORE
@IMPORT
def load(path: str, store: str, modules: tuple[str, ...]) -> None:
    """Commit the transactions of an EDN file (one, a vector of them, or several), in a new store if necessary."""
    import_all(modules)
    if not isfile(path):  # noqa: PTH113 -- `Path.is_file` raises for a name that is too long
        end(f"{path} is no file", EXIT_UNAVAILABLE)
    with factstore.connect(store) as conn:
        committed = factstore.transact_file(conn, path, progress=progress())
    click.echo(f"{committed.transactions:,} transactions, {committed.datoms:,} datoms")


@click.command()
@click.argument("forms", metavar="TX-DATA")
@STORE
@click.option("--try", "is_trial", is_flag=True, help="Commit nothing; show what would be committed.")
@click.option("--key", help="Idempotency key: a transaction with this key is committed once.")
@click.option("--why", help="The reason: the :db/doc of the transaction.")
@IMPORT
@AS_JSON
def transact(
    forms: str, store: str, is_trial: bool, key: str | None, why: str | None, modules: tuple[str, ...], as_json: bool
) -> None:
    """Commit a transaction of a store that exists: TX-DATA is EDN, @FILE, or - for stdin."""
    import_all(modules)
    data = [*read_forms(text_of(forms)), *_about(doc=why)]
    with opened(store, read_only=is_trial) as conn:
        report = factstore.with_(conn.db(), [*data, *_about(key=key)]) if is_trial else conn.transact(data, key=key)
    if as_json:
        tempids = {str(name): eid for name, eid in report.tempids.items()}
        click.echo(
            json_text({"t": report.t, "tempids": tempids, "datoms": [_named(report, d) for d in report.tx_data]})
        )
        return
    click.echo(f"{'would be ' if is_trial else ''}t={report.t}, {len(report.tx_data)} datoms")
    print_datoms(report.db_after, report.tx_data)


def _about(*, doc: str | None = None, key: str | None = None) -> list[dict[str, str]]:
    """Return the form of the facts about the transaction itself, if there are any."""
    facts = {name: value for name, value in ((":db/doc", doc), (":db.tx/key", key)) if value is not None}
    return [{":db/id": "datomic.tx", **facts}] if facts else []


def _named(report: factstore.TxReport, datom: factstore.Datom) -> list[object]:
    return [datom.e, report.db_after.ident(datom.a), datom.v, datom.added]


@click.command()
@click.argument("t", type=int)
@STORE
@click.option("--try", "is_trial", is_flag=True, help="Commit nothing; show what would be committed.")
@click.option("--why", help="The reason: it follows `reverts t=T` in the :db/doc of the new transaction.")
def revert(t: int, store: str, is_trial: bool, why: str | None) -> None:
    """Undo the transaction T of facts by a new one. It is rejected if one of the facts has changed since.

    The :db/doc of the new transaction is `reverts t=T`.
    """
    with opened(store, read_only=is_trial) as conn:
        db = conn.db()
        forms = factstore.revert(db, t)
        if not forms:
            end(f"transaction {t} has no facts to revert", EXIT_REFUSED)
        data = [*forms, *_about(doc=f"reverts t={db.t_at(t)}{'' if why is None else f': {why}'}")]
        report = factstore.with_(db, data) if is_trial else conn.transact(data, if_unchanged_since=db.basis_t)
    click.echo(f"t={t} {'would be' if is_trial else 'is'} reverted by t={report.t}, {len(report.tx_data)} datoms")
    print_datoms(report.db_after, report.tx_data)


@click.command()
@click.argument("target", metavar="ENTITY|ATTRIBUTE")
@STORE
@point_option("--before", "before", help="Erase only facts asserted before this moment.")
@click.option("--dry-run", is_flag=True, help="Erase nothing; only count.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def excise(target: str, store: str, before: Point | None, dry_run: bool, yes: bool) -> None:
    """Erase an entity, or all values of an attribute, from all history; the number of datoms is shown first."""
    with opened(store, read_only=dry_run) as conn:
        entity = entity_of(target)
        doomed = conn.excise(entity, before=before, dry_run=True)
        click.echo(f"{doomed.datoms:,} datoms of {doomed.transactions:,} transactions would be erased")
        if dry_run:
            return
        if not yes:
            if not sys.stdin.isatty():
                end("nothing was erased; give --yes to erase them", EXIT_REFUSED)
            click.confirm("Erase them? They cannot be restored from this store", abort=True)
        erased = conn.excise(entity, before=before)
    click.echo(f"t={erased.t} {erased.datoms:,} datoms are erased")
