"""The command `factstore mcp`: a store as an MCP server on stdin and stdout.

Other packages add tools by an entry point of the group `factstore.mcp`, which names a module with `READS` and `WRITES`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points, version
from typing import Any, Final, cast

import anyio
from anyio import to_thread
from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    ToolAnnotations,
)
from mcp_types import (
    Tool as Described,
)

from factstore.concurrency.limits import starting_threads
from factstore.connection.connection import Connection, connect
from factstore.errors import FactStoreError, QueryStopped
from factstore.mcp.answers import answer_text
from factstore.mcp.lines import lines, own_stdin
from factstore.mcp.reading import READS
from factstore.mcp.session import Limits, Session
from factstore.mcp.tools import Function, Tool
from factstore.mcp.writing import WRITES
from factstore.values.quoting import quoted

log = logging.getLogger("factstore")

_INSTRUCTIONS: Final = (
    "An immutable fact store with the data model of Datomic: entities, attributes, values, and the whole history. "
    "Call schema first, then query in Datalog. Each reading tool can read the past with `at`. "
    "suppose shows what a transaction would do, without writing anything."
)
_GRACE: Final = 0.5  # seconds after the limit, so that a query can stop itself, with its own sentence


def run(uri: str, *, limits: Limits, allow_writes: bool = False) -> None:
    """Serve a store until stdin ends, the client no longer reads, or Ctrl-C. A write that has begun ends first.

    Args:
        limits: of each answer.
        allow_writes: offer the tools that write, too; otherwise the store is opened for reading.
    """
    with (
        connect(uri, create=False, read_only=not allow_writes, busy_timeout=limits.seconds) as conn,
        own_stdin() as stdin,
    ):
        try:
            anyio.run(_serve, server(conn, limits, allow_writes=allow_writes), stdin)
        except* BrokenPipeError:
            log.info("the client no longer reads")


async def _serve(served: Server[Any], stdin: int) -> None:
    incoming = cast("anyio.AsyncFile[str]", lines(stdin))  # only iterated
    async with stdio_server(incoming) as (read, write):
        await served.run(read, write, served.create_initialization_options())


def tools() -> Iterable[Tool]:
    """Yield the tools of this package and of the installed ones."""
    modules = [entry.load() for entry in entry_points(group="factstore.mcp")]
    reads: list[Function] = [*READS, *(each for module in modules for each in module.READS)]
    writes: list[Function] = [*WRITES, *(each for module in modules for each in module.WRITES)]
    yield from (Tool.of(function, writes=False) for function in reads)
    yield from (Tool.of(function, writes=True) for function in writes)


def server(conn: Connection, limits: Limits, *, allow_writes: bool) -> Server[Any]:
    """Return the MCP server of a connection."""
    known = {tool.name: tool for tool in tools()}
    offered = {name: tool for name, tool in known.items() if allow_writes or not tool.writes}

    def named(name: str) -> Tool:
        if name in offered:
            return offered[name]
        why = "this server was started without --allow-writes" if name in known else f"it has {', '.join(offered)}"
        raise FactStoreError(":db.error/unknown-tool", f"the server has no tool {quoted(name)}: {why}", tool=name)

    async def list_tools(_context: ServerRequestContext[Any], _page: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=list(map(_described, offered.values())))

    async def call_tool(context: ServerRequestContext[Any], call: CallToolRequestParams) -> CallToolResult:
        session = Session(conn, _client(context), limits)
        try:
            text = await called(session, named(call.name), call.arguments or {})
        except FactStoreError as error:
            return _result(str(error), is_error=True)
        except Exception:
            log.exception("the tool %s failed", call.name)
            text = f":db.error/tool-failed: the tool {call.name} failed; the log of the server has the reason"
            return _result(text, is_error=True)
        return _result(text)

    return Server(
        "factstore", version=version("factstore"), instructions=_INSTRUCTIONS,
        on_list_tools=list_tools, on_call_tool=call_tool,
    )  # fmt: skip


async def called(session: Session, tool: Tool, given: Mapping[str, Any]) -> str:
    """Run a tool on a thread. If the call is cancelled, or takes too long, the thread is left to end by itself."""
    arguments = tool.checked(given)

    def call() -> str:
        return answer_text(tool.function(session, **arguments), session)

    # A write is not abandoned: its outcome must be known.
    limit = None if tool.writes else session.limits.seconds + _GRACE
    try:
        with anyio.fail_after(limit), starting_threads():
            return await to_thread.run_sync(call, abandon_on_cancel=not tool.writes)
    except TimeoutError:
        text = f"the tool {tool.name} took more than {session.limits.seconds:g} s"
        raise QueryStopped(":db.error/query-timeout", text, timeout=session.limits.seconds) from None
    finally:
        session.cancel.set()


def _client(context: ServerRequestContext[Any]) -> str:
    """Return the name of the client, by which it signs."""
    client = context.session.client_params
    return "mcp" if client is None else f"mcp {client.client_info.name} {client.client_info.version}".strip()


def _described(tool: Tool) -> Described:
    return Described(
        name=tool.name,
        description=tool.doc,
        input_schema=tool.schema(),
        annotations=ToolAnnotations(
            read_only_hint=not tool.writes, destructive_hint=False, idempotent_hint=True, open_world_hint=False
        ),
    )


def _result(text: str, *, is_error: bool = False) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=is_error)
