"""The command line: one function per command, without logic of its own.

    commands.py    groups, exit codes, -v            reading.py    q, pull, entity, diff, log
    options.py     --store, --as-of, --json          writing.py    transact, migrate, load, revert, excise
    output.py      tables and JSON                   tables.py     export, import, sql
    texts.py       EDN, entities and files           layout.py     fmt
                                                     upkeep.py     stats, check, reindex, gc
                                                     copies.py     backup, restore, dump, undump, replay
    shell.py       shell                             servers.py    transactor, console

To add a command, write the function in the module of its feature and add it to `COMMANDS`.
"""

from __future__ import annotations

from typing import Final

import click

from factstore.cli import copies, layout, reading, servers, shell, tables, upkeep, writing
from factstore.cli.commands import EXIT_DAMAGED, EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_USAGE, Commands

__all__ = [
    "EXIT_DAMAGED",
    "EXIT_INTERRUPTED",
    "EXIT_REFUSED",
    "EXIT_UNAVAILABLE",
    "EXIT_USAGE",
    "main",
]

COMMANDS: Final[tuple[click.Command, ...]] = (
    reading.q,
    reading.pull,
    reading.entity,
    reading.diff,
    reading.log,
    writing.transact,
    writing.migrate,
    writing.load,
    writing.revert,
    writing.excise,
    layout.fmt,
    tables.export,
    tables.import_,
    tables.sql,
    upkeep.stats,
    upkeep.check,
    upkeep.reindex,
    upkeep.gc,
    copies.backup,
    copies.restore,
    copies.dump,
    copies.undump,
    copies.replay,
    servers.transactor,
    servers.console,
    servers.mcp,
    shell.shell,
)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="factstore")
def main() -> None:
    """Query, change, check and back up a fact store."""


for command in COMMANDS:
    main.add_command(command)
