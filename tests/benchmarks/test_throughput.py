"""`benchmarks.throughput`, the script for the transactions of your own machine."""

from __future__ import annotations

import argparse
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from benchmarks import throughput
from benchmarks.throughput import FORMS, ID, NUMBER, SCHEMA, Cell, Result

SHORT = ("--seconds", "0.02")


def options(*arguments: str) -> argparse.Namespace:
    return throughput.parser().parse_args(list(arguments))


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("batch", [1, 3])
def test_every_form_is_accepted_and_counted(form: str, batch: int, tmp_path: Path):
    found = throughput.measure(Cell("memory:", "full", form, batch, 1, 1), 0.02, tmp_path)
    assert found.forms == found.transactions * batch
    assert 0 < found.p50 <= found.p99


def test_threads_and_processes_write_to_one_file(tmp_path: Path):
    store = tmp_path / "kept.facts"
    throughput.main(["--uri", str(store), "--form", "map", "--batch", "1", "--threads", "2", "--processes", "2", "--sync", "none", *SHORT])
    with factstore.connect(str(store), create=False) as conn:
        ids = factstore.q(f"[:find [?id ...] :where [?e {ID} ?id]]", conn.db())
    threads = {id.split("/")[0] for id in ids}
    assert 4 == len(threads)
    assert len(ids) > 4 * throughput.KNOWN  # each has written more than what is there when the clock starts


def test_new_files_are_removed(tmp_path: Path):
    throughput.main(["--uri", "file", "--form", "add", "--sync", "none", "--batch", "1", "--folder", str(tmp_path), *SHORT])
    assert [] == list(tmp_path.iterdir())


def test_an_upsert_changes_a_known_entity_and_adds_none():
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        known = throughput.known_of(conn)
        conn.transact([FORMS["upsert"](known, n) for n in range(5, 9)])
        ids = list(conn.db().datoms("aevt", ID))
        assert throughput.KNOWN == len(ids)
        assert 8 == factstore.pull(conn.db(), [NUMBER], known.entities[8])[NUMBER]


@given(
    st.lists(st.sampled_from(["memory:", "file"]), min_size=1, unique=True),
    st.lists(st.sampled_from(["full", "none"]), min_size=1, unique=True),
    st.lists(st.integers(1, 3), min_size=1, unique=True),
)
def test_combinations_are_all_that_are_possible_each_once(uris: list[str], syncs: list[str], processes: list[int]):
    arguments = ["--uri", ",".join(uris), "--sync", ",".join(syncs), "--processes", ",".join(map(str, processes)), "--form", "add"]
    arguments += ["--batch", "1"]
    files = len(syncs) * len(processes) if "file" in uris else 0
    memory = int("memory:" in uris and 1 in processes)
    if files + memory == 0:
        with pytest.raises(SystemExit):
            throughput.cells(options(*arguments))
    else:
        made = throughput.cells(options(*arguments))
        assert (files, memory) == tuple(sum(cell.uri == uri for cell in made) for uri in ("file", "memory:"))
        assert len(made) == len(set(made))


def test_results_are_written_as_json_and_as_a_picture(tmp_path: Path, capsys: Any):
    there, drawn = tmp_path / "found.json", tmp_path / "found.svg"
    arguments = ["--uri", "memory:", "--form", "add,map", "--batch", "2", "--json", str(there), "--picture", str(drawn), *SHORT]
    throughput.main(arguments)
    rows = json.loads(there.read_text())
    assert [("memory:", None, "add", 2), ("memory:", None, "map", 2)] == [
        (row["uri"], row["sync"], row["form"], row["batch"]) for row in rows
    ]
    assert all(row["transactions"] > 0 for row in rows)
    bars = [element for element in ET.parse(drawn).iter("{http://www.w3.org/2000/svg}rect") if element.get("fill") == "#2f6fde"]
    assert 2 == len(bars)
    assert 3 == len(capsys.readouterr().out.splitlines())


def test_a_name_with_markup_is_escaped_in_the_picture():
    found = Result(Cell("a<b&c", "full", "add", 1, 1, 1), 1.0, 1.0, 1.0, 1.0)
    ET.fromstring(throughput.picture([found]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--form", "add,adx"], "'adx' is not one of add, map, upsert, lookup, edn"),
        (["--sync", "half"], "'half' is not one of full, none"),
        (["--batch", "0"], "'0' is not a whole number from 1"),
        (["--threads", "1,x"], "'x' is not a whole number from 1"),
        (["--processes", "-1"], "'-1' is not a whole number from 1"),
        (["--seconds", "nan"], "'nan' is not a number of seconds above 0"),
        (["--seconds", "soon"], "'soon' is not a number of seconds above 0"),
        (["--uri", ""], "'' is not one of a uri"),
        (["--uri", "memory:", "--processes", "2"], "a store in memory belongs to one process"),
        (["--folder", "/no/such/folder"], "the folder /no/such/folder does not exist"),
        (["--json", "/no/such/folder/x.json"], "the folder /no/such/folder does not exist"),
        (["--uri", "/no/such/x.facts", "--form", "add"], ":db.error/not-a-store"),
    ],
)
def test_a_bad_option_is_refused_with_a_sentence(arguments: list[str], message: str, capsys: Any):
    with pytest.raises(SystemExit) as error:
        throughput.main(arguments)
    assert 2 == error.value.code
    assert message in capsys.readouterr().err
