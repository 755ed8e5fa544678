"""Targets of the fuzzer: each takes one random input to an entry point.

A target returns when the entry point answered, or raised an error of the family. Anything else that it raises is a fault.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Final

from click.testing import CliRunner

import factstore
import overseer
from factstore import FactStoreError, edn, maintain
from factstore.cli import main as factstore_main
from factstore.commit.conditions import Conditional
from factstore.storage import open_storage
from factstore.transactor import handshake, messages
from factstore.transactor.frames import Frames, framed
from factstore.upkeep.dumps import dump, replay, undump
from overseer import Config, cron
from overseer.cli import main as overseer_main
from tests.fuzz import inputs

ONE = ":db.cardinality/one"
SCHEMA: Final = [
    {":db/ident": ":p/name", ":db/valueType": ":db.type/string", ":db/cardinality": ONE, ":db/unique": ":db.unique/identity"},
    {":db/ident": ":p/age", ":db/valueType": ":db.type/long", ":db/cardinality": ONE, ":db/index": True},
    {":db/ident": ":p/to", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/many"},
    {":db/ident": ":p/part", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/many", ":db/isComponent": True},
    {":db/ident": ":p/at", ":db/valueType": ":db.type/instant", ":db/cardinality": ONE},
    {":db/ident": ":p/big", ":db/valueType": ":db.type/bigint", ":db/cardinality": ONE},
    {":db/ident": ":p/dec", ":db/valueType": ":db.type/bigdec", ":db/cardinality": ONE},
    {":db/ident": ":p/t", ":db/valueType": ":db.type/tuple", ":db/cardinality": ONE, ":db/tupleTypes": [":db.type/ref", ":db.type/long"]},
    {":db/ident": ":p/both", ":db/valueType": ":db.type/tuple", ":db/cardinality": ONE, ":db/tupleAttrs": [":p/name", ":p/age"]},
]
PEOPLE: Final = [
    {":db/id": "a", ":p/name": "ann", ":p/age": 30, ":p/at": datetime(2020, 1, 1, tzinfo=UTC), ":p/big": 1 << 80},
    {":db/id": "b", ":p/name": "ben", ":p/age": 17, ":p/to": ["a"], ":p/part": [{":p/age": 3}]},
    {":p/name": "cyd", ":p/to": ["a", "b"]},
]
QUERIES: Final = (
    "[:find ?e ?n :where [?e :p/name ?n]]",
    "[:find ?n . :in $ ?a :where [?e :p/age ?a] [?e :p/name ?n]]",
    "[:find [?n ...] :where [?e :p/to ?f] [?f :p/name ?n] (not [?e :p/age 17])]",
    "[:find ?n (count ?f) (max ?a) :with ?e :where [?e :p/name ?n] [?e :p/to ?f] [?f :p/age ?a] :order-by ?n :desc :limit 5 :offset 1]",
    "[:find (pull ?e [:p/name {:p/to [*]}]) :where (or [?e :p/age 30] (and [?e :p/age ?a] [(< ?a 20)]))]",
    "[:find ?x ?y :in $ % :where (linked ?x ?y)]",
    "{:find [?n (sum ?a)] :keys [name total] :having [(> (sum ?a) 3)] :where [[?e :p/name ?n] [?e :p/age ?a]]}",
    "[:find ?s :in $ [?v ...] [[?x ?y]] :where [(str ?v ?x) ?s] [(get-else $ ?x :p/age 0) ?y]]",
    "[:find ?e :where (or-join [?e] [?e :p/age 3] (not-join [?e] [?e :p/to ?f])) [?e :p/name _ ?tx] [?tx :db/txInstant ?i] [(missing? $ ?e :p/at)]]",
    "[:find ?a ?b :where [(ground [[1 2] [3 4]]) [[?a ?b]]] [(+ ?a ?b) ?c] [(= ?c 3)] [(tuple ?a ?b) ?t] [(untuple ?t) [?x _]]]",
)
RULES: Final = (
    "[[(linked ?x ?y) [?x :p/to ?y]] [(linked ?x ?y) [?x :p/to ?z] (linked ?z ?y)]]",
    "[[(linked [?x] ?y) (or [?x :p/to ?y] (and [?x :p/part ?z] (linked ?z ?y)))]]",
    "[[(n ?a) [(ground 1) ?a]] [(n ?a) (n ?b) [(+ ?b 1) ?a] [(< ?a 50)]] [(linked ?x ?y) (n ?x) (n ?y)]]",
)
PATTERNS: Final = (
    "[*]",
    "[:p/name {:p/to [:p/name :p/age]}]",
    "[:db/id [:p/age :as :age :default 0] {(limit :p/to 2) 3} {:p/_to ...}]",
    "[:p/* {[:p/part :limit nil] [*]} (default :p/at 5) [:p/name :xform str/upper]]",
)
FORMS: Final = (
    '[{:p/name "dee" :p/age 5} [:db/add "x" :p/name "eve"] [:db/add "x" :p/to [:p/name "ann"]]]',
    '[[:db/cas [:p/name "ann"] :p/age 30 31] [:db/retract [:p/name "ben"] :p/age] [:db/retractEntity [:p/name "cyd"]]]',
    '[{:db/id [:p/name "ann"] :p/part [{:p/age 1 :p/part {:p/age 2}}] :p/_to "z"} {:db/id "z" :p/t [[:p/name "ben"] 7]}]',
    "[{:db/ident :new/a :db/valueType :db.type/tuple :db/cardinality :db.cardinality/one :db/tupleTypes [:db.type/long :db.type/string]}]",
    '[{:db/ident :new/b :db/valueType :db.type/string :db/cardinality :db.cardinality/many :db/unique :db.unique/value :db/doc "b"}]',
    '[[:db/setExactly [:p/name "ann"] :p/to [[:p/name "ben"]]] {:db/id "datomic.tx" :db/doc "why"} {:db/id :p/age :db/ident :p/years}]',
    '[{:db/ident :s/spec :db.entity/attrs [:p/name :p/age]} {:db/id :p/name :db/doc #_ 1 "d"} {:p/big 5N :p/dec 1.5M :p/at #inst "2026"}]',
)


@cache
def store() -> factstore.Connection:
    """Return a small store that all targets of this process read."""
    conn = factstore.connect("memory:")
    conn.transact(SCHEMA)
    conn.transact(PEOPLE)
    conn._committer.index()
    conn.transact([{":p/name": "new"}])
    return conn


@cache
def forms(texts: Sequence[str]) -> list[Any]:
    return [edn.read(text) for text in texts]


def text_or_form(rng: Random, texts: Sequence[str]) -> Any:
    """Return a text that is nearly right, or such a form as Python data."""
    return inputs.text(rng, texts) if rng.random() < 0.6 else inputs.changed(rng, rng.choice(forms(texts)))


def read_edn(rng: Random) -> None:
    _check_same(edn.write(edn.read_all(inputs.text(rng, (*QUERIES, *RULES, *PATTERNS, *FORMS)))))


def write_edn(rng: Random) -> None:
    _check_same(edn.write(inputs.value(rng, 5), longest=1 << 22))


def _check_same(text: str) -> None:
    try:
        again = edn.write(edn.read(text))
    except FactStoreError as error:
        raise AssertionError(f"what was written is not read: {text[:500]}") from error
    assert text == again, f"what was written is read as another value: {text[:500]}"


def query(rng: Random) -> None:
    rules = forms(RULES)[0]
    given = rng.choice(((), (30,), (rules,), ([1, 2], [[1, 2]]), (inputs.value(rng),), (inputs.value(rng), inputs.value(rng))))
    ask = rng.choice((factstore.q, factstore.rows, lambda *args, **more: list(factstore.qseq(*args, **more))))
    ask(text_or_form(rng, QUERIES), store().db(), *given, timeout=3.0, max_rows=50_000)


def rules(rng: Random) -> None:
    factstore.q("[:find ?x ?y :in $ % :where (linked ?x ?y)]", store().db(), text_or_form(rng, RULES), timeout=3.0, max_rows=50_000)


def pull(rng: Random) -> None:
    db, pattern = store().db(), text_or_form(rng, PATTERNS)
    entity = [":p/name", "ben"] if rng.random() < 0.9 else inputs.value(rng)
    if rng.random() < 0.5:
        factstore.pull(db, pattern, entity)
    else:
        factstore.pull_many(db, pattern, [entity, 5])


def transact(rng: Random) -> None:
    data = text_or_form(rng, FORMS)
    if rng.random() < 0.8:
        str(factstore.with_(store().db(), data, none=rng.choice(("reject", "retract"))))
        return
    with factstore.connect("memory:", infer_schema=rng.random() < 0.3) as conn:
        conn.transact(SCHEMA)
        conn.transact(PEOPLE)
        try:
            str(conn.transact(data))
        finally:
            conn._committer.index()
            assert [] == maintain.check(conn).problems


def csv(rng: Random) -> None:
    corpus = (
        "name,age,at\nann,1,2026-01-01T00:00:00Z\nben,,\n",
        '\ufeffname;age\n"x ""y""";5\n',
        "name,age\r\nx,1\r\n" * 30,
        "age\n1\n2\n",
    )
    fragments = (*inputs.FRAGMENTS, "\r\n", '"', '""', ",,", ";", "NA", "NaN", "1_000", " 1", "1e3", "true", "name", "age", "\0")
    body = inputs.text(rng, corpus, fragments).encode(rng.choice(("utf-8", "utf-16", "latin-1")), "replace")
    with factstore.connect("memory:") as conn, tempfile.TemporaryDirectory() as folder:
        conn.transact(SCHEMA)
        path = Path(folder) / "x.csv"
        path.write_bytes(body)
        columns = {"name": ":p/name", "age": rng.choice((":p/age", ":p/big", ":p/dec", ":p/to")), "at": ":p/at"}
        mapping = {name: columns[name] for name in rng.sample(sorted(columns), rng.randint(1, 3))}
        try:
            conn.load(path, mapping, progress=False, batch_rows=rng.choice((1, 3, 50_000)))
        finally:
            assert [] == maintain.check(conn).problems


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


@cache
def jobs() -> factstore.Connection:
    """Return a store with the job layer."""
    conn = factstore.connect("memory:")
    overseer.install(conn)
    return conn


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


@cache
def dumped() -> str:
    with tempfile.TemporaryDirectory() as folder:
        dump(store(), Path(folder) / "x.edn")
        return (Path(folder) / "x.edn").read_text(encoding="utf-8")


def dumps(rng: Random) -> None:
    made = inputs.text(rng, (dumped(),))
    if rng.random() < 0.5:  # with a digest that is right
        from hashlib import sha256

        *lines, _ = made.encode("utf-8", "replace").splitlines(keepends=True) or [b""]
        end = f'{{:factstore/end {{:transactions {len(lines) - 1}, :datoms 1, :sha256 "{sha256(b"".join(lines)).hexdigest()}"}}}}\n'
        made = b"".join(lines).decode() + end
    with tempfile.TemporaryDirectory() as folder, factstore.connect("memory:") as conn:
        path = Path(folder) / "x.edn"
        path.write_bytes(made.encode("utf-8", "replace"))
        name = f"memory:{os.urandom(8).hex()}"
        with closing(open_storage(name)) as storage:
            try:
                undump(path, storage)
            except FactStoreError:
                assert 0 == storage.head(), "a part of a dump was written"
            else:
                with factstore.connect(name) as again:
                    assert [] == maintain.check(again).problems
        try:
            replay(conn, path)
        except FactStoreError:
            assert 0 == conn.db().basis_t, "a part of a dump was replayed"


def _invoke(command: Any, arguments: Sequence[str]) -> None:
    done = CliRunner().invoke(command, list(arguments))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise AssertionError(f"{arguments!r} raised") from done.exception
    assert done.exit_code in (0, 1, 2, 3, 4), f"{arguments!r} ended with {done.exit_code}"
    assert "Traceback" not in done.output, f"{arguments!r} showed a traceback"


WORDS: Final = (
    *(
        "",
        "-",
        "--",
        "-1",
        "0",
        "1",
        "2",
        "99999999999999999999",
        "9" * 5000,
        "1e9",
        "inf",
        "nan",
        "x",
        ":",
        ":a",
        "a:b",
        "a/b",
        "\udcff",
        "é",
    ),
    *("1d", "9999999999d", "٣d", "-5s", "d", "2026-01-01", "2026-01-01T00:00Z", "0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00"),
    *("/", "/nonexistent/x", "/dev/null", "/etc/passwd", "memory:", "memory:x", "lmdb:", "foo:bar", ".", "~nobody/x", "x" * 300, "a b"),
    *(
        "--help",
        "--json",
        "--to",
        "--from",
        "--store",
        "--only",
        "--dry-run",
        ":p/name",
        ":db/ident",
        "finished",
        "failed",
        "[:find",
        "[[[",
    ),
)


@cache
def folder() -> Path:
    """Return a folder with a store, a damaged one, a dump, settings and migrations; it is left when the process ends."""
    home = Path(tempfile.mkdtemp(prefix="fuzz-"))
    with factstore.connect(str(home / "s.facts")) as conn:
        overseer.install(conn)
        conn.transact(SCHEMA)
        conn.transact(PEOPLE)
        conn.transact([overseer.job_txn("mail", id="j1"), cron.schedule("s", "* * * * *", "mail"), overseer.queue("q", limit=1)])
        dump(conn, home / "d.edn")
    (home / "broken.edn").write_text((home / "d.edn").read_text(encoding="utf-8")[:-100], encoding="utf-8")
    (home / "broken.facts").write_bytes(b"no store" * 1000)
    (home / "m").mkdir()
    (home / "m" / "1.edn").write_text(FORMS[0], encoding="utf-8")
    (home / "bad").mkdir()
    (home / "bad" / "1.edn").write_text("[{:p/name", encoding="utf-8")
    (home / "c.toml").write_text(TOMLS[1], encoding="utf-8")
    (home / "bad.toml").write_text("store = [", encoding="utf-8")
    (home / "handlers.py").write_text("HANDLERS = {'mail': lambda job: None}\nWRONG = 5\n", encoding="utf-8")
    (home / "raising.py").write_text("raise ValueError('at import')\n", encoding="utf-8")
    os.chdir(home)
    return home


def _words(rng: Random, command: Any) -> list[str]:
    """Return arguments for a command: its name, most of what it wants, and odd words in between."""
    home = folder()
    files = [str(path) for path in home.iterdir() if "new" not in path.name] + [str(home / f"new-{rng.randrange(10**9)}")]
    name = rng.choice(sorted(command.commands)) if rng.random() < 0.95 else rng.choice(WORDS)
    words = [name]
    for parameter in getattr(command.commands.get(name), "params", ()):
        if rng.random() < (0.95 if parameter.required else 0.3):
            option = [rng.choice(parameter.opts)] if parameter.param_type_name == "option" else []
            wanted = str(home / "s.facts") if "store" in parameter.name or parameter.name == "uri" else rng.choice((*files, *WORDS))
            given = wanted if rng.random() < 0.7 else rng.choice((*files, *WORDS))
            words += option if getattr(parameter, "is_flag", False) else [*option, given]
    if rng.random() < 0.3:
        words.insert(rng.randint(1, len(words)), rng.choice(WORDS))
    return words


def factstore_command(rng: Random) -> None:
    _invoke(factstore_main, _words(rng, factstore_main))


def overseer_command(rng: Random) -> None:
    words = _words(rng, overseer_main)
    if words[0] == "demo":
        return
    if words[0] == "worker":
        names = (
            "handlers:HANDLERS",
            "handlers:WRONG",
            "handlers",
            ":HANDLERS",
            "./handlers.py:HANDLERS",
            "no.such:x",
            "raising:X",
            "a:b:c",
            "..x:y",
        )
        words = [
            "worker",
            rng.choice(names),
            *words[2:],
            "--until-idle",
            "--config" if rng.random() < 0.2 else "--verbose",
            *rng.choices(("c.toml",), k=0),
        ]
        words = [word for word in words if word not in ("--executor", "processes")]
    _invoke(overseer_main, words)


REQUESTS: Final = (
    Conditional([{":p/name": "dee", ":p/age": 5}, [":db/add", "x", ":p/to", (":p/name", "ann")]], "reject", None, None, {}),
    Conditional("[[:db/retractEntity 7]]", "retract", 7, "a key", {":db/doc": "why"}),
    Conditional([{":p/at": datetime(2026, 1, 1, tzinfo=UTC), ":p/big": 1 << 90, ":p/to": {1, 2}}], "reject", None, None, {}),
)


def transactor(rng: Random) -> None:
    """Messages of a client, of a transactor and of a stranger, with some bytes replaced, added or left out."""
    known = handshake.Handshake(b"s" * 32, b"f" * 32)
    error = factstore.TransactError(":db.error/x", "no", got=inputs.value(rng), path=("a", 1))
    sent = (
        messages.request(b"t" * 16, 5.0, messages.packed(rng.choice(REQUESTS)), is_again=rng.random() < 0.5),
        messages.committed(b"t" * 16, 7, {"a": 8, -1: 9}),
        messages.rejected(b"t" * 16, error),
        handshake.hello(b"c" * 32),
        handshake.response(known, b"c" * 32, b"d" * 32),
    )
    body = bytearray(rng.choice(sent))
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        at = rng.randrange(len(body) + 1)
        body[at : at + rng.choice((0, 1, 1, 4))] = rng.randbytes(rng.choice((0, 1, 1, 4, 30)))
    stream, frames = framed(bytes(body)), Frames(1 << 16)
    cut = rng.randrange(len(stream))
    (whole,) = frames.feed(stream[:cut]) + frames.feed(stream[cut:])
    assert whole == bytes(body)
    read: Callable[[bytes], Any] = rng.choice(
        (
            lambda body: messages.read_request(body).transaction,
            messages.read_answer,
            handshake.read_hello,
            lambda body: handshake.read_response(known, b"c" * 32, body),
            lambda body: Frames(1 << 10).feed(body),
        )
    )
    read(whole)


TARGETS: Final[dict[str, Callable[[Random], None]]] = {
    "edn-read": read_edn,
    "edn-write": write_edn,
    "query": query,
    "rules": rules,
    "pull": pull,
    "transact": transact,
    "csv": csv,
    "cron": schedule,
    "settings": settings,
    "dump": dumps,
    "transactor": transactor,
    "factstore": factstore_command,
    "overseer": overseer_command,
}
