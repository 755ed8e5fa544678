"""The texts of the statements."""

from __future__ import annotations

from factstore.storage.postgres import statements


def test_arrays_of_bytes_are_sent_in_binary():
    # As text, every element is escaped by Python, and takes more than twice the bytes.
    texts = {name: text for name, text in vars(statements).items() if isinstance(text, str) and "::bytea[]" in text}
    assert texts and all(")s::bytea[]" not in text for text in texts.values())
