"""Pages of the API by autodoc, in place of the Markdown pages with the same names, and links from types to these pages."""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
from collections import Counter
from contextlib import suppress
from types import ModuleType
from typing import Any, Final

import docstrings
from docutils import nodes
from generate import ARGUMENTS, TASKS, about, members_of, names_of
from sphinx import addnodes

OURS: Final = ("factstore", "overseer")
_FOLDER: Final = "docs/reference/api/"
_PYTHON: Final = "https://docs.python.org/3/library/"


def public() -> dict[str, str]:
    """Return, for the full name under which a public object is defined, the first name under which it is public."""
    found = {}
    for task, (_, package, _) in TASKS.items():
        module, names = names_of(task)
        for name in names:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isroutine(thing):
                found.setdefault(_full_name(thing, name), f"{package}.{name}")
    return found


def _full_name(thing: Any, name: str) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', name)}"


_PUBLIC: Final = public()


def _links() -> dict[str, str]:
    """Return the pieces of code in docstrings that are links: full names, and classes and members whose short name is unique."""
    short = Counter(name.rpartition(".")[2] for name in _PUBLIC.values())
    links = {name: name for name in _PUBLIC.values()}
    for task, (_, package, _) in TASKS.items():
        module, names = names_of(task)
        for name in (name for name in names if short[name] == 1 and inspect.isclass(getattr(module, name))):
            links[name] = f"{package}.{name}"
            links |= {
                f"{name}.{member}": f"{package}.{name}.{member}"
                for member in members_of(package, getattr(module, name))
            }
    return links


_LINKS: Final = _links()


def import_annotated_types(module: ModuleType) -> None:
    """Import, into a loaded module, the names that its annotations use and only type checkers import.

    A package that is not installed is left out: its types have no link anyway.
    """
    for node in ast.parse(inspect.getsource(module)).body:
        for statement in node.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" else ():
            with suppress(ImportError):
                exec(compile(ast.Module([statement], []), module.__name__, "exec"), vars(module))


def page(task: str) -> str:
    """Return the Markdown of a page that documents the names of a task by autodoc."""
    title, package, _ = TASKS[task]
    module, names = names_of(task)
    blocks = [_directive(f"{package}.{name}", getattr(module, name)) for name in names]
    return f"# API: {title}\n\n```{{eval-rst}}\n" + "\n".join(blocks) + "\n```\n"


def _directive(name: str, thing: Any) -> str:
    if inspect.ismodule(thing):
        return f".. automodule:: {name}\n"
    first = _PUBLIC.get(_full_name(thing, ""), name)
    if first != name:  # a class that two packages export is described once
        return f".. py:class:: {name}\n\n   The same class as :py:class:`{first}`.\n"
    if inspect.isclass(thing):
        members = ", ".join(members_of(name.rpartition(".")[0], thing))
        return f".. autoclass:: {name}\n" + (f"   :members: {members}\n" if members else "")
    return f".. autofunction:: {name}\n" if callable(thing) else f".. autodata:: {name}\n   :no-value:\n"


def _read(_app: Any, docname: str, source: list[str]) -> None:
    if docname.startswith(_FOLDER):
        source[0] = page(docname.removeprefix(_FOLDER))


def _signature(
    _app: Any, what: str, _name: str, thing: Any, _options: Any, args: str | None, returns: str | None
) -> Any:
    """Leave out the constructor of a class that users do not call: its docstring has no arguments."""
    if args is None:
        return None
    if what == "class" and not ARGUMENTS.search(about(thing)):
        return "", None
    return args.replace("<factory>", "..."), returns


def _docstring(_app: Any, what: str, _name: str, thing: Any, _options: Any, lines: list[str]) -> None:
    if what == "data":
        lines[:] = ["::", "", *(f"    {line}" for line in about(thing).splitlines()), ""]
    else:
        lines[:] = docstrings.rst(about(thing) if what == "class" else "\n".join(lines), _LINKS.get)


def _name_types(app: Any, doctree: Any) -> None:
    """Give each type on a page the full name under which it is public. Where an annotation is text, it has only a short name."""
    page = app.env.docname
    if page.startswith(_FOLDER):
        module, names = names_of(page.removeprefix(_FOLDER))
        places = sorted({getattr(getattr(module, name), "__module__", None) or "" for name in names} - {""})
        known = {name: _full_name(thing, name) for place in places for name, thing in vars(sys.modules[place]).items()}
        for node in doctree.findall(addnodes.pending_xref):
            target = known.get(node["reftarget"], node["reftarget"])
            node["reftarget"] = _PUBLIC.get(target, target)


def _resolve(_app: Any, _env: Any, node: Any, contnode: Any) -> Any:
    """Resolve a type in the documentation of Python; a type that is not public, or a type variable, has no link."""
    target = str(node["reftarget"])
    if node.get("refdomain") != "py":
        return None
    if target.partition(".")[0] in OURS:
        return contnode
    address = python_page(target)
    return nodes.reference("", "", contnode, internal=False, refuri=address) if address else None


def python_page(name: str) -> str | None:
    """Return the address of an object of the standard library in the documentation of Python."""
    module = name.rpartition(".")[0]
    if not module and hasattr(builtins, name):
        thing = getattr(builtins, name)
        if inspect.isclass(thing) and issubclass(thing, BaseException):
            return f"{_PYTHON}exceptions.html#{name}"
        return f"{_PYTHON}{'constants' if thing is None else 'stdtypes'}.html#{name}"
    if name == "None":
        return f"{_PYTHON}constants.html#None"
    if module.partition(".")[0] in sys.stdlib_module_names:
        return f"{_PYTHON}{module}.html#{name}"
    return None


def setup(app: Any) -> None:
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] in OURS and hasattr(module, "TYPE_CHECKING"):
            import_annotated_types(module)
    app.connect("source-read", _read)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("doctree-read", _name_types)
    app.connect("missing-reference", _resolve)
