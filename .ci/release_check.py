"""Check that this tree can be released: version, changelog, sdist, wheel, and the README with the installed wheel.

    python .ci/release_check.py            # what `make release-check` runs

The wheel is built from the sdist, installed into a new environment, and the Python of the README runs there, in an empty folder.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IN_SDIST = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "Makefile",
    "factstore/py.typed",
    "overseer/py.typed",
    "tests/conftest.py",
)
IN_WHEEL = (
    "factstore/__init__.py",
    "factstore/py.typed",
    "overseer/__init__.py",
    "overseer/py.typed",
    "overseer/demo/__init__.py",
)
RELEASE = re.compile(r"^## \[(?P<version>\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", re.MULTILINE)


def main() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    check_changelog(version)
    with tempfile.TemporaryDirectory() as folder:
        sdist, wheel = build(Path(folder))
        check_contents(sdist, wheel, version)
        python = installed(wheel, Path(folder) / "environment")
        empty = Path(folder) / "empty"
        empty.mkdir()
        check_installed(python, version, empty)
        run(python, ROOT / "tests/docs/runner.py", ROOT / "README.md", cwd=empty)
    print(f"factstore {version} can be released")


def check_changelog(version: str) -> None:
    """Require that the newest dated section of the changelog is this version's, below [Unreleased]."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = RELEASE.search(text)
    if released is None or released["version"] != version:
        sys.exit(
            f"CHANGELOG.md: expected '## [{version}] - DATE' as the first release, found {released and released[0]!r}"
        )
    if not 0 <= text.find("## [Unreleased]") < released.start():
        sys.exit("CHANGELOG.md: expected '## [Unreleased]' above the first release")


def build(folder: Path) -> tuple[Path, Path]:
    """Build the sdist from the tree and the wheel from the sdist; return both files."""
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    (sdist,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


def check_contents(sdist: Path, wheel: Path, version: str) -> None:
    """Require the files that users and packagers need, and that no store or cache was packed."""
    with tarfile.open(sdist) as packed:
        in_sdist = {name.partition("/")[2] for name in packed.getnames()}
    with zipfile.ZipFile(wheel) as packed_wheel:
        in_wheel = set(packed_wheel.namelist())
    in_wheel_expected = {*IN_WHEEL, f"factstore-{version}.dist-info/licenses/LICENSE"}
    missing = sorted([*(set(IN_SDIST) - in_sdist), *(in_wheel_expected - in_wheel)])
    unwanted = sorted(name for name in in_sdist | in_wheel if name.endswith((".pyc", ".facts", ".facts-lock")))
    if missing or unwanted:
        sys.exit(f"the packages lack {missing} and contain {unwanted}")


def installed(wheel: Path, folder: Path) -> Path:
    """Install the wheel, without extras, into a new environment; return its Python."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    return python


def check_installed(python: Path, version: str, empty: Path) -> None:
    """Require that both commands of the new environment start and print this version."""
    for command in ("factstore", "overseer"):
        printed = subprocess.run(
            [python.with_name(command), "--version"], cwd=empty, check=True, capture_output=True, text=True
        ).stdout
        if version not in printed:
            sys.exit(f"{command} --version: expected {version}, got {printed!r}")


def run(*command: object, cwd: Path = ROOT) -> None:
    subprocess.run([str(part) for part in command], cwd=cwd, check=True)


if __name__ == "__main__":
    main()
