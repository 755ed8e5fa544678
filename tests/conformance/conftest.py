"""`--cases FOLDER` for the conformance suite, and every test that takes a `case` once for each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.case import Case, CaseError, read_cases

HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cases",
        action="append",
        metavar="FOLDER",
        help="run the conformance cases of this folder instead of tests/conformance/cases; may be given several times",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        areas = getattr(metafunc.module, "AREAS", ("",))  # the beginnings of ids, if a module does not take all cases
        cases = [case for folder in folders(metafunc.config) for case in cases_of(folder) if case.id.startswith(areas)]
        metafunc.parametrize("case", cases, ids=[case.id for case in cases])


def folders(config: pytest.Config) -> list[Path]:
    # pytest does not know the option when it is started further up, and then nobody can have given it.
    given = config.getoption("--cases", default=None)
    return [Path(folder) for folder in given] if given else [HERE / "cases"]


def cases_of(folder: Path) -> list[Case]:
    try:
        return read_cases(folder)
    except CaseError as error:
        raise pytest.UsageError(str(error)) from error
