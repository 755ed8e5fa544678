"""Groups of commands: every error is one line on stderr and an exit code, never a traceback.

    1   the command was rejected        3   the store or a file is unavailable      130   Ctrl-C
    2   wrong usage                     4   the store is damaged

With -v, which every command has, the log and the traceback of an error are also written to stderr.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from errno import EPIPE
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from threading import Event, current_thread, main_thread
from types import FrameType
from typing import Any, ClassVar, Final, NoReturn

import click

from factstore.concurrency.limits import explained
from factstore.editing.mistakes import remedy_of
from factstore.errors import Corrupt, FactStoreError, StorageError
from factstore.storage import fill_standard_streams
from factstore.values.quoting import text_of

EXIT_REFUSED, EXIT_USAGE, EXIT_UNAVAILABLE, EXIT_DAMAGED = 1, 2, 3, 4
EXIT_INTERRUPTED = 130  # the convention of shells: 128 + the number of SIGINT
_VERBOSE: Final = "factstore.cli.verbose"


class Commands(click.Group):
    """A group of commands with the errors and the option -v of this module."""

    label: ClassVar[str] = "factstore"  # how a line on stderr begins

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command, and give it -v unless it has an option of that name."""
        if not any("-v" in param.opts for param in cmd.params):
            cmd.params.append(_verbose_option())
        super().add_command(cmd, name)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        _open_closed_streams()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                # Paths and values may contain characters that the terminal's encoding lacks.
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except FactStoreError as error:
            self._fail(ctx, self.text_of(error) + self._remedy(ctx, error), self.code_of(error))
        except OSError as error:
            if error.errno == EPIPE:  # the reader of the output has closed the pipe; click ends without a message
                raise
            text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            self._fail(ctx, explained(text), self.code_of(error))
        except KeyboardInterrupt:
            self._fail(ctx, "interrupted", EXIT_INTERRUPTED)

    def text_of(self, error: FactStoreError) -> str:
        """Return the text of an error of the store."""
        return str(error)

    def _remedy(self, ctx: click.Context, error: FactStoreError) -> str:
        """Return how the command that failed gets functions, if the error is about one that nothing has registered."""
        command = self.commands.get(ctx.invoked_subcommand or "")
        takes_modules = command is not None and any("--import" in param.opts for param in command.params)
        return remedy_of(error) if takes_modules else ""

    def code_of(self, error: Exception) -> int:
        """Return the exit code of an error of the store, or of a file."""
        if isinstance(error, FactStoreError) and not isinstance(error, StorageError):
            return EXIT_REFUSED
        return EXIT_DAMAGED if isinstance(error, Corrupt) else EXIT_UNAVAILABLE

    def _fail(self, ctx: click.Context, why: str, code: int) -> NoReturn:
        if ctx.meta.get(_VERBOSE):
            traceback.print_exc()
        end(why, code, label=self.label)


def _verbose_option() -> click.Option:
    return click.Option(
        ["-v", "--verbose"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_set_verbose,
        help="Write the log, and the traceback of an error, to stderr.",
    )


def _set_verbose(ctx: click.Context, _param: click.Parameter, is_verbose: bool) -> None:
    if is_verbose:
        ctx.meta[_VERBOSE] = True
        logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def _open_closed_streams() -> None:
    """Let a stream that the caller has closed (`>&-`) be empty."""
    fill_standard_streams()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def end(why: str, code: int, *, label: str = Commands.label) -> NoReturn:
    """Exit with a line on stderr."""
    click.echo(f"{label}: {' '.join(why.splitlines())}", err=True)
    sys.exit(code)


def need(extra: str, error: ImportError) -> NoReturn:
    """Exit because a command needs a library that an extra installs."""
    end(f"this command needs {error.name}: install factstore[{extra}]", EXIT_USAGE)


def import_all(modules: Iterable[str]) -> None:
    """Import modules, also of the current directory.

    An exception in their code, even `SystemExit`, is an error of the command line.
    """
    for module in modules:
        import_from_here()
        interrupted = Event()
        try:
            with _noting_interrupts(interrupted):
                import_module(module)
        except BaseException as error:
            if interrupted.is_set():
                raise
            end(f"the module {module!r} cannot be imported: {type(error).__name__}: {text_of(error)}", EXIT_USAGE)


def import_from_here() -> None:
    """Let modules of the current directory be imported."""
    try:
        here = str(Path.cwd())
    except FileNotFoundError:  # it was deleted
        return
    if here not in sys.path:
        sys.path.insert(0, here)


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
    try:
        signal.signal(signal.SIGINT, interrupt)
        yield
    finally:
        signal.signal(signal.SIGINT, before)
