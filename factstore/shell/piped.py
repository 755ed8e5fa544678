"""The shell in a pipe: statements from a file or another program, until the first error."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from factstore.editing.mistakes import in_words, remedy_of
from factstore.errors import FactStoreError, StorageError
from factstore.shell.commands import run
from factstore.shell.session import Leave, Session
from factstore.shell.statements import statements


def run_all(session: Session, lines: Iterable[str], complain: Callable[[str], None]) -> bool:
    """Run the statements in lines, in order, and tell whether all succeeded; those after an error do not run.

    Args:
        complain: writes the text of an error.
    Raises: StorageError.
    """
    for line, text in statements(lines):
        try:
            run(session, text)
        except Leave:
            return True
        except StorageError:
            raise
        except FactStoreError as error:
            complain(f"line {line}: {in_words(text, error, remedy=remedy_of(error))}")
            return False
    return True
