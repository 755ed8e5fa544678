"""Files and transactions in the forms of Datomic's first years: literal ids, partitions, installed and altered attributes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import factstore
from factstore import Connection, Keyword, ReadError, TransactError, edn, pull, q, transact_file
from factstore.cli import main
from tests.factstore.tx import value, values, world

FILES = Path(__file__).parent / "datomic_files"
NAME = "{:db/ident :x/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one}"
AGE = "{:db/ident :x/age :db/valueType :db.type/long :db/cardinality :db.cardinality/one}"
KNOWS = "{:db/ident :x/knows :db/valueType :db.type/ref :db/cardinality :db.cardinality/many}"


def small(*transactions: Any) -> Connection:
    return world(*transactions, schema=f"[{NAME} {AGE} {KNOWS}]")


def names(conn: Connection) -> dict[str, int]:
    return dict(q("[:find ?n ?e :where [?e :x/name ?n]]", conn.db()))


# -- literal ids


def test_the_same_number_is_the_same_entity_in_a_transaction_and_another_in_the_next() -> None:
    form = '[{:db/id #db/id[:db.part/user -1] :x/name "n"} [:db/add #db/id[:db.part/user -1] :x/age 3]]'
    conn = small(form, form)
    found = q("[:find ?e ?n ?a :where [?e :x/name ?n] [?e :x/age ?a]]", conn.db())
    assert [("n", 3), ("n", 3)] == [row[1:] for row in found]


def test_the_number_of_another_partition_is_another_entity() -> None:
    conn = small('[{:db/id #db/id[:db.part/user -1] :x/name "a"} {:db/id #db/id[:people -1] :x/name "b"}]')
    assert 2 == len(set(names(conn).values()))


def test_an_id_without_a_number_is_an_entity_of_its_own() -> None:
    conn = small('[{:db/id #db/id[:db.part/user] :x/name "a"} {:db/id #db/id [:db.part/user] :x/name "b"}]')
    assert 2 == len(set(names(conn).values()))


def test_a_literal_id_is_a_value_too_and_is_among_the_tempids() -> None:
    conn = small()
    done = conn.transact(
        """[{:db/id #db/id[:db.part/user -1] :x/name "a" :x/knows [#db/id[:db.part/user -2] #db/id[:db.part/user -3]]}
            {:db/id #db/id[:db.part/user -2] :x/name "b"}
            [:db/add #db/id[:db.part/user -3] :x/name "c"]]"""
    )
    ids = names(conn)
    assert {ids["b"], ids["c"]} == values(conn.db(), ids["a"], ":x/knows")
    assert ids["b"] == done.tempids["#db/id[:db.part/user -2]"]


@pytest.mark.parametrize("literal", ["#db/id[:db.part/tx]", "#db/id[:db.part/tx -1]", "#db/id [:db.part/tx -1000]"])
def test_an_id_of_the_transaction_partition_is_the_transaction(literal: str) -> None:
    conn = small()
    done = conn.transact(f'[{{:db/id {literal} :x/name "why"}} [:db/add {literal} :x/age 5] [:db/add #db/id[:db.part/user] :x/age 1]]')
    assert "why" == value(conn.db(), factstore.t_to_tx(done.t), ":x/name")
    assert 5 == value(conn.db(), factstore.t_to_tx(done.t), ":x/age")


@pytest.mark.parametrize(
    "literal", ["#db/id[]", "#db/id[:a -1 -2]", "#db/id[1]", "#db/id :a", "#db/id[:a 5]", "#db/id[:a -1.5]", '#db/id["a"]']
)
def test_a_literal_id_of_another_shape_is_refused_with_its_place(literal: str) -> None:
    conn = small()
    with pytest.raises(ReadError, match=r"expected \[partition\]") as raised:
        conn.transact(f'[{{:x/name "a"\n :db/id {literal}}}]')
    assert 2 == raised.value.line
    assert 9 == raised.value.column
    assert {} == names(conn)


def test_with_and_functions_take_literal_ids_too() -> None:
    conn = small()
    assert 1 == len(factstore.with_(conn.db(), '[{:db/id #db/id[:db.part/user] :x/name "a"}]').tempids)
    factstore.register(
        "test.files/two", lambda _db: '[{:db/id #db/id[:db.part/user -1] :x/name "f"} [:db/add #db/id[:db.part/user -1] :x/age 9]]'
    )
    conn.transact("[[:test.files/two]]")
    assert 9 == value(conn.db(), names(conn)["f"], ":x/age")


def test_a_migration_with_literal_ids_is_applied_once(tmp_path: Path) -> None:
    (tmp_path / "001-names.edn").write_text(f"[{NAME.replace('{', '{:db/id #db/id[:db.part/db] :db.install/_attribute :db.part/db ', 1)}]")
    with factstore.connect("memory:") as conn:
        for applied in (1, 0):
            assert applied == len(factstore.migrate(conn, factstore.migrations_in(tmp_path)).applied)


# -- schema


def test_attributes_are_installed_by_name_and_leave_no_further_datom() -> None:
    plain, old = factstore.connect("memory:"), factstore.connect("memory:")
    plain.transact(f"[{NAME}]")
    done = old.transact(f"[{NAME.replace('{', '{:db/id #db/id[:db.part/db] :db.install/_attribute :db.part/db ', 1)}]")
    assert 4 == done.size
    assert plain.db().attribute(":x/name").ident == old.db().attribute(":x/name").ident


@pytest.mark.parametrize(
    "forms",
    [
        '[{:db/id :x/name :db/doc "d" :db.alter/_attribute :db.part/db}]',
        '[[:db/add :x/name :db/doc "d"] [:db/add :db.part/db :db.alter/attribute :x/name]]',
        '[{:db/id :x/name :db/doc "d"} {:db/id :db.part/db :db.alter/attribute :x/name}]',
        '[{:db/id :x/name :db/doc "d"} {:db/id :db.part/db :db.alter/attribute [:x/name :x/age]}]',
    ],
)
def test_attributes_are_altered_by_name_too(forms: str) -> None:
    conn = small()
    done = conn.transact(forms)
    assert "d" == conn.db().attribute(":x/name").doc
    assert 2 == done.size


@pytest.mark.parametrize(
    "forms",
    [
        "[{:db/id #db/id[:db.part/db] :db/ident :people :db.install/_partition :db.part/db}]",
        "[{:db/ident :people :db.install/_partition :db.part/db}]",
        '[{:db/id "p" :db/ident :people} [:db/add :db.part/db :db.install/partition "p"]]',
        "[[:db/add #db/id[:db.part/db -1] :db/ident :people] [:db/add :db.part/db :db.install/partition #db/id[:db.part/db -1]]]",
    ],
)
def test_a_partition_is_an_ident_and_no_more(forms: str) -> None:
    conn = small(forms, '[{:db/id #db/id[:people] :x/name "a"}]')
    assert Keyword(":people") == conn.db().ident(conn.db().entid(":people"))
    assert Keyword(":db.part/user") == factstore.part(names(conn)["a"])


@pytest.mark.parametrize(
    ("forms", "kind"),
    [
        ('[{:db/ident :f :db/fn #db/fn {:lang "clojure" :params [db] :code "[]"}}]', ReadError),
        ('[{:db/ident :f :db/fn "x"}]', TransactError),
        ("[{:db/ident :f :db/lang :db.lang/clojure}]", TransactError),
        ('[[:db/add "f" :db/code "x"] [:db/add "f" :db/ident :f]]', TransactError),
        ("[{:db/ident :f :db.install/_function :db.part/db}]", TransactError),
        ("[{:db/ident :x/f :db/valueType :db.type/fn :db/cardinality :db.cardinality/one}]", TransactError),
    ],
)
def test_a_function_in_a_transaction_is_refused_and_pointed_to_register(forms: str, kind: type[Exception]) -> None:
    conn = small()
    with pytest.raises(kind, match=r"factstore\.register"):
        conn.transact(forms)
    assert conn.db().entid(":f") is None


# -- hints


@pytest.mark.parametrize(
    ("key", "given", "wanted"),
    [
        (":y/name", '"a"', "a"),
        (":y/_boss", '"x"', None),
        (":y/age", "5", 5),
        (":y/big", "123456789012345678901234567890", 123456789012345678901234567890),
        (":y/tags", "[:a :b]", {":a", ":b"}),
        ("name", '"a"', None),
    ],
)
def test_the_declaration_that_an_error_gives_can_be_transacted_and_then_the_form(key: str, given: str, wanted: Any) -> None:
    conn = small()
    form = {":db/id": "x", ":x/name": "n", key: edn.read(given)}
    with pytest.raises(TransactError) as raised:
        conn.transact([form])
    declaration = raised.value.declaration
    assert declaration in raised.value.message
    conn.transact([edn.read(declaration.replace('":', ":").replace('": ', " ").replace('"', "").replace(": :", " :").replace(",", ""))])
    if key.startswith(":"):
        conn.transact([form, {":db/id": "x", ":x/age": 1}])
        if wanted is not None:
            found = values(conn.db(), names(conn)["n"], key)
            assert found == (wanted if isinstance(wanted, set) else {wanted})


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        (":db/valuetype", "did you mean :db/valueType"),
        (":db.install/_valueType", "are reserved"),
        (":db.nothing/like", "are reserved"),
    ],
)
def test_no_declaration_of_a_reserved_name_is_suggested(key: str, hint: str) -> None:
    conn = small()
    with pytest.raises(TransactError) as raised:
        conn.transact([{":x/name": "n", key: "x"}])
    assert ":db.error/not-an-entity" == raised.value.code
    assert "To declare it" not in raised.value.message
    assert hint in raised.value.message


# -- files


def test_a_schema_and_its_data_load_as_they_are() -> None:
    with factstore.connect("memory:") as conn:
        assert 2 == transact_file(conn, FILES / "neighbourhoods.edn").transactions
        db = conn.db()
        assert {("Hill Daily", "North"), ("Harbour watch", "East")} == q(
            """[:find ?n ?d :where [?c :community/name ?n] [?c :community/neighbourhood ?h]
                [?h :neighbourhood/district ?t] [?t :district/name ?d]]""",
            db,
        )
        assert {"Hill Daily"} == set(q('[:find [?n ...] :where [(fulltext $ :community/name "daily") [[?e ?n]]]]', db))
        assert {(":community.kind/blog",), (":community.kind/list",)} == q("[:find ?k :where [_ :community/kind ?e] [?e :db/ident ?k]]", db)
        assert "the first import" == q("[:find ?d . :where [?tx :db/doc ?d] [?tx :db/txInstant]]", db)


def test_a_vector_of_transactions_loads_one_by_one() -> None:
    seen: list[tuple[int, int]] = []
    with factstore.connect("memory:") as conn:
        done = transact_file(conn, FILES / "records.edn", progress=lambda *counts: seen.append(counts))
        assert 5 == done.transactions
        assert 5 == conn.db().basis_t
        assert [(n, 5) for n in range(1, 6)] == seen
        found = pull(
            conn.db(),
            "[:artist/name {:artist/country [:db/ident]} {:release/_artists [:release/name]}]",
            q("[:find ?e . :where [?e :artist/gid]]", conn.db()),
        )
        assert found == {
            ":artist/name": "The Northerners",
            ":artist/country": {":db/ident": ":country/SE"},
            ":release/_artists": [{":release/name": "First"}, {":release/name": "Second"}],
        }
        assert "The name as it is printed" == conn.db().attribute(":artist/name").doc


def test_transactions_one_after_the_other_load() -> None:
    with factstore.connect("memory:") as conn:
        assert 3 == transact_file(conn, FILES / "ledger.edn").transactions
        assert {("a", "70.00"), ("b", "30.00")} == {
            (a, str(b)) for a, b in q("[:find ?a ?b :where [?e :account/id ?a] [?e :account/balance ?b]]", conn.db())
        }


def of_many(path: Path, people: int) -> Path:
    """Write a file in classic form of people who know each other: six datoms a person, a hundred people a transaction."""
    chance = random.Random(7)
    schema = "\n".join(
        f"{{:db/id #db/id[:db.part/db] :db/ident :p/{name} :db/valueType :db.type/{kind} :db/cardinality :db.cardinality/{many}"
        f"{' :db/unique :db.unique/identity' if name == 'id' else ''} :db.install/_attribute :db.part/db}}"
        for name, kind, many in [("id", "long", "one"), ("name", "string", "one"), ("born", "instant", "one"), ("knows", "ref", "many")]
    )
    lines = [f"[\n{schema}\n]"]
    for start in range(0, people, 100):
        forms = [
            f'{{:db/id #db/id[:db.part/user {-1 - n}] :p/id {n} :p/name "Person {n}" :p/born #inst "{1950 + n % 50}-01-01T00:00:00.000-00:00"'
            f" :p/knows [{' '.join(f'#db/id[:db.part/user {-1 - m}]' for m in chance.sample(range(start, start + 100), 3))}]}}"
            for n in range(start, start + 100)
        ]
        lines.append("[\n" + "\n".join(forms) + "\n]")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_file_of_some_thousand_datoms_loads(tmp_path: Path) -> None:
    with factstore.connect("memory:") as conn:
        done = transact_file(conn, of_many(tmp_path / "people.edn", 1000))
        assert 11 == done.transactions
        assert 6011 == done.datoms - 13
        assert 1000 == q("[:find (count ?e) . :where [?e :p/id]]", conn.db())
        assert 3000 == q("[:find (count ?f) . :with ?e :where [?e :p/knows ?f] [?f :p/name]]", conn.db())


@pytest.mark.parametrize(
    ("text", "place", "message", "stays"),
    [
        (f"[{NAME}]\n\n[{{:x/name 5}}]", (3, 2), ":x/name takes a str", 1),
        (f'[[{NAME}]\n [{{:x/name "a"}}\n  #_ skipped\n  {{:x/name "b"}} {{:x/nmae "c"}}]]', (4, 17), "did you mean :x/name", 1),
        (f'[{NAME}]\n[[:db/add #db/id[:p -1] :x/name #inst "2020"]]', (2, 2), ":x/name takes a str", 1),
        (f"[{NAME}]\n[[:db/add", (2, 2), "expected ] to close [", 0),
        (f"[{NAME}]\n[#db/fn {{}}]", (2, 2), "factstore.register", 0),
        (f"[{NAME}]\n[1 2]", (2, 2), "expected a transaction", 0),
        (f"[[{NAME}]\n {NAME}]", (2, 2), "expected a transaction", 0),
        (f"[{NAME}]\n{NAME}", (2, 1), "expected a transaction", 0),
        (f"[{NAME}]\n:keyword", (2, 1), "expected a transaction", 0),
        ("[^:meta {}]", (1, 2), "metadata of Clojure source", 0),
    ],
)
def test_an_error_in_a_file_names_its_place_and_what_stays(
    tmp_path: Path, text: str, place: tuple[int, int], message: str, stays: int
) -> None:
    path = tmp_path / "some.edn"
    path.write_text(text)
    with factstore.connect("memory:") as conn:
        with pytest.raises((ReadError, TransactError)) as raised:
            transact_file(conn, path)
        assert (str(path), *place) == (raised.value.file, raised.value.line, raised.value.column)
        assert message in raised.value.message
        assert str(path) in raised.value.message
        assert stays == conn.db().basis_t


def test_a_file_that_is_no_text_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "some.edn"
    path.write_bytes(b'[{:x/name\n "a\xff"}]')
    with factstore.connect("memory:") as conn, pytest.raises(ReadError, match="expected text in UTF-8") as raised:
        transact_file(conn, path)
    assert 2 == raised.value.line
    assert 4 == raised.value.column


def test_the_command_loads_a_file_into_a_new_store_or_one_that_is_there(tmp_path: Path) -> None:
    store, run = str(tmp_path / "s.facts"), CliRunner().invoke
    done = run(main, ["load", str(FILES / "ledger.edn"), "--store", store])
    assert 0 == done.exit_code
    assert done.output.startswith("3 transactions, ") is True
    again = run(main, ["load", str(FILES / "records.edn"), "--store", store])
    assert 0 == again.exit_code
    with factstore.connect(store, create=False) as conn:
        assert 8 == conn.db().basis_t


def test_the_command_tells_the_place_of_an_error(tmp_path: Path) -> None:
    path = tmp_path / "bad.edn"
    path.write_text(f"[{NAME}]\n[{{:x/name 5}}]")
    done = CliRunner().invoke(main, ["load", str(path), "--store", str(tmp_path / "s.facts")])
    assert 1 == done.exit_code
    assert f"{path}, line 2, column 2, transaction 2 of 2: :x/name takes a str" in done.output
    missing = CliRunner().invoke(main, ["load", str(tmp_path / "none.edn"), "--store", str(tmp_path / "t.facts")])
    assert 3 == missing.exit_code
    assert (tmp_path / "t.facts").exists() is False
