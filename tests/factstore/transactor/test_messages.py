"""Frames and messages: what is sent arrives, however the stream is cut, and nothing else is accepted."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factstore import CasFailed, FactStoreError, Keyword, Symbol, TransactError, Uri
from factstore.commit.conditions import Conditional
from factstore.errors import StorageError, UnknownOutcome
from factstore.transact import Cancelled
from factstore.transactor import codec, handshake, messages
from factstore.transactor.frames import Frames, framed
from factstore.transactor.handshake import Handshake

NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=8)
ZONES = st.just(UTC) | st.integers(-600, 600).map(lambda minutes: timezone(timedelta(minutes=minutes)))
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(max_size=20)
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.datetimes(timezones=st.none() | ZONES).map(lambda moment: moment.replace(fold=0))  # an offset says it all
    | NAMES.map(lambda name: Keyword(f":{name}"))
    | NAMES.map(Symbol)
    | NAMES.map(Uri)
)
HASHABLE = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3), max_leaves=3)
DATA = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.sets(HASHABLE, max_size=3)
    ),
    max_leaves=6,
)


def typed(value: Any) -> Any:
    """Return data with the types of all its parts."""
    if isinstance(value, list | tuple):
        return type(value), [typed(item) for item in value]
    if isinstance(value, dict):
        return dict, [(typed(key), typed(item)) for key, item in value.items()]
    if isinstance(value, set | frozenset):
        return type(value), sorted(map(repr, map(typed, value)))  # sorted: the order of a set of sets differs in equal ones
    if isinstance(value, datetime):
        return datetime, value.replace(tzinfo=None), value.utcoffset()
    return type(value), value


@given(DATA)
def test_data_arrives_with_its_types(value: Any) -> None:
    assert typed(codec.unpack(codec.pack(value))) == typed(value)


@given(st.lists(st.binary(max_size=50), max_size=8), st.lists(st.integers(1, 20)))
def test_frames_arrive_however_the_stream_is_cut(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(framed, bodies))
    frames, got, at = Frames(50), [], 0
    for cut in (*cuts, len(stream)):
        got += frames.feed(stream[at : at + cut])
        at += cut
    assert got == bodies


@given(st.integers(51, (1 << 32) - 1))
def test_a_frame_above_the_limit_is_rejected_before_its_body_arrives(length: int) -> None:
    with pytest.raises(StorageError) as raised:
        Frames(50).feed(length.to_bytes(4, "big"))
    assert (raised.value.code, raised.value.bytes, raised.value.limit) == (":db.error/frame-too-large", length, 50)


@given(DATA, st.binary(min_size=16, max_size=16), st.booleans(), st.none() | NAMES)
def test_a_request_arrives(tx_data: Any, txid: bytes, is_again: bool, key: str | None) -> None:
    sent = Conditional([tx_data], "reject", None, key, {})
    got = messages.read_request(messages.request(txid, 7.5, messages.packed(sent), is_again=is_again))
    assert (got.txid, got.is_again, got.patience) == (txid, is_again, 7.5)
    assert typed(got.transaction.tx_data) == typed([tx_data])
    assert (got.transaction.none, got.transaction.since, got.transaction.key, got.transaction.annotations) == ("reject", None, key, {})


def only(answer: messages.Answer) -> tuple[bytes, messages.Committed | FactStoreError]:
    """Return an answer as it arrives in a frame of its own."""
    (got,) = messages.read_answers(messages.answers(answer))
    return got


@given(st.lists(st.tuples(st.integers(0, 40_000), st.none() | st.integers(0, 20_000)), max_size=8), st.integers(1, 300))
def test_answers_arrive_in_their_order_and_large_ones_end_their_frame(sizes: list[tuple[int, int | None]], times: int) -> None:
    together, expected = messages.Answers(), []
    for n, (size, of_error) in enumerate(sizes * times if len(sizes) == 1 else sizes):
        txid = n.to_bytes(16, "big")
        error = None if of_error is None else TransactError(":db.error/x", "no", text="x" * of_error)
        tempids = {"a": n, "b" * size: n}
        together.add(messages.committed(txid, n, tempids) if error is None else messages.rejected(txid, error))
        expected.append((txid, n if error is None else error.message))
    bodies = Frames(1 << 24).feed(together.stream())
    got = [answer for body in bodies for answer in messages.read_answers(body)]
    assert [(txid, answer.t if isinstance(answer, messages.Committed) else answer.message) for txid, answer in got] == expected
    assert all(len(body) < 200 * 17_000 + 41_000 for body in bodies)


@given(
    st.sampled_from([TransactError, CasFailed, StorageError, Cancelled]),
    NAMES,
    st.text(st.characters(exclude_categories=["Cs"])),
    st.dictionaries(NAMES, DATA, max_size=3),
)
def test_an_error_arrives_as_the_same_exception(kind: type[FactStoreError], code: str, message: str, data: dict[str, Any]) -> None:
    txid, got = only(messages.rejected(b"x" * 16, kind(f":db.error/{code}", message, **data)))
    assert isinstance(got, FactStoreError)
    assert (txid, type(got), got.code, got.message) == (b"x" * 16, kind, f":db.error/{code}", message)
    assert typed(dict(got.data)) == typed(data)


LARGE = "x" * (12 << 20)


@pytest.mark.parametrize("data", [{"got": LARGE, "form": [LARGE]}, {"problems": [["x" * 900] * 200] * 200}, {LARGE: 1, "y" + LARGE: 2}])
def test_an_error_that_is_larger_than_a_message_arrives_with_shortened_data(data: dict[str, Any]) -> None:
    sent = TransactError(":db.error/x", "it is no number", path=[0, ":n"])
    sent.data = {**sent.data, **data}
    answer = messages.rejected(b"x" * 16, sent)
    assert len(messages.answers(answer)) < 1 << 21
    _, got = only(answer)
    assert isinstance(got, TransactError) and got.code == ":db.error/x"
    assert got.message.startswith("it is no number; the data of this error is shortened")
    assert len(got.data) == 1 + len(data) and "[0" in str(got.path)


def test_tempids_that_are_larger_than_a_message_arrive_as_an_unknown_outcome_with_the_t() -> None:
    """A transaction function can return any number of them."""
    together = messages.Answers()
    together.add(messages.committed(b"a" * 16, 1, {"a": 1}))
    together.add(messages.committed(b"b" * 16, 2, {n: n for n in range(1 << 40, (1 << 40) + 1_000_000)}))
    together.add(messages.committed(b"c" * 16, 3, {n: n for n in range(10_000)}))
    bodies = Frames(1 << 24).feed(together.stream())
    (_, first), (txid, second), (_, third) = [answer for body in bodies for answer in messages.read_answers(body)]
    assert isinstance(first, messages.Committed) and isinstance(third, messages.Committed)
    assert isinstance(second, UnknownOutcome) and (second.t, second.txids) == (2, [txid])
    assert len(third.tempids) == 10_000


def test_an_error_with_any_object_in_it_arrives_with_its_text() -> None:
    loop: list[Any] = []
    loop.append(loop)
    for thing in (object, loop, "\ud800"):
        _, got = only(messages.rejected(b"x" * 16, TransactError(":db.error/x", "no", got=thing)))
        assert isinstance(got, TransactError) and got.code == ":db.error/x"


def test_an_exception_of_another_family_arrives_as_one_of_this_family() -> None:
    _, got = only(messages.rejected(b"x" * 16, MemoryError("all of it")))
    assert isinstance(got, FactStoreError)
    assert got.code == ":db.error/transactor-failed" and "MemoryError: all of it" in got.message


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_rejected(body: bytes) -> None:
    for read in (messages.read_request, messages.read_answers, codec.unpack):
        try:
            read(body)
        except FactStoreError as error:
            assert error.code.startswith(":db.error/")


# -- handshake

KNOWN = Handshake(b"s" * 32, b"f" * 32)


def test_both_sides_prove_that_they_know_the_secret() -> None:
    server, client = handshake.challenge(), handshake.challenge()
    assert handshake.read_hello(handshake.hello(server)) == server
    assert handshake.read_response(KNOWN, server, handshake.response(KNOWN, server, client)) == client
    handshake.check_confirmation(KNOWN, server, client, handshake.confirmation(KNOWN, server, client))


@pytest.mark.parametrize("other", [Handshake(b"x" * 32, b"f" * 32), Handshake(b"s" * 32, b"x" * 32), Handshake(b"", b"")])
def test_another_secret_or_certificate_is_rejected_by_both_sides(other: Handshake) -> None:
    server, client = handshake.challenge(), handshake.challenge()
    with pytest.raises(StorageError, match="wrong-secret"):
        handshake.read_response(KNOWN, server, handshake.response(other, server, client))
    with pytest.raises(StorageError, match="wrong-secret"):
        handshake.check_confirmation(KNOWN, server, client, handshake.confirmation(other, server, client))


def test_a_proof_of_one_side_or_of_another_connection_is_no_proof() -> None:
    server, client = handshake.challenge(), handshake.challenge()
    reflected = client + handshake.confirmation(KNOWN, server, client)
    for message in (reflected, handshake.response(KNOWN, handshake.challenge(), client), b"", client):
        with pytest.raises(StorageError, match="wrong-secret"):
            handshake.read_response(KNOWN, server, message)


def test_another_version_is_named() -> None:
    for message in (b"", b"factstore transactor 2 " + b"c" * 32, b"factstore transactor 1 short"):
        with pytest.raises(StorageError, match="transactor-version"):
            handshake.read_hello(message)
