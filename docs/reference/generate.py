"""Write the pages of docs/reference from the source; with --check, only say which are stale.

errors.md: an error is a call whose first argument is a code such as ":db.error/cas-failed"; its sentence is the second argument.
api.md: what `__all__` lists, with its signature as it stands in the source. cli.md: the commands as click knows them.
functions.md: the functions of queries, as functions.edn lists them, with what their examples give.
settings.md: the fields of `overseer.Config`, which is what files are checked against.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGES = ("factstore", "overseer")
MADE = "Made by `make docs` from the source; do not edit.\n"


class Row(NamedTuple):
    """One place in the source that raises an error."""

    code: str
    kind: str
    sentence: str


def errors() -> str:
    from factstore.errors import CATEGORIES

    found: dict[str, set[Row]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for row in _rows(path):
                found.setdefault(row.code, set()).add(row)
    text = [
        f"# Errors\n\n{MADE}\n",
        "Every error has a `code` that never changes its meaning, a `category` that says what a caller can do about it, a sentence,\n",
        "and `data` with everything the sentence names. What raised one changed nothing; only `UnknownOutcome` leaves that open,\n",
        "and its `txid` answers it. `…` stands for what differs from case to case; what is put together elsewhere is not shown.\n",
    ]
    for family, title in ((":db.error/", "Of the store"), (":job.error/", "Of jobs")):
        text.append(f"\n## {title}\n\n| code | error | category | says |\n| --- | --- | --- | --- |\n")
        for code in sorted(code for code in found if code.startswith(family)):
            kinds = " ".join(sorted({f"`{row.kind}`" for row in found[code] if row.kind}))
            says = "<br>".join(sorted({row.sentence for row in found[code] if row.sentence}))
            text.append(f"| `{code}` | {kinds} | {CATEGORIES.get(code, 'incorrect')} | {_cell(says)} |\n")
    return "".join(text)


def _rows(path: Path) -> Iterator[Row]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and node.args and _text(node.args[0]).startswith((":db.error/", ":job.error/")):
            name = ast.unparse(node.func).rpartition(".")[2]
            yield Row(_text(node.args[0]), name if name[0].isupper() else "", _text(node.args[1]) if len(node.args) > 1 else "")


def _text(node: ast.expr) -> str:
    """The words of a string or f-string, with an ellipsis for each hole; nothing for other expressions."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "…" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("[", "\\[").split())


def functions() -> str:
    from factstore import edn

    text = [f"# Functions of queries\n\n{MADE}", FUNCTIONS_BEFORE]
    for entry in edn.read((HERE / "functions.edn").read_text(encoding="utf-8")):
        if isinstance(entry, str):
            text.append(f"\n## {entry}\n\n| function | arguments | example | gives |\n| --- | --- | --- | --- |\n")
            continue
        name, arguments, *calls = entry
        example = next((call[":here"] if isinstance(call, dict) else call for call in calls), None)
        shown = "" if example is None else f"`{_code(edn.write(example))}`"
        text.append(f"| `{_code(name)}` | {arguments} | {shown} | {'' if example is None else f'`{_code(_given(example))}`'} |\n")
    text.append(FUNCTIONS_AFTER)
    return "".join(text)


def _given(call: Any) -> str:
    from factstore import edn, q
    from factstore.clojure.printing import written

    found = q(f"[:find ?r . :where [{edn.write(call)} ?r]]")
    return repr(found) if isinstance(found, re.Pattern) else written(found)


def _code(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "\\n")


FUNCTIONS_BEFORE = """
What a clause `[(function arguments) binding]`, an `:xform` of one value and, by its full name, an aggregate may call: functions of
Clojure, by name and meaning. `clojure.core/count` is `count`. Datomic was asked the examples too; where it answers otherwise,
[datomic.md](datomic.md) gives the reason. A vector or a sequence is a tuple here, a map a dict, a set a frozenset. `nil` as a result drops
the row. A function that refuses its arguments fails the query: `:db.error/function-failed`.

Functions that read a database: `get-else`, `get-some`, `missing?`, `fulltext`, and `q` (`datomic.api/q`); the log: `tx-ids`, `tx-data`.
A keyword is called as a function, `[(:a ?map) ?value]`. A function of Python is called by the name under which `factstore.register`
knows it, or comes as an input: `[(?f ?x) ?y]`.
"""
FUNCTIONS_AFTER = """
## Left out

Of `clojure.core`: every function that takes a function (`map`, `filter`, `reduce`, `apply`, `some`, `sort-by`, `group-by`, `update`, …):
use clauses, or a function of Python. `seq?` and `list?`, because a list and a vector are one thing here; `char`, `char?` and `int` of a
character, because a character is a string of one; ratios; `random-uuid`, `shuffle` and `rand-nth`; state, evaluation, classes, and input
and output. Of `clojure.string` only the functions that take a function are left out.

A regular expression is written as text, `(re-find "a+" ?s)`, or comes as an input. In `replace` and `replace-first` a text stands for
itself; an input made by `re.compile` is a pattern.
"""


def api() -> str:
    text = [f"# API\n\n{MADE}"]
    for package in PACKAGES:
        module = importlib.import_module(package)
        text.append(f"\n## {package}\n")
        for name in module.__all__:
            text.append(_entry(package, name, getattr(module, name)))
    return "".join(text)


def _entry(package: str, name: str, thing: Any) -> str:
    doc = f"```text\n{inspect.getdoc(thing) or ''}\n```\n"
    if inspect.ismodule(thing):
        return f"\n### `{package}.{name}`\n\n{doc}"
    node = _node(thing)
    if isinstance(node, ast.ClassDef):
        rows = ["| `{}` | {} |\n".format(_signature(x).replace("|", "\\|"), _cell(_first_line(x))) for x in _public(node)]
        table = "".join(["\n| | |\n| --- | --- |\n", *rows]) if rows else ""
        return f"\n### `{package}.{name}`\n\n{doc}{table}"
    return f"\n### `{package}.{_signature(node)}`\n\n{doc}"


def _node(thing: Any) -> Any:
    return ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]


def _public(node: ast.ClassDef) -> list[ast.FunctionDef]:
    return [x for x in node.body if isinstance(x, ast.FunctionDef) and not x.name.startswith("_")]


def _signature(node: ast.FunctionDef) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    if any(ast.unparse(decorator) == "property" for decorator in node.decorator_list):
        return f"{node.name}{returns}"
    given = ast.unparse(node.args).removeprefix("self, ").removeprefix("cls, ")
    return f"{node.name}({'' if given in ('self', 'cls') else given}){returns}"


def _first_line(node: ast.FunctionDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


def cli() -> str:
    import click

    text = [f"# Command line\n\n{MADE}"]
    for package in PACKAGES:
        if (ROOT / package / "cli.py").exists():
            main = importlib.import_module(f"{package}.cli").main
            text.append(f"\n## {package}\n\n{inspect.cleandoc(main.help or '')}\n")
            for name, command in sorted(main.commands.items()):
                arguments = " ".join(p.name.upper() for p in command.params if isinstance(p, click.Argument) and p.nargs == 1)
                text.append(f"\n### `{' '.join(filter(None, (package, name, arguments)))}`\n\n{inspect.cleandoc(command.help or '')}\n")
                options = [p for p in command.params if isinstance(p, click.Option)]
                if options:
                    text.append("\n| option | |\n| --- | --- |\n")
                    text += [f"| `{', '.join(sorted(p.opts, key=len, reverse=True))}` | {_cell(p.help or '')} |\n" for p in options]
    return "".join(text)


def settings() -> str:
    from dataclasses import MISSING, fields
    from typing import get_type_hints

    from overseer.configuration import WITHOUT_EFFECT, kind_in_words
    from overseer.worker.config import Config

    means = dict(re.findall(r"^    (\w+): (.*(?:\n {8,}.*)*)", inspect.getdoc(Config) or "", re.MULTILINE))
    kinds = get_type_hints(Config)
    text = [
        f"# Settings of a worker\n\n{MADE}\n",
        "As keywords of `overseer.Config`, with underscores; in a TOML or YAML file with hyphens or underscores. The words before a\n",
        "hyphen may be a section: `heartbeat-sleep-time` is `sleep-time` in the section `heartbeat`. Times are in milliseconds.\n\n",
        "| setting | is | unless said | |\n| --- | --- | --- | --- |\n",
    ]
    for field in fields(Config):
        default = f"`{field.default!r}`" if isinstance(field.default, str | int | float) and field.default != "" else ""
        if field.default_factory is not MISSING:
            default = ""
        name = field.name.replace("_", "-")
        text.append(f"| `{name}` | {kind_in_words(kinds[field.name])} | {default} | {_cell(means.get(field.name, ''))} |\n")
    names = ", ".join(f"`{name.replace('_', '-')}`" for name in WITHOUT_EFFECT)
    text.append(
        f"\nSettings of Overseer that are read and have no effect: {names}. `datomic: uri:` and `store: config: uri:` are `store`.\n"
    )
    return "".join(text)


PAGES: dict[str, Callable[[], str]] = {
    "api.md": api,
    "cli.md": cli,
    "errors.md": errors,
    "functions.md": functions,
    "settings.md": settings,
}


def main() -> int:
    sys.path.insert(0, str(ROOT))
    fresh = {HERE / name: page() for name, page in PAGES.items()}
    stale = [path for path, text in fresh.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is stale: run make docs")
        return 1 if stale else 0
    for path in stale:
        path.write_text(fresh[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
