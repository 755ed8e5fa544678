"""`manage.py overseer COMMAND …`: the command line `overseer`, with the store of TASKS; `worker` runs tasks."""

from __future__ import annotations

from argparse import REMAINDER
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError

from overseer.cli import main
from overseer.contrib.django.backend import Backend
from overseer.contrib.django.tasks import task_backends

_HANDLERS: Final = "overseer.contrib.django.handler:HANDLERS"


class Command(BaseCommand):  # type: ignore[misc] # Django has no types
    """Runs a command of `overseer`."""

    help = "Work on tasks, or inspect and control their jobs: worker, status, jobs, explain, retry, abort, …"

    def add_arguments(self, parser: Any) -> None:
        """Declare the arguments: all that follow the first one are those of `overseer`."""
        parser.add_argument("--backend", default="default", help="The name of the back end in TASKS.")
        parser.add_argument("arguments", nargs=REMAINDER, metavar="COMMAND …", help="As for the command overseer.")

    def handle(self, *, backend: str, arguments: list[str], **_options: Any) -> None:
        """Run the command; it exits as `overseer` does."""
        used = task_backends[backend]
        if not isinstance(used, Backend):
            raise CommandError(f'TASKS["{backend}"] is not overseer.contrib.django.Backend')
        main.main(_with_store(arguments, used.store), prog_name="manage.py overseer")


def _with_store(arguments: list[str], store: str) -> list[str]:
    """Return the arguments of `overseer` with the store, and for `worker` with the handlers of tasks."""
    name, rest = (arguments or ["--help"])[0], arguments[1:]
    command = main.commands.get(name)
    if command is None or not any("--store" in parameter.opts for parameter in command.params):
        return [name, *rest]
    return [name, *([_HANDLERS] if name == "worker" else []), "--store", store, *rest]
