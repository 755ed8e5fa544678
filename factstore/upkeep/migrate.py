"""Migrations: named changes of schema or data, applied once each and in order.

Each is one transaction, which also contains its name and a checksum of its forms, so a migration is applied and
recorded atomically. The applied migrations must be a beginning of the list; another list is rejected.
Law: migrating twice has the effect of migrating once, with any number of processes at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from os import PathLike
from os.path import isdir
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from factstore import edn
from factstore.datom import Datom, t_of
from factstore.errors import ReadError, TransactError, UniqueConflict
from factstore.rendering import shown_as_record
from factstore.schema.class_fields import is_instance, map_of
from factstore.transact import with_
from factstore.transact.forms import read_forms, read_text
from factstore.values.quoting import described, quoted

if TYPE_CHECKING:
    from factstore.connection.connection import Connection
    from factstore.db.database import Database

_NAME: Final = ":db.migration/name"
_CHECKSUM: Final = ":db.migration/checksum"


@shown_as_record
class Migration(NamedTuple):
    """A named change: tx-data, as text or as data, for one transaction.

    An attribute that a migration declares can be used in the next one.
    """

    name: str
    tx_data: Any

    @property
    def checksum(self) -> str:
        """A digest of the forms, which does not depend on comments, layout and the order of keys."""
        try:
            return sha256(repr(_canonical(read_forms(self.tx_data))).encode("utf-8", "surrogatepass")).hexdigest()
        except RecursionError as error:
            text = f"the forms of {quoted(self.name)} are nested too deep, or contain themselves"
            raise TransactError(":db.error/invalid-migration", text, name=self.name) from error


@shown_as_record
class Migrated(NamedTuple):
    """A migration that was applied, or would be: its name, its t and all its datoms."""

    name: str
    t: int
    datoms: tuple[Datom, ...]


@shown_as_record
class MigrationReport(NamedTuple):
    """The result of migrating; in a dry run, the expected result."""

    applied: tuple[Migrated, ...]
    already: tuple[str, ...]  # applied before
    dry_run: bool = False
    failed: str | None = None  # the migration at which a dry run ended
    problems: tuple[Mapping[str, Any], ...] = ()  # the reasons of its rejection
    db: Database | None = None  # the database afterwards; in a dry run, the expected one


def migrations_in(folder: str | PathLike[str]) -> list[Migration]:
    """Return the migrations of a folder in order of name: one per EDN file, `001-colors.edn` is 001-colors.

    Raises: TransactError(:db.error/invalid-migration) for a missing folder or a file without tx-data; ReadError.
    """
    path = Path(folder) if isinstance(folder, str | PathLike) else None
    if path is None or not isdir(path):  # noqa: PTH112 -- `Path.is_dir` raises for a name that is too long
        raise TransactError(
            ":db.error/invalid-migration", f"expected a folder of .edn files, {quoted(folder)} is none", path=folder
        )
    return [_read(file) for file in sorted(path.glob("*.edn"))]


def _read(file: Path) -> Migration:
    try:
        text = file.read_text(encoding="utf-8")
        forms = read_text(text)
    except ReadError as error:
        raise ReadError(error.code, f"{file}: {error.message}", **error.data, path=str(file)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise TransactError(":db.error/invalid-migration", f"{file} cannot be read: {error}", path=str(file)) from error
    if not isinstance(forms, list):
        raise TransactError(
            ":db.error/invalid-migration",
            f"expected a vector of forms in {file.name}, got {described(forms)}",
            name=file.stem,
        )
    return Migration(file.stem, text)


def migrate(conn: Connection, migrations: Sequence[Migration], *, dry_run: bool = False) -> MigrationReport:
    """Apply the migrations that the store lacks, in order, each as one transaction.

    Args:
        migrations: all migrations ever, oldest first; add new ones at the end, and never change one that was applied.
        dry_run: commit nothing; report the effect of each, up to the first one that would be rejected, and the reasons.
    Raises: TransactError(:db.error/migration-changed, :db.error/migration-order), and nothing was applied; the error of
        a migration that is rejected, and those before it stay applied.

    >>> import factstore
    >>> steps = [Migration("001-colors", [{":db/ident": ":color/red"}])]
    >>> with factstore.connect("memory:") as conn:
    ...     [len(migrate(conn, steps).applied), migrate(conn, steps).already]
    [1, ('001-colors',)]
    """
    _check(migrations)
    already = tuple(_applied(conn.db()))
    if dry_run:
        return _rehearsed(conn.db(), migrations, already)
    applied: list[Migrated] = []
    while waiting := _waiting(conn.db(), migrations):
        try:
            report = conn.transact(_forms(waiting[0]))
        except TransactError as error:
            if isinstance(error, UniqueConflict) and error.data.get("attribute") == _NAME:
                continue  # another process has applied it
            raise type(error)(error.code, f"migration {waiting[0].name}: {error.message}", **error.data) from error
        applied.append(Migrated(waiting[0].name, report.t, report.tx_data))
    return MigrationReport(tuple(applied), already, db=conn.db())


def _check(migrations: Any) -> None:
    is_list = isinstance(migrations, list | tuple) and not isinstance(migrations, Migration)
    for each in migrations if is_list else [migrations]:
        if not is_list or not isinstance(each, Migration) or not isinstance(each.name, str):
            raise TransactError(":db.error/invalid-migration", f"expected a list of migrations, got {described(each)}")


def _rehearsed(db: Database, migrations: Sequence[Migration], already: tuple[str, ...]) -> MigrationReport:
    applied: list[Migrated] = []
    for migration in _waiting(db, migrations):
        try:
            report = with_(db, _forms(migration))
        except TransactError as error:
            problems = error.data.get("problems") or (error.to_dict(),)
            return MigrationReport(tuple(applied), already, True, migration.name, problems, db)
        applied.append(Migrated(migration.name, report.t, report.tx_data))
        db = report.db_after
    return MigrationReport(tuple(applied), already, True, db=db)


def _forms(migration: Migration) -> list[Any]:
    return [
        *read_forms(migration.tx_data),
        {":db/id": "datomic.tx", _NAME: migration.name, _CHECKSUM: migration.checksum},
    ]


def _applied(db: Database) -> dict[str, str]:
    """Return the checksum of each migration that was applied, oldest first."""
    names = sorted(db.datoms(":aevt", _NAME), key=lambda datom: t_of(datom.tx))
    return {datom.v: next(db.datoms(":eavt", datom.e, _CHECKSUM)).v for datom in names}


def _waiting(db: Database, migrations: Sequence[Migration]) -> Sequence[Migration]:
    """Return the migrations to apply. Raises: TransactError, if the applied ones are not a beginning of the list."""
    applied, names = _applied(db), [migration.name for migration in migrations]
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise TransactError(
            ":db.error/migration-order", f"expected each migration once, got {twice} twice", name=twice, names=names
        )
    for i, (name, checksum) in enumerate(applied.items()):
        if names[i : i + 1] != [name]:
            raise _out_of_order(name, i, names)
        if migrations[i].checksum != checksum:
            raise TransactError(
                ":db.error/migration-changed",
                f"expected {name} as it was applied (checksum {checksum[:8]}…), but its forms have changed "
                f"({migrations[i].checksum[:8]}…); an applied migration stays, so add another one",
                name=name,
                expected=checksum,
                got=migrations[i].checksum,
            )
    return migrations[len(applied) :]


def _out_of_order(name: str, i: int, names: Sequence[str]) -> TransactError:
    if name not in names:
        text = f"{name} was applied to this store and is missing in the list; expected it at place {i + 1}"
    else:
        text = f"{names[i]} stands before {name}, which was applied without it; add new migrations at the end"
    return TransactError(":db.error/migration-order", text, name=name, place=i, names=names)


def _canonical(form: Any) -> Any:
    """Return a value with the same repr for all forms that mean the same."""
    if is_instance(form) and not isinstance(form, Mapping):
        form = {key: value for key, value in map_of(form).items() if value is not None}
    if isinstance(form, Mapping):
        return "map", sorted((repr(_canonical(key)), repr(_canonical(value))) for key, value in form.items())
    if isinstance(form, set | frozenset):
        return "set", sorted(repr(_canonical(item)) for item in form)
    if isinstance(form, list | tuple):
        return [_canonical(item) for item in form]
    return str(form) if isinstance(form, str) else ("value", edn.write(form))
