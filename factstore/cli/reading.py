"""The commands that read a store: q, pull, entity, diff, log."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable
from contextlib import nullcontext

import click

import factstore
from factstore import edn
from factstore.cli.commands import EXIT_INTERRUPTED, EXIT_REFUSED, end, import_all
from factstore.cli.options import AS_JSON, AS_OF, IMPORT, STORE, Point, at, opened, opened_at, point_option
from factstore.cli.output import json_text, print_datoms, table, until_unread
from factstore.cli.texts import entity_of, text_of, value_of
from factstore.datom import t_of
from factstore.edn.layout import laid_out


@click.command()
@click.argument("query")
@click.argument("inputs", nargs=-1, metavar="[INPUT]…")
@STORE
@AS_OF
@click.option("--history", "is_history", is_flag=True, help="Query all assertions and retractions up to then.")
@click.option("--timeout", metavar="DURATION", help="Stop the query after this time: 30s.")
@IMPORT
@AS_JSON
def q(
    query: str,
    inputs: tuple[str, ...],
    store: str,
    as_of: Point | None,
    is_history: bool,
    timeout: str | None,
    modules: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run QUERY: Datalog, @FILE, or - for stdin. Each INPUT is EDN; any other text is a string."""
    import_all(modules)
    with opened_at(store, as_of) as db:
        source = db.history() if is_history else db
        values = [value_of(each) for each in inputs]
        found = factstore.rows(text_of(query), source, *values, timeout=timeout)
        table(found.columns, found, as_json=as_json)


def _existing(db: factstore.Database, text: str) -> int:
    """Return the id of the entity that a text names; exit if there is none."""
    eid = db.entid(entity_of(text))
    if eid is None:
        end(f"there is no entity {text}", EXIT_REFUSED)
    return eid


@click.command()
@click.argument("pattern")
@click.argument("entities", nargs=-1, required=True, metavar="ENTITY…")
@STORE
@AS_OF
@AS_JSON
def pull(pattern: str, entities: tuple[str, ...], store: str, as_of: Point | None, as_json: bool) -> None:
    """Show the tree that PATTERN selects for each ENTITY: an id, an ident, [:a/b "x"] or :a/b=x."""
    with opened_at(store, as_of) as db:
        for text in entities:
            found = factstore.pull(db, text_of(pattern), _existing(db, text))
            click.echo(json_text(found) if as_json else laid_out(edn.write(found)), nl=as_json)


@click.command()
@click.argument("entity")
@STORE
@AS_OF
@click.option("--history", "is_history", is_flag=True, help="Show all values that it had, and when.")
@AS_JSON
def entity(entity: str, store: str, as_of: Point | None, is_history: bool, as_json: bool) -> None:
    """Show all facts about ENTITY: an id, an ident, [:a/b "x"] or :a/b=x."""
    with opened_at(store, as_of) as db:
        eid = _existing(db, entity)
        datoms = (db.history() if is_history else db).datoms("eavt", eid)
        rows = [(db.ident(d.a), d.v, t_of(d.tx), d.added, db.instant_of(t_of(d.tx))) for d in datoms]
    if is_history:
        rows.sort(key=lambda row: (row[2], row[3]))
    if not rows and not is_history:
        end(f"the entity {entity} has no facts", EXIT_REFUSED)
    shown = [(a, v, t, when, *(("+" if added else "-",) if is_history else ())) for a, v, t, added, when in rows]
    table(["attribute", "value", "t", "when", *(["change"] if is_history else [])], shown, as_json=as_json)


@click.command()
@STORE
@point_option("--from", "start", help="The first moment; by default, now.")
@point_option("--to", "upto", help="The second moment; by default, now.")
@click.option("--other", metavar="URI", help="Compare with this store, as of the second moment.")
@AS_JSON
def diff(store: str, start: Point | None, upto: Point | None, other: str | None, as_json: bool) -> None:
    """Show the retractions and assertions that lead from one moment of a store to another, or to another store."""
    with opened(store) as conn, opened(other) if other else nullcontext(conn) as second_conn:
        first, second = at(conn, start), at(second_conn, upto)
        found = factstore.diff(first, second)
        rows = [
            ("+" if d.added else "-", d.e, (second if d.added else first).ident(d.a), d.v, t_of(d.tx)) for d in found
        ]
    table(("change", "entity", "attribute", "value", "t"), rows, as_json=as_json)


@click.command()
@STORE
@point_option("--from", "start", help="The first transaction: a t or a moment.")
@point_option("--to", "end", help="The transaction after the last one: a t or a moment.")
@click.option("-n", "last", type=click.IntRange(min=0), help="Only the last transactions of these.")
@click.option("-f", "--follow", is_flag=True, help="Continue with new transactions, of any process, until Ctrl-C.")
@AS_JSON
def log(store: str, start: Point | None, end: Point | None, last: int | None, follow: bool, as_json: bool) -> None:
    """Print transactions, one line per datom; with --json, one line per transaction."""
    if follow and end is not None:
        raise click.UsageError("--follow has no end: give either --follow or --to")
    with opened(store) as conn:
        reached = conn.db()
        if last is not None and start is None and end is None:
            start = max(reached.basis_t + 1 - last, 0)  # transactions are numbered without gaps
        transactions = conn.log().tx_range(start, end)
        for t, data in transactions if last is None else deque(transactions, maxlen=min(last, sys.maxsize)):
            _show(reached, t, data, as_json)
        if follow:
            _follow(conn, reached, as_json)


def _follow(conn: factstore.Connection, reached: factstore.Database, as_json: bool) -> None:
    sys.stdout.flush()
    try:
        with until_unread(conn):
            while True:
                db = conn.wait(reached.basis_t)
                for t, data in conn.log().tx_range(reached.basis_t + 1, db.basis_t + 1):
                    _show(db, t, data, as_json)
                sys.stdout.flush()
                reached = db
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _show(db: factstore.Database, t: int, data: Iterable[factstore.Datom], as_json: bool) -> None:
    if as_json:
        datoms = [[datom.e, db.ident(datom.a), datom.v, datom.added] for datom in data]
        click.echo(json_text({"t": t, "when": db.instant_of(t), "datoms": datoms}))
        return
    click.echo(f"t={t}  {db.instant_of(t)}")
    print_datoms(db, data)
