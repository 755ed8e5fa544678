"""Cases: what is in a folder of them, and running one against a new store through the public API.

Knows nothing of what ought to come out. Law: what a case says is done, in its order, or `CaseError` is raised; nothing is
left out in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from pyrsistent import PMap, pmap

import factstore
from factstore import Connection, Database, FactStoreError, Keyword, TxReport, edn


class CaseError(Exception):
    """A case that this runner cannot run; it counts as failed."""


@dataclass(frozen=True, slots=True)
class Case:
    """One case as it was read."""

    id: str
    area: str
    form: Mapping[str, Any]


class Outcome(NamedTuple):
    """What came of a case: the value of its last step, or the error that this step raised."""

    value: Any
    error: FactStoreError | None


DESCRIPTION: Final = frozenset({":id", ":doc", ":expect", ":verified-by", ":source", ":deviates", ":runs-on", ":note"})
VIEW: Final = frozenset({":as-of", ":since", ":history", ":with"})
SETTING: Final = frozenset({":schema", ":tx", ":no-db", ":rules", ":args", ":eid", ":eids", ":limit"})


def read_cases(folder: Path) -> list[Case]:
    """Return the cases of all .edn files of a folder.

    The file schemas.edn is not one of cases: it gives names to schemas, and a case may give such a name as its `:schema`.

    Raises: CaseError for a folder without cases, an id that occurs twice, and an unknown name of a schema.
    """
    named = folder / "schemas.edn"
    schemas = edn.read(named.read_text(encoding="utf-8")) if named.exists() else {}
    cases = [
        Case(form[Keyword(":id")], file.stem, _with_schema(form, schemas))
        for file in sorted(folder.glob("*.edn"))
        if file != named
        for form in edn.read(file.read_text(encoding="utf-8"))
    ]
    if not cases:
        raise CaseError(f"no cases in {folder}")
    ids = [case.id for case in cases]
    if len(set(ids)) != len(ids):
        raise CaseError(f"ids that come twice in {folder}: {sorted({id for id in ids if ids.count(id) > 1})}")
    return cases


def _with_schema(form: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the case with its schema instead of the name of it."""
    schema = form.get(":schema")
    if not isinstance(schema, Keyword):
        return form
    if schema not in schemas:
        raise CaseError(f"{form[Keyword(':id')]} has the schema {schema}, which schemas.edn does not define")
    return {**form, Keyword(":schema"): schemas[schema]}


@dataclass(slots=True)
class World:
    """A store in the making: what was transacted so far, and what its tempids were."""

    conn: Connection
    before_transaction: Callable[[Connection], object] = lambda _: None
    tempids: dict[Any, int] = field(default_factory=dict)
    reports: list[TxReport] = field(default_factory=list)  # of transactions 1, 2, …
    schema_t: int = 0

    def filled(self, form: Any) -> Any:
        """Return the form with its placeholders replaced by entity ids."""
        if isinstance(form, Mapping):
            if len(form) == 1:
                ((key, value),) = form.items()
                if key in PLACEHOLDERS:
                    return PLACEHOLDERS[key](self, value)
            filled = {self.filled_key(key): self.filled(value) for key, value in form.items()}
            return pmap(filled) if isinstance(form, PMap) else filled  # a map inside a set stays one that can be hashed
        if isinstance(form, list):
            return [self.filled(item) for item in form]
        if isinstance(form, tuple):
            return tuple(self.filled(item) for item in form)
        if isinstance(form, frozenset):
            return frozenset(self.filled_key(item) for item in form)
        return form

    def filled_key(self, form: Any) -> Any:
        filled = self.filled(form)
        return tuple(filled) if isinstance(filled, list) else filled

    def of_tempid(self, name: Any) -> int:
        if name not in self.tempids:
            raise CaseError(f"the tempid {name!r} was never resolved")
        return self.tempids[name]

    def of_tx(self, number: int) -> int:
        return self.reports[number - 1].tx_data[0].tx

    def of_name(self, name: Any) -> int:
        found = self.conn.db().entid(name)
        if found is None:
            raise CaseError(f"{name!r} names nothing")
        return found

    def t_of(self, point: Any) -> Any:
        """Return what `:as-of` and `:since` mean by a number of a transaction, or by `{:inst instant}`."""
        if isinstance(point, Mapping):
            return point[":inst"]
        return self.reports[point - 1].db_after.basis_t if point else self.schema_t

    def view(self, keys: Mapping[str, Any]) -> Database:
        """Return the database that view keys describe."""
        db = self.conn.db()
        if ":as-of" in keys:
            db = db.as_of(self.t_of(keys[":as-of"]))
        if ":since" in keys:
            db = db.since(self.t_of(keys[":since"]))
        if keys.get(":history"):
            db = db.history()
        if ":with" in keys:
            report = factstore.with_(db, self.filled(keys[":with"]))
            self.tempids.update(report.tempids)
            db = report.db_after
        return db


PLACEHOLDERS: Final[Mapping[str, Callable[[World, Any], int]]] = {
    ":tempid": World.of_tempid,
    ":tx": World.of_tx,
    ":ident": World.of_name,
    ":lookup": World.of_name,
}


def run(case: Case, world: World) -> Outcome:
    """Run a case in a new world and return what came of its last step. What an earlier step raises is raised here."""
    steps = steps_of(world, case.form)
    if not steps:
        raise CaseError("nothing to do")
    earlier = max(0, len(steps) - last_steps(case.form[":expect"], len(steps)))
    for step in steps[:earlier]:
        step()
    return attempted(lambda: [step() for step in steps[earlier:]][-1])


def last_steps(expect: Mapping[str, Any], all_steps: int) -> int:
    """Return how many steps, from the last one back, may raise the error that is expected."""
    choices = expect.get(":any-of", [expect])
    if any(choice.get(":error") == ":invalid-schema" for choice in choices):
        return all_steps  # which transaction installs an attribute is the case's own affair
    # Where an error is one answer among others, it may be the last transaction's and the other answers the question's.
    return 2 if len(choices) > 1 else 1


def attempted(step: Callable[[], Any]) -> Outcome:
    try:
        return Outcome(step(), None)
    except FactStoreError as error:
        return Outcome(None, error)


def action_of(form: Mapping[str, Any]) -> str | None:
    """Return the key of what a case asks, None when it is the transactions themselves."""
    unknown = set(form) - DESCRIPTION - VIEW - SETTING - set(ACTIONS)
    if unknown:
        raise CaseError(f"keys that this runner does not know: {sorted(unknown)}")
    found = [key for key in ACTIONS if key in form]
    if len(found) > 1:
        raise CaseError(f"more than one thing to ask: {found}")
    return found[0] if found else None


def steps_of(world: World, form: Mapping[str, Any]) -> list[Callable[[], Any]]:
    """Return the transactions of a case and what it asks, in order, each as a function still to be called."""
    action = action_of(form)
    steps: list[Callable[[], Any]] = []
    if ":schema" in form:
        steps.append(lambda: install(world, form[":schema"]))
    steps += [partial(transact, world, entry) for entry in form.get(":tx", ())]
    if action is not None:
        steps.append(lambda: ACTIONS[action](world, form))
    return steps


def install(world: World, schema: list[Any]) -> None:
    world.schema_t = committed(world, schema).db_after.basis_t


def transact(world: World, entry: Any) -> None:
    """Do one entry of `:tx`: forms, `{:fails forms}` or `{:speculate forms}`."""
    if not isinstance(entry, Mapping):
        report = committed(world, world.filled(entry))
        world.reports.append(report)
        world.tempids.update(report.tempids)
        return
    ((key, forms),) = entry.items()
    filled = world.filled(forms)
    if key == ":speculate":
        factstore.with_(world.conn.db(), filled)
    elif key == ":fails":
        outcome = attempted(lambda: committed(world, filled))
        if outcome.error is None:
            raise CaseError(f"expected these forms to be refused: {forms!r}")
    else:
        raise CaseError(f"an entry of :tx that this runner does not know: {key}")


def committed(world: World, forms: Any) -> TxReport:
    """Transact; a transaction that is refused must not have changed anything."""
    conn = world.conn
    world.before_transaction(conn)
    before = conn.db()
    try:
        return conn.transact(forms)
    except FactStoreError as error:
        after = conn.db()
        if (before.basis_t, before.next_n) != (after.basis_t, after.next_n):
            raise CaseError(f"refused, and yet the database changed: {error}") from error
        raise


# -- what a case asks; each returns plain data


def ask_query(world: World, form: Mapping[str, Any]) -> Any:
    query = world.filled(form[":query"])
    inputs: list[Any] = [] if form.get(":no-db") else [world.view(form)]
    if ":rules" in form:
        inputs.append(world.filled(form[":rules"]))
    inputs += [argument(world, given) for given in form.get(":args", ())]
    # As text, which alone tells the string "?x" from the variable.
    return plain(factstore.q(query if isinstance(query, str) else edn.write(query), *inputs))


def argument(world: World, given: Any) -> Any:
    if isinstance(given, Mapping) and len(given) == 1:
        ((key, value),) = given.items()
        if key == ":db":
            return world.view(value)
        if key == ":log":
            return world.conn.log()
    return world.filled(given)


def ask_pull(world: World, form: Mapping[str, Any]) -> Any:
    db = world.view(form)
    return plain(factstore.pull(db, pattern_of(world, form[":pull"]), world.filled(form[":eid"])))


def ask_pull_many(world: World, form: Mapping[str, Any]) -> Any:
    db = world.view(form)
    return plain(factstore.pull_many(db, pattern_of(world, form[":pull-many"]), world.filled(form[":eids"])))


def pattern_of(world: World, pattern: Any) -> str:
    return pattern if isinstance(pattern, str) else edn.write(world.filled(pattern))


def ask_entity(world: World, form: Mapping[str, Any]) -> Any:
    asked = form[":entity"]
    found: Any = factstore.entity(world.view(form), world.filled(asked[":ref"]))
    for attribute in asked.get(":path", ()):
        found = walked(found, attribute)
    if asked.get(":ks"):
        return frozenset(found)
    if asked.get(":touch"):
        return {Keyword(":db/id"): found.eid, **{key: plain(value) for key, value in found.touch().items()}}
    return plain(found)


def walked(found: Any, attribute: Keyword) -> Any:
    if isinstance(found, frozenset | set):
        return frozenset(plain(walked(each, attribute)) for each in found)
    return None if found is None else found.get(attribute)


def ask_entid(world: World, form: Mapping[str, Any]) -> Any:
    return world.view(form).entid(world.filled(form[":entid"]))


def ask_datoms(world: World, form: Mapping[str, Any]) -> Any:
    db = world.view(form)
    index, *components = world.filled(form[":datoms"])
    return rows(db, islice(db.datoms(index, *components), form.get(":limit")))


def ask_seek_datoms(world: World, form: Mapping[str, Any]) -> Any:
    db = world.view(form)
    index, *components = world.filled(form[":seek-datoms"])
    return rows(db, islice(db.seek_datoms(index, *components), form.get(":limit")))


def ask_index_range(world: World, form: Mapping[str, Any]) -> Any:
    db = world.view(form)
    return rows(db, islice(db.index_range(*world.filled(form[":index-range"])), form.get(":limit")))


def ask_tx_range(world: World, form: Mapping[str, Any]) -> Any:
    start, end = world.filled(form[":tx-range"])
    found = islice(world.conn.log().tx_range(start, end), form.get(":limit"))
    return [{"tx": entry.data[0].tx, "data": without_instant(rows(world.conn.db(), entry.data))} for entry in found]


def ask_report(world: World, _form: Mapping[str, Any]) -> Any:
    report = world.reports[-1]
    found = without_instant(rows(report.db_after, report.tx_data))
    return {
        "added": [row[:3] for row in found if row[3]],
        "retracted": [row[:3] for row in found if not row[3]],
    }


def ask_tempids(world: World, _form: Mapping[str, Any]) -> Any:
    return dict(world.reports[-1].tempids)


ACTIONS: Final[Mapping[str, Callable[[World, Mapping[str, Any]], Any]]] = {
    ":query": ask_query,
    ":pull": ask_pull,
    ":pull-many": ask_pull_many,
    ":entity": ask_entity,
    ":entid": ask_entid,
    ":datoms": ask_datoms,
    ":seek-datoms": ask_seek_datoms,
    ":index-range": ask_index_range,
    ":tx-range": ask_tx_range,
    ":report": ask_report,
    ":check-tempids": ask_tempids,
}


def rows(db: Database, datoms: Iterable[factstore.Datom]) -> list[list[Any]]:
    """Return datoms as `[e a v added]`, the attribute as its ident."""
    return [[d.e, db.ident(d.a), d.v, d.added] for d in datoms]


def without_instant(found: list[list[Any]]) -> list[list[Any]]:
    """Leave out the transaction's own `:db/txInstant`."""
    return [row for row in found if row[1] != ":db/txInstant"]


def plain(value: Any) -> Any:
    """Return a result with the entities in it as their ids."""
    if isinstance(value, factstore.Entity):
        return value.eid
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if type(value) is tuple:
        return tuple(plain(item) for item in value)
    if isinstance(value, set | frozenset):
        return frozenset(plain(item) for item in value)
    return value
