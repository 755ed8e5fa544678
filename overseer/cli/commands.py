"""Shared parts of the commands of the job layer: errors in one line, and handlers by name."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from errno import EPIPE
from io import TextIOWrapper
from pathlib import Path
from types import ModuleType
from typing import Any

import click

import factstore
from factstore import quoted
from overseer.errors import HandlerError
from overseer.worker.pools.signals import interruptible, is_from_signal


class Commands(click.Group):
    """Commands whose errors are shown in one line, without a traceback; the exit code is 1, or 2 for a usage error."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; show an error of the store or the job layer in one line."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(
                    errors="backslashreplace"
                )  # ids may contain characters that the terminal's encoding lacks
        try:
            return super().invoke(ctx)
        except factstore.FactStoreError as error:
            raise click.ClickException(" ".join(error.message.splitlines())) from error
        except OSError as error:
            if error.errno == EPIPE:  # the reader of the output has closed it; click ends quietly
                raise
            raise click.ClickException(
                f"{error.filename}: {error.strerror}" if error.filename else str(error)
            ) from error
        except KeyboardInterrupt:
            click.echo("Error: interrupted", err=True)
            sys.exit(128 + signal.SIGINT)


def load_handlers(name: str) -> Mapping[str, Any]:
    """Import the mapping of handlers named "module:name", also from the current directory.

    Raises: HandlerError(:job.error/bad-handler), also for an exception that the module raises while it is imported.
    """
    module_name, _, attribute = name.partition(":")
    if not attribute or not all(part.isidentifier() for part in module_name.split(".")):
        file = Path(module_name)
        meant = f"; did you mean {file.stem}:{attribute or 'HANDLERS'}?" if file.suffix == ".py" else ""
        raise _bad(f"handlers are given as module:name, got {quoted(name)}{meant}", name)
    import_from_here()
    with interruptible(lambda: None):
        try:
            module = importlib.import_module(module_name)
        except BaseException as error:  # also from the module's own code
            if is_from_signal(error):
                raise
            raise _bad(
                f"the module {module_name} cannot be imported: {type(error).__name__}: {_text(error)}", name
            ) from error
    handlers = getattr(module, attribute, None)
    if not isinstance(handlers, Mapping):
        what = (
            f"{module_name} has no {attribute}{_hint(module, attribute)}"
            if handlers is None
            else f"{name} is {quoted(handlers)}"
        )
        raise _bad(f"expected a mapping from job types to handlers, but {what}", name)
    return handlers


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # from the exception's own code
        return quoted(error)


def _hint(module: ModuleType, attribute: str) -> str:
    mappings = [key for key, value in vars(module).items() if isinstance(value, Mapping) and not key.startswith("__")]
    near = get_close_matches(attribute, mappings, n=1, cutoff=0.4) or mappings[:1]
    return f"; did you mean {near[0]}?" if near else ""


def _bad(why: str, name: str) -> HandlerError:
    return HandlerError(":job.error/bad-handler", why, name=name)


def import_from_here() -> None:
    """Let modules of the current directory be imported."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
