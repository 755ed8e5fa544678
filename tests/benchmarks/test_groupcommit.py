"""The bare group committer, which `benchmarks.cluster` compares with a transactor."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.groupcommit import group_committer, submitting
from tests.postgres import Server


def test_each_answered_record_is_in_the_table(server: Server):
    where = f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres"
    server.sql("DROP TABLE IF EXISTS bare")
    with group_committer(where) as port, submitting(port, b"record") as client, ThreadPoolExecutor(8) as threads:

        def run(submit: Callable[[int], object]) -> None:
            for n in range(25):
                submit(n)

        list(threads.map(run, [client(number) for number in range(8)]))
        assert server.sql("SELECT count(*), min(convert_from(body, 'UTF8')) FROM bare").strip() == "200|record"
