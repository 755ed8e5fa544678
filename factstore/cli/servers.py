"""The commands that serve: the transactor and the console until Ctrl-C, MCP until stdin ends."""

from __future__ import annotations

import os
import sys

import click

from factstore.cli.commands import import_all, need
from factstore.cli.options import IMPORT
from factstore.errors import DatabaseError
from factstore.values.moments import duration


@click.command()
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
    import_all(modules)
    host, port = _host_and_port(listen)
    if address is not None:
        _host_and_port(address)
    service.run(uri, service.Options(host=host, port=port, address=address), _told)


@click.command()
@click.argument("store", metavar="URI", envvar="FACTSTORE")
@click.option("--read-only", is_flag=True, help="Open the store for reading; no page can write.")
@click.option("--hide", multiple=True, metavar="ATTRIBUTE", help="Do not show the facts of this attribute.")
@click.option("--listen", default="127.0.0.1:0", show_default=True, metavar="HOST:PORT", help="Port 0: a free one.")
@click.option("--host-name", "hosts", multiple=True, metavar="NAME", help="Another name under which browsers reach it.")
@click.option("--token-file", metavar="PATH", help="A token that programs send; needed for other hosts than loopback.")
@click.option("--backup", "backups", multiple=True, metavar="URI", help="A backup, or any store, to compare with.")
@click.option("--name", help="Your name, which its transactions state; by default that of your account.")
def console(
    store: str,
    read_only: bool,
    hide: tuple[str, ...],
    listen: str,
    hosts: tuple[str, ...],
    token_file: str | None,
    backups: tuple[str, ...],
    name: str | None,
) -> None:
    """Open the console of the store URI: print a link that works once, and serve it until Ctrl-C."""
    try:
        from factstore.console import server
    except ImportError as error:
        need("console", error)
    host, port = _host_and_port(listen)
    options = server.Options(host, port, token_file, name, read_only, hide, hosts, backups)
    server.run(store, options, _link)


def _seconds(_ctx: click.Context, _param: click.Parameter, text: str) -> float:
    try:
        return duration(text).total_seconds()
    except DatabaseError as error:
        raise click.BadParameter(error.message) from None


@click.command()
@click.argument("store", metavar="URI", envvar="FACTSTORE")
@click.option("--allow-writes", is_flag=True, help="Offer the tools that write, too; never one that erases.")
@click.option("--max-rows", type=click.IntRange(min=1), default=1000, show_default=True, help="Of a list in an answer.")
@click.option("--max-bytes", type=click.IntRange(min=1000), default=100_000, show_default=True, help="Of an answer.")
@click.option("--timeout", default="10s", show_default=True, callback=_seconds, help="Of an answer, such as 30s or 1m.")
@IMPORT
def mcp(
    store: str, allow_writes: bool, max_rows: int, max_bytes: int, timeout: float, modules: tuple[str, ...]
) -> None:
    """Serve the store URI to a client of the Model Context Protocol, on stdin and stdout."""
    try:
        from factstore.mcp import Limits, server
    except ImportError as error:
        need("mcp", error)
    import_all(modules)
    server.run(store, limits=Limits(max_rows, max_bytes, timeout), allow_writes=allow_writes)


def _link(link: str) -> None:
    click.echo(link)
    sys.stdout.flush()


def _told(sentence: str) -> None:
    click.echo(f"transactor {os.getpid()} {sentence}")
    sys.stdout.flush()


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal() and len(port) < 6 and int(port) < 1 << 16) or not host:
        raise click.UsageError(f"expected HOST:PORT, got {text!r}")
    return host.strip("[]"), int(port)
