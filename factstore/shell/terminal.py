"""The shell on a terminal. Only this module knows prompt_toolkit.

Enter runs the text if its brackets are closed, and begins a new line otherwise; Alt-Enter always begins a new line.
Ctrl-C discards the text, or stops the statement that runs; Ctrl-D leaves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout.processors import HighlightMatchingBracketProcessor
from prompt_toolkit.lexers import PygmentsLexer
from prompt_toolkit.styles import Style
from pygments.lexers.jvm import ClojureLexer

from factstore.editing.mistakes import in_words, remedy_of
from factstore.editing.saved import saved
from factstore.editing.words import KnownWords, fitting, typed_word
from factstore.errors import FactStoreError
from factstore.shell.commands import COMMANDS, run
from factstore.shell.session import Leave, Session
from factstore.shell.statements import is_ready

_PAIRS: Final = "[](){}"
_STYLE: Final = Style.from_dict(  # colours of the terminal, so that they fit its background
    {
        "pygments.comment": "ansibrightblack",
        "pygments.literal.number": "ansimagenta",
        "pygments.literal.string": "ansigreen",
        "pygments.literal.string.symbol": "ansicyan",
        "pygments.name.variable": "",
        "matching-bracket": "bold underline",
        "matching-bracket.other": "bold underline",
        "matching-bracket.cursor": "bold underline",
    }
)


def history_path() -> Path:
    """Return the file of the history: that of $FACTSTORE_HISTORY, or one in the folder for states of this account."""
    chosen = os.environ.get("FACTSTORE_HISTORY")
    folder = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(chosen) if chosen else Path(folder) / "factstore" / "history"


def talk(session: Session, name: str, complain: Callable[[str], None], history: Path) -> None:
    """Run statements from the terminal until the person leaves.

    Args:
        name: of the store, in the prompt.
        complain: writes the text of an error.
        history: the file that keeps what was typed; if it cannot be written, nothing is kept.
    """
    prompt = _prompt(session, name, history)
    while True:
        try:
            text = prompt.prompt()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if not text.strip():
            continue
        try:
            run(session, text)
        except Leave:
            return
        except FactStoreError as error:
            complain(in_words(text, error, remedy=remedy_of(error)))
        except KeyboardInterrupt:
            complain("stopped")


def _prompt(session: Session, name: str, history: Path) -> PromptSession[str]:
    def message() -> str:
        view = str(session.view)
        return f"{name} ({view})> " if view else f"{name}> "

    return PromptSession(
        message,
        multiline=True,
        prompt_continuation=lambda width, _line, _wrapped: " " * width,
        completer=Words(session),
        complete_in_thread=True,
        lexer=PygmentsLexer(ClojureLexer),
        input_processors=[HighlightMatchingBracketProcessor(chars=_PAIRS)],
        key_bindings=_keys(),
        style=_STYLE,
        include_default_pygments_style=False,
        history=_kept(history),
    )


def _kept(path: Path) -> History:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        with path.open("ab"):
            return FileHistory(str(path))
    except OSError:
        return InMemoryHistory()


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if is_ready(buffer.text) or not buffer.text.strip():
            buffer.validate_and_handle()
        else:
            buffer.newline()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.newline()

    return keys


class Words(Completer):
    """Completes commands, names of saved queries, attributes, functions and variables."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._words = KnownWords()

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Return the completions of the text before the cursor."""
        before = document.text_before_cursor
        try:
            return list(self._found(before, document.text))
        except FactStoreError:  # of the store: the next statement will tell
            return []

    def _found(self, before: str, text: str) -> Iterable[Completion]:
        if before.startswith(".") and " " not in before:
            named: list[tuple[str, Any]] = [(each.name, each.about) for each in COMMANDS]
            yield from _starting(named, before)
        elif before.startswith(".run ") and before.count(" ") == 1:
            yield from _starting(list(saved(self._session.conn.db()).items()), before.removeprefix(".run "))
        else:
            typed = typed_word(before)
            for word in fitting(self._words.of(self._session.conn.db()), typed, text):
                yield Completion(word.text, -len(typed), display_meta=f"{word.kind}  {word.about}"[:60])


def _starting(named: Iterable[tuple[str, str]], typed: str) -> Iterable[Completion]:
    for name, about in named:
        if name.startswith(typed):
            yield Completion(name, -len(typed), display_meta=" ".join(about.split())[:60])
