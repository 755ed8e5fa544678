"""A store in an application of Starlette: snapshots, answers to errors, and the console; FastAPI is in tests/overseer/contrib."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

import factstore
from factstore import errors
from factstore.contrib.starlette import STATUSES, Store
from factstore.errors import CATEGORIES

SCHEMA = """[{:db/ident :person/email :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
             {:db/ident :person/age :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]"""

RAISED = {
    "cas": (errors.CasFailed(":db.error/cas-failed", "it is 7"), 409),
    "unknown": (errors.DatabaseError(":db.error/not-an-entity", "no such entity"), 404),
    "query": (errors.QueryError(":db.error/invalid-query", "no variable"), 400),
    "timeout": (errors.QueryStopped(":db.error/query-timeout", "30 s"), 503),
    "large": (errors.QueryStopped(":db.error/query-too-large", "1000 rows"), 400),
    "busy": (errors.StoreBusy(":db.error/store-busy", "pid 7 writes"), 503),
    "read-only": (errors.ReadOnly(":db.error/read-only", "/srv/shop.facts"), 403),
    "unknown-outcome": (errors.UnknownOutcome(":db.error/storage-unknown-outcome", "db1:5432 closed"), 500),
    "corrupt": (errors.Corrupt(":db.error/storage-corrupt", "/srv/shop.facts"), 500),
}


@pytest.fixture
def store() -> Store:
    return Store("memory:", setup=lambda conn: conn.transact(SCHEMA))


def routes(store: Store) -> Iterator[Route]:
    def twice(request: Request) -> Response:
        before = store.db(request).basis_t
        store.conn.transact([{":person/email": "ann@x"}])
        return JSONResponse([before, store.db(request).basis_t, store.conn.db().basis_t])

    def fail(request: Request) -> Response:
        raise RAISED[request.path_params["name"]][0]

    def add(request: Request) -> Response:
        store.conn.transact([{":person/age": request.query_params["age"]}])
        return PlainTextResponse("added")

    yield Route("/twice", twice)
    yield Route("/fail/{name}", fail)
    yield Route("/add", add, methods=["POST"])


@pytest.fixture
def app(store: Store) -> Starlette:
    made = Starlette(routes=list(routes(store)), lifespan=store.lifespan)
    store.install(made)
    made.mount("/console", store.console(lambda request: request.headers.get("x-user"), hosts=["testserver"]))
    return made


@pytest.fixture
def client(app: Starlette) -> Iterator[TestClient]:
    with TestClient(app) as made:
        yield made


def test_all_reads_of_a_request_see_the_same_database(client: TestClient) -> None:
    before, still, newest = client.get("/twice").json()
    assert before == still < newest
    assert newest == client.get("/twice").json()[0]


@pytest.mark.parametrize("name", RAISED)
def test_an_error_has_the_status_of_its_category(client: TestClient, name: str) -> None:
    error, status = RAISED[name]
    answer = client.get(f"/fail/{name}")
    assert (status, status, error.code) == (answer.status_code, answer.json()["status"], answer.json()["code"])
    assert "application/problem+json" == answer.headers["content-type"]


@pytest.mark.parametrize("name", RAISED)
def test_only_the_sentence_of_an_error_of_the_request_is_shown(client: TestClient, name: str) -> None:
    error, status = RAISED[name]
    answer = client.get(f"/fail/{name}")
    assert (status < 500) == (error.message in answer.text)
    assert (status == 503) == ("retry-after" in answer.headers)


def test_a_fault_of_the_server_is_logged(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, logger="factstore"):
        client.get("/fail/cas")
        assert [] == caplog.records
        client.get("/fail/corrupt")
    assert "/srv/shop.facts" in caplog.text


def test_every_category_has_a_status() -> None:
    assert set() == {"incorrect", *CATEGORIES.values()} - STATUSES.keys()


def test_statuses_can_be_chosen_by_category_and_by_code(store: Store) -> None:
    app = Starlette(routes=list(routes(store)), lifespan=store.lifespan)
    store.install(app, statuses={**STATUSES, "incorrect": 422, ":db.error/cas-failed": 412})
    with TestClient(app) as client:
        assert [422, 412, 404] == [client.get(f"/fail/{name}").status_code for name in ("query", "cas", "unknown")]


def test_a_rejected_transaction_is_a_bad_request_and_writes_nothing(client: TestClient, store: Store) -> None:
    before = store.conn.db().basis_t
    answer = client.post("/add?age=old")
    assert (400, ":db.error/wrong-type-for-attribute") == (answer.status_code, answer.json()["code"])
    assert before == store.conn.db().basis_t


def test_the_console_is_mounted_and_admits_whom_the_application_admits(client: TestClient) -> None:
    assert 401 == client.get("/console/").status_code
    page = client.get("/console/schema", headers={"x-user": "ann"})
    assert (200, True) == (page.status_code, ":person/email" in page.text)


def test_an_application_can_be_started_again(app: Starlette, store: Store) -> None:
    for _ in range(2):
        with TestClient(app) as client:
            assert [1, 1, 2] == client.get("/twice").json()
            assert 200 == client.get("/console/", headers={"x-user": "ann"}).status_code


@pytest.mark.parametrize("is_ended", [False, True], ids=["before", "after"])
def test_outside_of_the_lifespan_the_error_names_the_remedy(app: Starlette, store: Store, is_ended: bool) -> None:
    if is_ended:
        with TestClient(app):
            pass
    with pytest.raises(errors.Closed, match=r"lifespan=store\.lifespan"):
        _ = store.conn


def test_an_application_without_the_lifespan_answers_a_fault_and_logs_the_remedy(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    app = Starlette(routes=list(routes(store)))
    store.install(app)
    assert 500 == TestClient(app).get("/twice").status_code
    assert "lifespan=store.lifespan" in caplog.text


def test_a_setup_that_fails_leaves_the_store_closed() -> None:
    opened: list[factstore.Connection] = []

    def setup(conn: factstore.Connection) -> None:
        opened.append(conn)
        conn.transact("[{:no/such 1}]")

    with pytest.raises(errors.TransactError), TestClient(Starlette(lifespan=Store("memory:", setup=setup).lifespan)):
        pass
    with pytest.raises(errors.Closed):
        opened[0].transact([])
