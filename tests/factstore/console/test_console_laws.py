"""Laws of the console: the page at t is that of the store restored to t, and what the slider shows of time."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore.console.moment import timeline
from factstore.console.pages.drawing import Arrow, references
from factstore.storage import open_storage
from tests.factstore.console.shop import Client, client, fill, ticking

PATHS = [
    "/",
    "/schema",
    "/transactions",
    "/transactions/4",
    "/difference?from=3",
    "/index?index=aevt",
    "/index?index=vaet&start=0",
    '/entity/[:customer/email "ann@x.example"]',
    "/entity/:order.status/new",
    "/search?for=miller",
    "/query?q=[:find ?e ?v :where [?e :customer/name ?v] :order-by ?v]",
]


def content(text: str) -> str:
    """Return the content of a page without the moment in its links, and without the times of a run."""
    found = text.partition('<main id="content"')[2].partition("</main>")[0]
    found = re.sub(r"<input type=\"hidden\"[^>]*>|in [\d.]+ ms|data-live", "", found)
    found = unescape(found)
    found = re.sub(r"<section><h2>Steps.*?</section>|<p class=\"exports.*?</p>", "", found, flags=re.DOTALL)
    return re.sub(r"([?&])t=\d+(&?)", lambda link: link[1] if link[2] else "", found)


@settings(max_examples=8)
@given(st.integers(4, 26))
def test_the_page_at_t_is_the_page_of_the_store_restored_to_t(t: int) -> None:
    with TemporaryDirectory() as folder, factstore.connect(f"{folder}/whole.facts", clock=ticking()) as whole:
        fill(whole)
        source, target = open_storage(f"{folder}/whole.facts", read_only=True), open_storage(f"{folder}/then.facts")
        try:
            factstore.maintain.restore_to(source, target, t)
        finally:
            target.close()
            source.close()
        with factstore.connect(str(Path(folder) / "then.facts")) as then:
            now, past = client(whole), client(then)
            for path in PATHS:
                joint = "&" if "?" in path else "?"
                assert content(past.get(path).text) == content(now.get(f"{path}{joint}t={t}").text), path


@settings(max_examples=8)
@given(st.integers(0, 26), st.integers(0, 26))
def test_the_difference_from_a_backup_of_t_is_that_from_t(t: int, upto: int) -> None:
    with TemporaryDirectory() as folder, factstore.connect(f"{folder}/whole.facts", clock=ticking()) as whole:
        fill(whole)
        source = open_storage(f"{folder}/whole.facts", read_only=True)
        targets = {name: open_storage(f"{folder}/{name}.facts") for name in ("then", "same")}
        try:
            factstore.maintain.restore_to(source, targets["then"], t)
            factstore.maintain.copy(source, targets["same"])
        finally:
            for each in (source, *targets.values()):
                each.close()
        with (
            factstore.connect(f"{folder}/then.facts", read_only=True) as then,
            factstore.connect(f"{folder}/same.facts", read_only=True) as same,
        ):
            shop = client(whole, backups={"then": then, "same": same}, hide=[":customer/phone"])
            found = changes_of(shop, "/difference/backup.json", name="then", t=upto)
            assert changes_of(shop, "/difference.json", **{"from": t, "t": upto}) == found or t > upto
            back = {(SIGNS[sign], *rest) for sign, *rest in changes_of(shop, "/difference.json", **{"from": upto, "t": t})}
            assert t <= upto or {row[:4] for row in back} == {row[:4] for row in found}
            assert not changes_of(shop, "/difference/backup.json", name="same")
            assert ":customer/phone" not in {row[2] for row in found}


SIGNS = {"+": "−", "−": "+"}


def changes_of(shop: Client, path: str, **parameters: object) -> set[tuple[object, ...]]:
    """Return the rows of a difference."""
    rows = shop.get(path, params={name: str(value) for name, value in parameters.items()}).json()["changes"]
    found = {tuple(row.values()) for row in rows}
    assert len(found) == len(rows)
    return found


@given(st.lists(st.integers(0, 10**7), max_size=30))
def test_the_time_line_counts_every_transaction_once(gaps: list[int]) -> None:
    from datetime import timedelta

    from tests.factstore.console.shop import BEGAN

    now = [BEGAN]
    with factstore.connect("memory:", clock=lambda: now[0]) as conn:
        for gap in gaps:
            now[0] += timedelta(seconds=gap)
            conn.transact([{":db/doc": "x"}])
        line = timeline(conn.db())
        assert list(line.edges) == sorted(line.edges)
        assert 0 == line.edges[0] and len(gaps) == line.edges[-1]


names = st.sampled_from(["order", "line", "customer", "a" * 40, "<b>"])


@given(st.lists(st.builds(Arrow, names, names, names), max_size=40), st.randoms())
def test_the_picture_of_references_has_no_overlap_and_no_order(arrows: list[Arrow], random: object) -> None:
    picture = references(arrows)
    shuffled = list(arrows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert picture == references(shuffled)
    boxes = [tuple(map(float, found)) for found in re.findall(r'class="box" x="([\d.e+-]+)" y="([\d.e+-]+)"', picture)]
    for i, (x, y) in enumerate(boxes):
        assert all(x != other_x or abs(y - other_y) >= 26 for other_x, other_y in boxes[:i])
    labels = [float(y) for y in re.findall(r'on-line" x="[\d.]+" y="([\d.e+-]+)"', picture)]
    assert all(abs(one - other) >= 12 for i, one in enumerate(labels) for other in labels[:i])
    assert "<b>" not in picture
