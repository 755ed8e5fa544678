"""What is public is listed, documented, and named after nothing else."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

import factstore
import overseer
from tests.architecture.source import ROOT

PACKAGES = [factstore, overseer]
API = sorted((ROOT / "docs/reference/api").glob("*.md"))
HEADING = re.compile(r"^## `([\w.]+)\.(\w+)", re.MULTILINE)


def exports() -> list[tuple[ModuleType, str]]:
    return [(package, name) for package in PACKAGES for name in package.__all__]


def label(case: object) -> str:
    return case.__name__ if isinstance(case, ModuleType) else str(case)


@pytest.mark.parametrize(("package", "name"), exports(), ids=label)
def test_what_is_public_has_a_docstring(package: ModuleType, name: str) -> None:
    found = getattr(package, name)
    if callable(found) or isinstance(found, ModuleType):
        assert (inspect.getdoc(found) or "").strip(), f"{package.__name__}.{name} says nothing about itself"


@pytest.mark.parametrize(("package", "name"), exports(), ids=label)
def test_public_methods_have_docstrings(package: ModuleType, name: str) -> None:
    found = getattr(package, name)
    if not inspect.isclass(found):
        pytest.skip("not a class")
    own = {n: m for n, m in vars(found).items() if not n.startswith("_") and (inspect.isfunction(m) or isinstance(m, property))}
    assert [] == [n for n, method in own.items() if not inspect.getdoc(method)]


@pytest.mark.parametrize("package", PACKAGES, ids=label)
def test_the_list_of_public_names_is_in_order_and_names_nothing_twice(package: ModuleType) -> None:
    assert sorted(set(package.__all__), key=str) == sorted(package.__all__, key=str)
    assert list(package.__all__) == sorted(package.__all__)


@pytest.mark.parametrize("package", PACKAGES, ids=label)
def test_nothing_public_is_left_off_the_list(package: ModuleType) -> None:
    here = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith(package.__name__) and not isinstance(value, ModuleType)
    }
    assert set() == here - set(package.__all__)


@pytest.mark.parametrize("package", PACKAGES, ids=label)
def test_no_public_function_shares_its_name_with_a_module(package: ModuleType) -> None:
    """`package.name` would mean one or the other, depending on what was imported before. Modules that are public themselves are exempt."""
    modules = {found.name for found in pkgutil.iter_modules(package.__path__)}
    clashes = {name for name in modules & set(package.__all__) if not isinstance(getattr(package, name), ModuleType)}
    loaded = {name: importlib.import_module(f"{package.__name__}.{name}") for name in clashes}
    assert {} == {name: module for name, module in loaded.items() if module is getattr(package, name)}
    for name in clashes:
        assert callable(getattr(package, name)), f"importing {package.__name__}.{name} hid the function of that name"


@pytest.mark.parametrize("package", PACKAGES, ids=label)
def test_an_unknown_name_is_an_attribute_error_that_names_it(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = package.no_such_name


@pytest.mark.parametrize("page", API, ids=lambda page: page.stem)
def test_the_reference_names_everything_as_it_is_imported(page: Path) -> None:
    """`import module` works for each module that the reference names, and so does `module.name`."""
    named = HEADING.findall(page.read_text(encoding="utf-8"))
    assert named
    for module, name in named:
        assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


@pytest.mark.parametrize("package", PACKAGES, ids=label)
def test_a_public_module_is_imported_by_its_public_name(package: ModuleType) -> None:
    """`import package.name` and `from package import name` give the same module."""
    public = {name: value for name in package.__all__ if isinstance(value := getattr(package, name), ModuleType)}
    assert public == {name: importlib.import_module(f"{package.__name__}.{name}") for name in public}
