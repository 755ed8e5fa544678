"""What a text of the shell means, and where a statement ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factstore.errors import QueryError, ReadError
from factstore.shell.statements import DotCommand, Transaction, WrittenQuery, is_ready, read, statements

TEXTS = (
    ".now", ".as-of -5m", ".try [{:a/b 1}]", ".try [\n  {:a/b \"]\"}\n]", "[:find ?e\n :where [?e :a/b]]", "{:find [?e] :where [[?e :a/b]]}",
    "[{:a/b 1}]", "[:find ?e :in $ ?v ; the [ value\n :where [?e :a/b ?v]] \"(\"", "[[:db/add 1 :a/b 2]\n\n [:db/retract 1 :a/b 1]]",
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from(["", "\n", "; a comment [\n", "\n  \n"]))))
def test_statements_are_found_in_lines(written):
    text = "".join(f"{before}{statement}\n" for statement, before in written)
    found = list(statements(text.splitlines(keepends=True)))
    lines = text.splitlines()
    assert [read(each) for _, each in found] == [read(statement) for statement, _ in written]
    for (line, _), (statement, _) in zip(found, written):
        assert statement.splitlines()[0] == lines[line - 1] or lines[line - 1].startswith(";")


@pytest.mark.parametrize("text", TEXTS)
def test_enter_runs_the_whole_text_only(text):
    assert is_ready(text)
    opens = min((text.find(char) for char in "[{" if char in text), default=len(text))
    assert not any(is_ready(text[:n]) for n in range(opens + 1, text.rfind("]") if text[-1] in "])" else text.rfind("}")))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (".help", DotCommand("." + "help", "")),
        (".run  people 42", DotCommand(".run", "people 42")),
        ("[:find ?e] 1 [2]", WrittenQuery([":find", "?e"], (1, [2]))),
        ("[[:db/add 1 :a/b 2]]", Transaction([[":db/add", 1, ":a/b", 2]])),
        ("[]", Transaction([])),
        ("[(my/function 1)]", Transaction([("my/function", 1)])),
    ],
)
def test_what_a_text_means(text, kind):
    assert kind == read(text)


@pytest.mark.parametrize("text", ["42", '"hi"', "[1 2]", "{:a/b 1}", "[{:a/b 1}] [{:a/b 2}]", "(pull 1)", "nil"])
def test_other_forms_are_rejected_with_what_a_statement_is(text):
    with pytest.raises(QueryError, match="a statement is a query"):
        read(text)


def test_a_text_that_is_not_edn_has_a_place():
    with pytest.raises(ReadError) as caught:
        read("[:find ?e)")
    assert (1, 10) == (caught.value.line, caught.value.column)
