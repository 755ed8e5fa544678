"""What holds the file and the locks of a store can be passed around in its process, and not to another one."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

import factstore
from factstore import DatabaseError
from factstore.connection.asynchronous import AsyncConnection


@pytest.fixture
def objects():
    with factstore.connect("memory:") as conn:
        report = conn.transact([{":db/id": "x", ":db/doc": "a fact"}])
        db = report.db_after
        entity = db.entity(report.tempids["x"])
        yield {
            "Database": db,
            "Entity": entity,
            "Schema": db.schema,
            "Log": conn.log(),
            "TxReport": report,
            "Connection": conn,
            "AsyncConnection": AsyncConnection(conn),
        }


VALUES = ("Database", "Entity", "Schema", "Log", "TxReport")


@pytest.mark.parametrize("name", VALUES)
def test_an_immutable_value_is_its_own_copy(objects, name):
    value = objects[name]
    assert value is copy.copy(value)
    assert value is copy.deepcopy({"held": [value]})["held"][0]


@pytest.mark.parametrize("name", [*VALUES, "Connection", "AsyncConnection"])
def test_pickling_is_an_error_that_states_what_to_send_instead(objects, name):
    with pytest.raises(DatabaseError, match=f"class {name} belongs to its process.*send the address") as raised:
        pickle.dumps([objects[name]])
    assert (":db.error/process-bound", name) == (raised.value.code, raised.value.kind)


@pytest.mark.parametrize("name", ["Connection", "AsyncConnection"])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_connection_is_not_copied(objects, name, copied):
    with pytest.raises(DatabaseError, match=f"class {name} belongs to its process"):
        copied(objects[name])


def test_a_pool_of_processes_gets_the_error_and_works_on(objects):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with pytest.raises(DatabaseError, match="class Database belongs to its process"):
            pool.submit(len, [objects["Database"]]).result()
        assert 3 == pool.submit(len, [1, 2, 3]).result()
