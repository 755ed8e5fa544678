"""Where inputs are kept: the corpus beside this file, and new ones in the folder where the fuzzer was started."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import Final

FOUND: Final = Path.cwd() / ".fuzz"  # NAME/new and NAME/fault-DIGEST


def path_of(name: str) -> Path:
    """Return the file with the corpus of a target: an input per line, in base 64."""
    return Path(__file__).parent / "corpus" / f"{name}.txt"


def inputs_of(name: str) -> list[bytes]:
    """Return the inputs of a target in the corpus."""
    path = path_of(name)
    return [b64decode(line) for line in path.read_text(encoding="ascii").split()] if path.exists() else []
