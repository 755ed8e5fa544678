"""The texts of the statements, and the encoding of their arrays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from psycopg.adapt import Transformer
from psycopg.postgres import types
from psycopg.pq import Format

from factstore.storage.postgres import statements
from factstore.storage.postgres.servers import ByteArrays


def test_arrays_of_bytes_are_sent_in_binary():
    # As text, every element is escaped by Python, and takes more than twice the bytes.
    texts = {name: text for name, text in vars(statements).items() if isinstance(text, str) and "::bytea[]" in text}
    assert texts and all(")s::bytea[]" not in text for text in texts.values())


@given(st.lists(st.none() | st.binary(max_size=40)))
def test_an_array_of_bytes_is_what_psycopg_reads(items: list[bytes | None]) -> None:
    load = Transformer().get_loader(types["bytea"].array_oid, Format.BINARY).load
    assert load(ByteArrays(list).dump(items)) == items
