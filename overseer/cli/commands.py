"""Shared parts of the commands of the job layer: errors in one line, and handlers by name."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import factstore
from factstore import quoted
from factstore.cli.commands import EXIT_INTERRUPTED, import_from_here
from factstore.cli.commands import Commands as StoreCommands
from factstore.cli.options import store_option
from overseer.errors import HandlerError
from overseer.worker.pools.signals import interruptible, is_from_signal

__all__ = ["EXIT_INTERRUPTED", "STORE", "Commands", "import_from_here", "load_handlers"]


class Commands(StoreCommands):
    """Commands whose errors are shown in one line, without a traceback; the exit code is 1, or 2 for a usage error."""

    label = "Error"

    def text_of(self, error: factstore.FactStoreError) -> str:
        """Return the sentence of an error."""
        return error.message

    def code_of(self, error: Exception) -> int:
        """Return 1."""
        return 1


STORE = store_option("uri", variables=("OVERSEER_STORE", "FACTSTORE"))


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
    with interruptible():
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
