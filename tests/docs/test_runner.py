"""The runner of the pages sees what is wrong with a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.runner import run_page


def page(tmp_path: Path, *blocks: str) -> Path:
    path = tmp_path / "page.md"
    path.write_text("\n\n".join(f"Words.\n\n```{block}\n```" for block in blocks), encoding="utf-8")
    return path


def test_blocks_of_a_page_share_their_names(tmp_path: Path) -> None:
    assert 2 == run_page(page(tmp_path, "python\nx = 1", "python\nx + 1  # → 2"))


def test_a_wrong_answer_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"page\.md:4: the page says 3, it is 2"):
        run_page(page(tmp_path, "python\n1 + 1  # → 3"))


def test_an_error_that_is_not_announced_comes_through(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run_page(page(tmp_path, "python\n1 / 0"))


def test_an_error_that_is_announced_must_come(tmp_path: Path) -> None:
    run_page(page(tmp_path, "python raises=ZeroDivisionError\n1 / 0"))
    with pytest.raises(AssertionError, match="nothing was raised"):
        run_page(page(tmp_path, "python raises=ZeroDivisionError\n1 / 1"))


def test_an_answer_may_be_the_text_that_a_value_prints_as(tmp_path: Path) -> None:
    run_page(page(tmp_path, "python\nclass A:\n    __repr__ = lambda self: '<A>'\nA()  # → <A>"))


def test_other_languages_are_left_alone(tmp_path: Path) -> None:
    assert 0 == run_page(page(tmp_path, "console\n$ make demo"))


def test_an_answer_may_stand_on_the_next_line(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="the page says 3, it is 2"):
        run_page(page(tmp_path, "python\n1 + 1\n# → 3"))


def test_a_comment_that_is_no_answer_is_no_answer(tmp_path: Path) -> None:
    run_page(page(tmp_path, "python\n1 + 1  # two\n# and → more"))
