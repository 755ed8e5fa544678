"""Real notebooks in a real kernel: the magic, its errors, completion, and how values show themselves."""

from __future__ import annotations

import warnings

import pytest
from jupyter_core.utils import run_sync

SETUP = """
%config Completer.use_jedi = False
%load_ext factstore
import factstore
conn = factstore.connect("memory:", infer_schema=True)
_ = conn.transact([{":person/name": "Ann", ":person/born": 1970}, {":person/name": "Bob", ":person/born": 1980}])
"""


@pytest.fixture(scope="module")
def kernel():
    """A kernel that has loaded the extension; cells are run one after the other."""
    import nbformat  # here, as it takes more than a second, which every process of the tests would spend
    from nbclient import NotebookClient

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the client's own libraries
        client = NotebookClient(nbformat.v4.new_notebook(), kernel_name="python3", timeout=None)
        with client.setup_kernel():
            run_cell(client, SETUP)
            yield client


def run_cell(kernel, source):
    import nbformat

    cell = nbformat.v4.new_code_cell(source)
    kernel.nb.cells = [cell]
    kernel.execute_cell(cell, 0)
    return cell.outputs


@pytest.fixture
def run(kernel):
    """Run cells; return the outputs of the last one."""

    def run(*cells):
        return [run_cell(kernel, cell) for cell in cells][-1]

    return run


def html(outputs):
    return "".join(output["data"]["text/html"] for output in outputs)


def failure(kernel, source):
    from nbclient.exceptions import CellExecutionError

    with pytest.raises(CellExecutionError):
        run_cell(kernel, source)
    [output] = kernel.nb.cells[0].outputs
    assert "error" == output["output_type"]
    return output


def test_a_cell_shows_its_answer_as_a_table(run):
    shown = html(run("born = 1970", "%%datalog\n[:find ?name :where [?p :person/name ?name] [?p :person/born {born}]]"))
    assert "<td>Ann</td>" in shown
    assert "1 row" in shown


def test_an_answer_is_put_into_a_variable(run):
    assert [] == run("%%datalog people << conn.db()\n[:find [?name ...] :where [_ :person/name ?name]]")
    [output] = run("sorted(people)")
    assert "[('Ann',), ('Bob',)]" == output["data"]["text/plain"]


def test_an_error_is_a_sentence_with_the_marked_line_and_no_traceback(kernel):
    output = failure(kernel, "%%datalog\n[:find ?p\n :where [?p :person/nam]]")
    [text] = output["traceback"]
    assert text.startswith(":db.error/unknown-attribute: no attribute :person/nam is declared; did you mean :person/name")
    assert text.endswith("     :where [?p :person/nam]]\n                ^^^^^^^^^^^")
    assert "QueryError" == output["ename"]


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ("%%datalog\n[:find ?p :where [?p :person/name {nobody}]]", "{nobody} has no value: NameError: name 'nobody' is not defined"),
        ("%%datalog 42\n[:find ?p :where [?p :person/name]]", "%%datalog needs a connection or a database"),
        ("%%datalog x << nothing.here\n[:find ?p]", "{nothing.here} has no value: NameError"),
        ("%%datalog\n[:find ?p", "expected ] to close ["),
    ],
)
def test_what_is_wrong_with_a_cell(kernel, cell, sentence):
    [text] = failure(kernel, cell)["traceback"]
    assert sentence in text


def test_attributes_and_functions_are_completed_in_a_cell(kernel):
    async def ask(code):
        return await kernel.kc.complete(code, reply=True)

    def completed(code):
        return run_sync(ask)(code)["content"]

    found = completed("%%datalog\n[:find ?n :where [?p :person/na")
    assert [":person/name"] == found["matches"]
    assert len(":person/na") == found["cursor_end"] - found["cursor_start"]
    assert ":person/born" not in completed("x = 1\n:person/bo")["matches"]
