"""Programs in Clojure with libraries from Maven Central: find Java and Maven, fetch the libraries once, return a command."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "factstore-benchmarks"
ALWAYS = ("org.clojure:clojure:1.12.0", "org.slf4j:slf4j-nop:1.7.36")
LIMIT = 600  # seconds for Maven
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>factstore</groupId><artifactId>benchmarks</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>{}</dependencies>
</project>
"""
DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"


class Unavailable(Exception):
    """A program cannot run on this machine; the message states why."""


def command(program: Path, library: str, *options: str) -> list[str]:
    """Return the command that runs a Clojure program with a library, such as "com.datomic:peer:1.0.7277".

    Raises: Unavailable, if there is no Java, or no Maven to fetch the library with, or Maven fails.
    """
    java = shutil.which(os.environ.get("JAVA", "java"))
    if java is None:
        raise Unavailable("no java was found; install a JDK, version 11 or later, or set JAVA to the path of one")
    return [java, *options, "-cp", _classpath(library), "clojure.main", str(program)]


def is_fetched(library: str) -> bool:
    """Return whether the jars of a library are on this machine."""
    kept = _kept(library)
    known = kept.read_text() if kept.exists() else ""
    return bool(known) and all(Path(jar).exists() for jar in known.split(os.pathsep))


def _kept(library: str) -> Path:
    return CACHE / f"{library.replace(':', '-')}.classpath"


def _classpath(library: str) -> str:
    """Return the classpath of a library, which Maven makes the first time."""
    if not is_fetched(library):
        _fetch(library, _kept(library))
    return _kept(library).read_text()


def _fetch(library: str, kept: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable(f"no mvn was found; Maven is necessary to fetch {library} once")
    print(f"fetching {library} into {CACHE}", flush=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    pom, made = kept.with_suffix(".pom.xml"), kept.with_suffix(".new")
    pom.write_text(POM.format("".join(DEPENDENCY.format(*each.split(":")) for each in (library, *ALWAYS))))
    options = ["-q", "-B", "-Dstyle.color=never", "-f", str(pom), f"-Dmaven.repo.local={CACHE / 'repository'}"]
    goal = ["dependency:build-classpath", f"-Dmdep.outputFile={made}"]
    try:
        done = subprocess.run(
            [maven, *options, *goal],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"Maven did not fetch {library} within {LIMIT} s") from None
    if done.returncode or not made.exists():
        reason = next((line for line in done.stdout.splitlines() if "ERROR" in line), "no reason given")
        raise Unavailable(f"Maven could not fetch {library}: {reason}")
    made.replace(kept)
