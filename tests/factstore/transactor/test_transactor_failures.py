"""What happens when a transactor, a client or the connection fails: nothing is lost, nothing is committed twice.

The transactors are processes that are really killed and stopped.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress

import pytest

import factstore
from factstore import FactStoreError, TransactError, TxReport
from factstore.datom import t_of
from factstore.errors import Fenced, StorageError, StoreBusy, Unavailable, UnknownOutcome
from factstore.storage import Led, open_storage
from factstore.transactor import handshake, messages, sent, service, tls
from factstore.transactor.frames import framed
from factstore.transactor.server import Limits
from factstore.transactor.service import Options
from tests.factstore.transactor.running import LONG, Transactor, transactor, transactor_here, transactor_that_waits
from tests.postgres import Server, running, whole_log

SCHEMA = [
    {":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one", ":db/unique": ":db.unique/value"},
    {":db/ident": ":text", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"},
]


@pytest.fixture
def uri(server: Server) -> str:
    made = server.uri()
    with factstore.connect(made) as conn:
        conn.transact(SCHEMA)
    return made


class Load:
    """Threads that commit, each a number of its own after the other, until they are told to stop."""

    def __init__(self, uri: str, threads: int = 4) -> None:
        self.acknowledged: dict[int, int] = {}  # number → t
        self.unknown: list[int] = []
        self.rejected: list[Exception] = []
        self._stop = threading.Event()
        self._more = threading.Condition()
        self._conns = [factstore.connect(uri) for _ in range(2)]
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self, first: int) -> None:
        conn, n = self._conns[first % 2], first
        while not self._stop.is_set():
            n += len(self._threads)
            try:
                t = conn.transact([{":n": n}]).t
            except UnknownOutcome:
                self.unknown.append(n)
                continue
            except StorageError as error:
                self.rejected.append(error)
                continue
            with self._more:
                self.acknowledged[n] = t
                self._more.notify_all()

    def wait_for_more(self, count: int = 50) -> None:
        """Wait until so many more transactions were acknowledged."""
        with self._more:
            wanted = len(self.acknowledged) + count
            assert self._more.wait_for(lambda: len(self.acknowledged) >= wanted, LONG), self.rejected

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(LONG)
            assert not thread.is_alive()
        for conn in self._conns:
            conn.close()


def check_log(uri: str, load: Load) -> None:
    """Check that each acknowledged number is in the log once, at its t, and no rejected one is."""
    with factstore.connect(uri) as conn:
        db = conn.db()
        found = {datom.v: t_of(datom.tx) for datom in db.datoms("aevt", ":n")}
        assert load.acknowledged.items() <= found.items()
        assert found.keys() <= load.acknowledged.keys() | set(load.unknown)
        assert conn._storage.problems() == []
        with closing(open_storage(uri)) as storage:
            txids = [record.txid for record in whole_log(storage)]
        assert len(set(txids)) == len(txids) == db.basis_t


# -- a leader that ends


@pytest.mark.slow
def test_another_transactor_takes_over_when_the_first_is_killed_under_load(uri: str) -> None:
    with transactor(uri) as first:
        load = Load(uri)
        second = Transactor(uri)
        running = [first, second]
        try:
            second.wait_until_it_waits()
            for _ in range(3):
                load.wait_for_more()
                running[0].kill()
                load.wait_for_more(1)
                running[0].end()
                running = [running[1], Transactor(uri)]
                running[1].wait_until_it_waits()
            load.wait_for_more()
        finally:
            load.end()
            for process in running:
                process.end()
    assert load.rejected == [] and load.unknown == []
    check_log(uri, load)


@pytest.mark.slow
def test_a_transactor_that_was_stopped_and_continues_is_rejected_by_the_epoch(uri: str) -> None:
    with transactor(uri) as first, transactor_that_waits(uri) as second:
        load = Load(uri)
        load.wait_for_more()
        first.send(signal.SIGSTOP)
        load.wait_for_more(1)
        second.wait_until_it_leads()
        first.send(signal.SIGCONT)
        load.wait_for_more()
        first.wait_until_it_waits()
        load.wait_for_more()
        load.end()
    assert load.rejected == [] and load.unknown == []
    check_log(uri, load)


def test_what_a_deposed_transactor_gets_waits_for_the_next_leader(uri: str) -> None:
    with transactor(uri) as first, factstore.connect(uri) as conn, closing(open_storage(uri)) as other:
        assert isinstance(other, Led)
        conn.transact([])
        other._written("UPDATE factstore.store SET leader_until = now() WHERE id = %(store)s RETURNING 1")  # type: ignore[attr-defined]
        assert other.leadership.lead("192.0.2.1:1", b"s", b"f")  # where nobody answers
        future = conn.transact_async([{":n": 1}])
        first.wait_until_it_waits()
        assert not future.done()
        other.leadership.resign()
        assert [1] == [d.v for d in future.result(LONG).tx_data if d.v == 1]
        assert 1 == len(list(conn.db().datoms("aevt", ":n")))


def test_a_deposed_handle_appends_nothing(uri: str) -> None:
    with closing(open_storage(uri)) as old, closing(open_storage(uri)) as new:
        assert isinstance(old, Led) and isinstance(new, Led)
        assert old.leadership.lead("a:1", b"s", b"f")
        assert not new.leadership.lead("b:1", b"s", b"f")
        head = old.append([(b"1" * 16, b"x")], expected_t=old.head())
        old._written("UPDATE factstore.store SET leader_until = now() WHERE id = %(store)s RETURNING 1")  # type: ignore[attr-defined]
        assert new.leadership.lead("b:1", b"s", b"f")
        assert (new.leadership.term, old.leadership.renew()) == (2, False)
        for _ in range(2):
            with pytest.raises(Fenced):
                old.append([(b"2" * 16, b"x")], expected_t=head)
        assert new.append([(b"3" * 16, b"x")], expected_t=head) == head + 1
        old.leadership.resign()
        leader = new.leadership.leader()
        assert leader is not None and leader.is_alive and leader.address == "b:1"
        new.leadership.resign()
        leader = old.leadership.leader()
        assert leader is not None and not leader.is_alive


def test_a_transactor_that_ends_answers_all_and_lets_another_lead_at_once(uri: str) -> None:
    with factstore.connect(uri) as conn:
        with transactor(uri) as first, transactor_that_waits(uri) as second:
            futures: list[Future[TxReport]] = []
            conn.transact([])
            futures = [conn.transact_async([{":n": n}]) for n in range(2000)]
            assert first.end() == 0
            second.wait_until_it_leads()
            assert len({future.result(LONG).t for future in futures}) == 2000
        assert factstore.q("[:find (count ?e) . :where [?e :n]]", conn.db()) == 2000


@pytest.mark.slow
def test_a_transaction_commits_once_when_client_and_transactor_both_die(uri: str) -> None:
    """A process sends transactions with a txid of its own, and dies with the transactor; the next process sends them again."""
    with transactor(uri) as first:
        with factstore.connect(uri) as conn:
            conn.transact([])
        program = (
            "import sys, factstore; conn = factstore.connect(sys.argv[1])\n"
            "for n in range(10**9): print(n, conn.transact([{':n': n}], key=f'k{n}').t, flush=True)"
        )
        process = subprocess.Popen([sys.executable, "-c", program, uri], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        lines = [next(process.stdout) for _ in range(50)]
        first.kill()
        process.kill()
        lines += process.stdout.read().splitlines(keepends=True)
        process.stdout.close()
        process.wait(LONG)
    complete = [line.split() for line in lines if line.endswith("\n") and len(line.split()) == 2]
    acknowledged = {int(n): int(t) for n, t in complete}
    with transactor(uri), factstore.connect(uri) as conn:
        again = {n: conn.transact([{":n": n}], key=f"k{n}").t for n in range(max(acknowledged) + 3)}
        assert acknowledged.items() <= again.items()
        assert factstore.q("[:find (count ?e) . :where [?e :n]]", conn.db()) == len(again)


def test_a_transaction_that_is_sent_again_after_its_commit_is_found(uri: str) -> None:
    with transactor_here(uri), factstore.connect(uri) as conn:
        conn.transact([])
        body = messages.request(b"t" * 16, 10.0, b"\x91\x91\x83\xa6:db/id\xa1a\xa2:n\x07\xa5:text\xa1x", is_again=False)
        again = b"\x01" + body[1:]
        answers = [only(answer) for answer in talk(uri, body, again, again)]
        first = answers[0]
        assert isinstance(first, messages.Committed)
        assert [(answer.t, dict(answer.tempids)) for answer in answers if isinstance(answer, messages.Committed)] == 3 * [
            (first.t, dict(first.tempids))
        ]
        assert conn.db().basis_t == first.t


# -- no leader


def test_without_a_leader_a_transaction_waits_and_then_raises(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent, "GRACE_SECONDS", 0.2)
    with transactor(uri), factstore.connect(uri) as conn:
        conn.transact([])
    with factstore.connect(uri, busy_timeout=0.3) as conn:
        with pytest.raises(Unavailable) as raised:
            conn.transact([{":n": 1}])
        assert raised.value.code == ":db.error/no-transactor"
        assert "factstore transactor" in raised.value.message
        service.retire(uri)
        conn.db()
        conn.sync()
        assert conn.transact([{":n": 1}]).t == 3


def test_a_transaction_waits_for_the_next_leader(uri: str) -> None:
    with transactor(uri):
        pass
    with factstore.connect(uri) as conn:
        future = conn.transact_async([{":n": 1}])
        with transactor_here(uri):
            assert future.result(LONG).t == 2


def test_closing_the_connection_waits_for_the_outcome(uri: str) -> None:
    with transactor_here(uri):
        conn = factstore.connect(uri)
        futures = [conn.transact_async([{":n": n}]) for n in range(100)]
        conn.close()
        assert all(future.done() for future in futures)
        assert len({future.result().t for future in futures}) == 100


# -- a queue that is full


def test_a_full_queue_lets_clients_wait_and_loses_nothing(uri: str) -> None:
    with transactor_here(uri, Options(limits=Limits(count=10))), factstore.connect(uri) as conn:
        futures = [conn.transact_async([{":n": n, ":text": "x" * 2000}]) for n in range(1500)]
        assert len({future.result(LONG).t for future in futures}) == 1500


def test_a_transaction_that_waited_for_too_long_is_rejected(uri: str) -> None:
    with transactor_here(uri), factstore.connect(uri) as blocker, factstore.connect(uri, busy_timeout=0.2) as conn:
        with blocker.transaction() as tx:
            tx.transact([{":n": 1}])
            first = conn.transact_async([{":n": 2}])
            futures = [conn.transact_async([{":n": n}]) for n in range(3, 2003)]
            threading.Event().wait(1.5)  # longer than the transactions may wait
        late = [future.exception(LONG) for future in futures]
        assert first.exception(LONG) is None or isinstance(first.exception(), StoreBusy)
        rejected = [error for error in late if error is not None]
        assert rejected and all(isinstance(error, StoreBusy) for error in rejected)
        committed = {datom.v for datom in conn.db().datoms("aevt", ":n")}
        assert len(committed) == 1 + (first.exception() is None) + late.count(None)


# -- strangers


def talk(uri: str, *requests: bytes, secret: bytes | None = None) -> list[bytes]:
    """Send requests as a client does, and return the answers."""

    async def run() -> list[bytes]:
        with closing(open_storage(uri)) as storage:
            assert isinstance(storage, Led)
            leader = storage.leadership.leader()
        assert leader is not None
        host, port = leader.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=tls.client_context())
        known = handshake.Handshake(leader.secret if secret is None else secret, leader.fingerprint)
        mine = handshake.challenge()

        async def frame() -> bytes:
            length = int.from_bytes(await reader.readexactly(4), "big")
            return await reader.readexactly(length)

        try:
            theirs = handshake.read_hello(await frame())
            writer.write(framed(handshake.response(known, theirs, mine)))
            first = await frame()
            if len(first) != 32:
                return [first, *([] if await reader.read() else [b""])]
            answers = []
            for request in requests:
                writer.write(framed(request))
                answers.append(await frame())
            return answers
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    return asyncio.run(run())


def only(body: bytes) -> messages.Committed | FactStoreError:
    """Return the answer in a frame with one."""
    ((_, answer),) = messages.read_answers(body)
    return answer


def test_a_client_without_the_secret_is_disconnected(uri: str) -> None:
    with transactor_here(uri), factstore.connect(uri) as conn:
        conn.transact([])
        answer, end = talk(uri, b"x", secret=b"guessed")
        error = only(answer)
        assert isinstance(error, StorageError) and error.code == ":db.error/wrong-secret"
        assert end == b""
        assert conn.transact([{":n": 1}]).t


def test_a_request_that_cannot_be_read_is_rejected_and_the_next_one_is_not(uri: str) -> None:
    with transactor_here(uri):
        good = messages.request(b"g" * 16, 10.0, b"\x91\x90", is_again=False)
        bad = messages.request(b"b" * 16, 10.0, b"\xc1nonsense", is_again=False)
        answers = talk(uri, bad, good, b"short")
        errors = [only(answer) for answer in answers]
        assert isinstance(errors[0], StorageError) and errors[0].code == ":db.error/invalid-frame"
        assert isinstance(errors[1], messages.Committed)
        assert isinstance(errors[2], StorageError)


def test_a_frame_above_the_limit_ends_the_connection(uri: str) -> None:
    with transactor_here(uri), factstore.connect(uri) as conn:
        conn.transact([])
        with closing(open_storage(uri)) as storage:
            assert isinstance(storage, Led)
            leader = storage.leadership.leader()
        assert leader is not None
        host, port = leader.address.split(":")
        with tls.client_context().wrap_socket(socket.create_connection((host, int(port)))) as wire:
            wire.sendall((1 << 31).to_bytes(4, "big") + b"x" * 100)
            received = b""
            while piece := wire.recv(1 << 16):
                received += piece
        assert b"frame-too-large" in received
        assert conn.transact([]).t


def test_a_client_does_not_talk_to_a_process_with_another_certificate(uri: str) -> None:
    with closing(open_storage(uri)) as storage:
        assert isinstance(storage, Led)
        with pretender() as (port, heard):
            assert storage.leadership.lead(f"127.0.0.1:{port}", b"secret", b"f" * 32)
            with factstore.connect(uri, busy_timeout=1.0) as conn:
                future = conn.transact_async([{":n": 1}])
                assert heard.wait(LONG)
                assert not future.done()
                storage.leadership.resign()
                with transactor_here(uri):
                    assert future.result(LONG).t == 2
    assert heard.received == b""


class Heard(threading.Event):
    """What a pretender got."""

    received = b""


@contextmanager
def pretender() -> Iterator[tuple[int, Heard]]:
    """Run a TLS server with a certificate of its own, which keeps what a client sends."""
    heard = Heard()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(LONG)

        def serve() -> None:
            plain, _ = listening.accept()
            plain.settimeout(LONG)
            with plain, suppress(OSError), tls.new_identity().context.wrap_socket(plain, server_side=True) as wire:
                heard.received = wire.recv(1 << 16)
            heard.set()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1], heard
        thread.join(LONG)


def test_an_interrupted_call_tells_that_its_transaction_was_committed(uri: str) -> None:
    with transactor_here(uri), factstore.connect(uri) as conn, factstore.connect(uri) as other:
        conn.transact([])
        holds, ends = threading.Event(), threading.Event()

        def hold() -> None:
            with other.transaction():  # the transactor waits for the writer lock
                holds.set()
                threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
                ends.wait(1.0)

        holder = threading.Thread(target=hold)
        holder.start()
        assert holds.wait(LONG)
        with pytest.raises(factstore.Interrupted) as raised:
            conn.transact([{":n": 1}])
        holder.join(LONG)
        assert raised.value.t == conn.db().basis_t == 3


def test_a_wrong_address_of_the_command_is_wrong_usage(uri: str) -> None:
    for arguments in (("--listen", "nothing"), ("--listen", "host:99999"), ("--listen", f"host:{'9' * 5000}"), ("--address", "x")):
        process = Transactor(uri, *arguments)
        assert process.process.wait(LONG) == 2
        process.end()
        assert "HOST:PORT" in process.errors


def test_an_error_of_a_transaction_leaves_the_connection_open(uri: str) -> None:
    with transactor_here(uri), factstore.connect(uri) as conn:
        for n in range(3):
            with pytest.raises(TransactError):
                conn.transact([{":unknown": n}])
        assert conn.transact([]).t == 2


def test_a_transaction_that_arrives_late_on_a_lost_connection_changes_nothing(uri: str) -> None:
    """Its txid is in the log already; a second record with it would fail, with all others of the same append."""
    with transactor_here(uri), factstore.connect(uri) as conn:
        conn.transact([])
        body = messages.request(b"t" * 16, 10.0, b"\x91\x90", is_again=False)
        first, second = (only(answer) for answer in talk(uri, body, body))
        assert isinstance(first, messages.Committed) and isinstance(second, messages.Committed)
        assert first.t == second.t == conn.db().basis_t


def test_a_transactor_waits_for_a_server_when_it_is_started() -> None:
    with running("fsync=off") as server:
        uri = server.uri()
        factstore.connect(uri).close()
        server.stop()
        waiting = Transactor(uri)
        waiting.wait_until_it_tries_again()
        server.start("fsync=off")
        waiting.wait_until_it_leads()
        assert 0 == waiting.end()
