"""The command `factstore console`: one store, one console, one link.

Other packages add their pages by an entry point of the group `factstore.console`, which names an `Extension`.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, NamedTuple

import uvicorn

from factstore.concurrency.limits import explained
from factstore.connection.connection import Connection, connect
from factstore.console.application import console
from factstore.console.page import Extension
from factstore.console.security import LOOPBACK
from factstore.console.sign_in import OneTimeLink
from factstore.errors import StorageError, Unavailable
from factstore.storage import shown

_SECONDS_TO_END: Final = 2  # for open pages, when the server is stopped
_SHORTEST_TOKEN: Final = 16  # characters


class Options(NamedTuple):
    """The options of the command."""

    host: str = "127.0.0.1"
    port: int = 0  # 0: a free one
    token_file: str | None = None
    name: str | None = None
    read_only: bool = False
    hide: Sequence[str] = ()
    hosts: Sequence[str] = ()
    backups: Sequence[str] = ()  # addresses of stores to compare with


def run(uri: str, options: Options, tell: Callable[[str], None]) -> None:
    """Serve the console of a store until the process is interrupted.

    Args:
        tell: called with the link, when the server accepts requests.
    Raises: StorageError(:db.error/not-loopback) for a host that other machines reach, without a token file.
    """
    bearer = None if options.token_file is None else _token_in(options.token_file)
    if options.host not in ("127.0.0.1", "::1", "localhost") and bearer is None:
        message = f"{options.host} can be reached from other machines; give --token-file, too"
        raise StorageError(":db.error/not-loopback", message, host=options.host)
    link = OneTimeLink(name=options.name, bearer=bearer)
    with (
        connect(uri, create=False, read_only=options.read_only) as conn,
        _opened(options.backups) as backups,
        closing(_bound(options)) as bound,
    ):
        app = console(
            conn,
            authorize=link,
            read_only=options.read_only,
            hosts=(*LOOPBACK, *options.hosts),
            hide=options.hide,
            extensions=tuple(installed()),
            backups=backups,
        )
        host = f"[{options.host}]" if ":" in options.host else options.host
        tell(f"http://{host}:{bound.getsockname()[1]}/?token={link.token}")
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, lifespan="off",
            timeout_graceful_shutdown=_SECONDS_TO_END,
        )  # fmt: skip
        _Server(config, app.state.end).run(sockets=[bound])


class _Server(uvicorn.Server):
    """A server that ends its live pages and queries when it ends."""

    def __init__(self, config: uvicorn.Config, end_requests: Callable[[], None]) -> None:
        super().__init__(config)
        self._end_requests = end_requests

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more requests, and wait for those that run."""
        self._end_requests()
        logging.getLogger("uvicorn.error").disabled = True  # what still runs then is cancelled, which is no error
        await super().shutdown(sockets)


def installed() -> Iterator[Extension]:
    """Yield the extensions of the installed packages."""
    for entry in entry_points(group="factstore.console"):
        yield entry.load()


@contextmanager
def _opened(uris: Sequence[str]) -> Iterator[dict[str, Connection]]:
    """Open stores for reading, by their file names; stores with the same file name, by their whole addresses."""
    short = [shown(uri).rpartition("/")[2] for uri in uris]
    names = [name if short.count(name) == 1 else shown(uri) for name, uri in zip(short, uris, strict=True)]
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(connect(uri, create=False, read_only=True))
            for name, uri in zip(names, uris, strict=True)
        }


def _bound(options: Options) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        bound = socket.socket(family)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((options.host, options.port))
        bound.listen(128)
    except OSError as error:
        message = f"cannot listen at {options.host}:{options.port}: {explained(str(error.strerror))}"
        raise Unavailable(":db.error/storage-unavailable", message, host=options.host, port=options.port) from error
    return bound


def _token_in(path: str) -> str:
    token = Path(path).read_text(encoding="utf-8").strip()
    if len(token) < _SHORTEST_TOKEN:
        message = f"{path} must hold a token of at least {_SHORTEST_TOKEN} characters"
        raise StorageError(":db.error/invalid-option", message, option="token_file", got=len(token))
    return token
