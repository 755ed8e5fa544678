"""Targets: schedules, the settings of workers, and the addresses and options of stores."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final

import factstore
from factstore import FactStoreError
from factstore.storage import open_storage
from factstore.storage.postgres.address import Address
from overseer import Config, cron
from tests.fuzz import inputs
from tests.fuzz.targets.store import jobs

CRONS: Final = (
    "30 2 * * *",
    "*/5 8-18 * * MON-FRI",
    "0 0 L * *",
    "0 0 1,15 * MON#2",
    "15 30 2 29 2 *",
    "0 0 LW * *",
    "5-59/7 */2 * JAN-MAR SUN",
)
FIELDS: Final = (
    *"*/,-#LW0123456789 ?\n",
    "60",
    "99999999999999999999",
    "MON",
    "DEC",
    "*/0",
    "1-",
    "#5",
    "-1",
    "@daily",
    "٣",
    "\0",
    " " * 50,
)


def schedule(rng: Random) -> None:
    zone = rng.choice(
        ("UTC", "Europe/Berlin", "Australia/Lord_Howe", "", "../etc/passwd", "Nowhere/At", "\0", "x" * 300, inputs.value(rng))
    )
    expression = inputs.text(rng, CRONS, FIELDS) if rng.random() < 0.85 else inputs.value(rng)
    made = cron.schedule(
        inputs.value(rng) if rng.random() < 0.2 else "s",
        expression,
        inputs.value(rng) if rng.random() < 0.2 else "report",
        inputs.value(rng) if rng.random() < 0.2 else None,
        timezone=zone,
        missed=rng.choice(("skip", "last", "all", "never", inputs.value(rng))),
        grace=rng.choice((timedelta(1), timedelta.max, timedelta(-1), inputs.value(rng))) if rng.random() < 0.3 else timedelta(minutes=1),
    )
    list(islice(cron.nominal_times(expression, zone, after=datetime(2026, 1, 1, tzinfo=UTC)), 3))
    factstore.with_(jobs().db(), [made])


TOMLS: Final = (
    'store = "x.facts"\nconcurrency = 4\n[heartbeat]\nsleep-time = 5000\ntolerance = 3\n[retries.mail]\nmax-attempts = 3\nfactor = 2.5\n',
    'queues = ["a", "b"]\nexecutor = "threads"\nsleep_time = 1e3\nlog-events = true\n[timeouts]\nmail = 5000\n',
)
YAMLS: Final = (
    "store: x.facts\nconcurrency: 4\nheartbeat:\n  sleep-time: 5000\nretries:\n  mail: {max-attempts: 3, jitter: 0.1}\n",
    "queues: [a, b]\ntimeouts: {mail: 5000}\nseed: 7\nmetrics-port: 9000\n",
)
SETTINGS: Final = (
    *inputs.FRAGMENTS,
    " = ",
    "inf",
    "nan",
    "-1",
    "0",
    "1e999",
    "[a]",
    "&a [*a]",
    "!!python/object:os.system x",
    "? ",
    "- ",
    "\n  ",
)


def settings(rng: Random) -> None:
    if rng.random() < 0.3:
        given = rng.choice(({"store": "x", "heartbeat": {"sleep-time": 5}}, {"retries": {"a": {"max-attempts": 2}}, "timeouts": {"a": 5}}))
        made = Config.of(inputs.changed(rng, given) if rng.random() < 0.8 else inputs.value(rng))
    else:
        suffix, corpus = rng.choice(((".toml", TOMLS), (".yaml", YAMLS)))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"settings{suffix}"
            path.write_bytes(inputs.text(rng, corpus, SETTINGS).encode("utf-8", "surrogatepass"))
            made = Config.read(path)
    assert made.lease > timedelta(0)


ADDRESSES: Final = (
    "//ann:secret@db.example:5432/shop?name=main&durability=local&host_cache=64&pooled=yes",
    "//db1,db2:5433/shop?target_session_attrs=prefer-standby&sslmode=require",
    "///shop?host=/var/run/postgresql&blocks=s3://bucket/prefix&connect_timeout=5",
)
PARTS: Final = (
    *inputs.FRAGMENTS,
    "//",
    "?",
    "&",
    "=",
    "name=",
    "password=secret",
    "%00",
    "%zz",
    "host_cache=-1",
    "[::1]",
    "blocks=s3://",
    "yes",
)
OPTIONS: Final = ("create", "read_only", "sync", "cache_bytes", "busy_timeout", "infer_schema", "clock", "map_size")


def options(rng: Random) -> None:
    """The options of a connection, of a storage and of the settings of a worker, with any values."""
    named = {name: inputs.value(rng, 1) for name in rng.sample(OPTIONS, rng.choice((1, 1, 2)))}
    if rng.random() < 0.5:
        named = {name: value for name, value in named.items() if name != "map_size" and not (name == "clock" and callable(value))}
        with factstore.connect("memory:", **named) as conn:
            conn.transact([{":db/doc": "x"}])
    else:
        named = {name: value for name, value in named.items() if name not in ("cache_bytes", "infer_schema", "clock")}
        open_storage(rng.choice(("memory:", "memory:\0", "memory", "x:y", inputs.value(rng, 1))), **{**named, "create": False}).close()


def address(rng: Random) -> None:
    """The address of a store in PostgreSQL; no error shows the password."""
    given = inputs.text(rng, ADDRESSES, PARTS)
    try:
        Address.parse(given)
    except FactStoreError as error:
        has_password = given.startswith("//ann:secret@") and 1 == given.count("secret")
        assert not (has_password and "secret" in str(error)), "the password is shown"
        raise


TARGETS: Final[dict[str, Callable[[Random], None]]] = {
    "cron": schedule,
    "settings": settings,
    "options": options,
    "address": address,
}
