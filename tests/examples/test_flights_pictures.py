"""The report's pictures, made of invented figures: what they say, and that a browser shows them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from examples.flights import charts, jobs, pipeline, report, routes, svg
from examples.flights.attempts import FINISHED, STARTED, Attempt
from examples.flights.findings import Findings
from examples.flights.routes import Route

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
TAG = "{http://www.w3.org/2000/svg}"
PICTURES = {"carriers", "routes", "latest", "punctual", "wind", "visibility", "rain", "graph", "timeline", "facts"}


def invented(months: int = 2) -> Findings:
    """Return findings as a run of two workers would leave them."""
    waits = pipeline.graph(range(1, months + 1))
    order = [job for layer in jobs.layers(waits) for job in layer]
    return Findings(
        carriers={(c, m): (100 * m, late) for c, late in (("UA", 12.5), ("HA", -3.0)) for m in range(1, months + 1)},
        names={"UA": "United & Co.", "HA": "Hawaiian"},
        routes=[Route("EWR", "LAX", 400, 12.0), Route("JFK", "ORD", 300, 31.0), Route("JFK", "SJU", 90, -1.0)],
        places={"EWR": (40.69, -74.17), "JFK": (40.64, -73.78), "LAX": (33.94, -118.41), "ORD": (41.98, -87.9), "HNL": (21.3, -157.9)},
        weather={kind: [("little", 5.0, 50), ("much", 25.0, 5)] for kind in ("wind", "visibility", "rain")},
        waits=waits,
        attempts=[
            Attempt(job, f"w{n % 2}", BEGAN + timedelta(seconds=n), BEGAN + timedelta(seconds=n + 1), FINISHED)
            for n, job in enumerate(order)
        ],
        growth=[(0.0, 10), (1.0, 5_000), (9.0, 70_000)],
        began=BEGAN,
        life=[(BEGAN, ":job/status", ":job.status/<unstarted>", True)],
        life_of=":load/flights-02",
        standing={"at the start": {"unstarted": 12}, "at the end": {"finished": 12}},
        transactions=40,
    )


def pictures(page: str) -> dict[str, ET.Element]:
    """Return the page's pictures by name; each must be well-formed by itself."""
    return {root.attrib["id"]: root for root in map(ET.fromstring, re.findall(r"<svg.*?</svg>", page, re.DOTALL))}


def test_the_page_has_all_its_pictures_and_each_names_itself() -> None:
    found = pictures(report.render(invented()))
    assert found.keys() == PICTURES
    for name, root in found.items():
        assert "img" == root.attrib["role"]
        assert f"{name}-title {name}-desc" == root.attrib["aria-labelledby"]
        assert root.findtext(f"{TAG}title") and root.findtext(f"{TAG}desc"), name


def test_the_page_asks_nothing_of_any_network() -> None:
    page = report.render(invented())
    addresses = set(re.findall(r"""(?:src|href)=["']?([^"'>\s]+)""", page)) | set(re.findall(r"url\(([^)]*)\)|@import", page))
    assert {"data:,"} == addresses
    assert "<script" not in page


def test_text_from_the_files_and_the_facts_is_escaped() -> None:
    page = report.render(invented())
    assert "United &amp; Co." in page
    assert "&lt;unstarted&gt;" in page and "<unstarted>" not in page


def test_there_is_a_cell_for_each_airline_and_month_in_which_it_flew() -> None:
    found = invented(3)
    del found.carriers["HA", 2]  # type: ignore[attr-defined]
    root = ET.fromstring(charts.carriers_by_month(found.carriers, found.names))
    hints = [title.text for title in root.findall(f"{TAG}g/{TAG}title")]
    assert 5 == len(hints)
    assert "Hawaiian, Mar: 3.0 min early, 300 flights" in hints


@pytest.mark.parametrize(("minutes", "step"), [(-4, "h0"), (0, "h1"), (4.9, "h1"), (5, "h2"), (29.9, "h5"), (30, "h6"), (900, "h6")])
def test_a_colour_holds_from_its_own_bound_to_the_next(minutes: float, step: str) -> None:
    assert step == charts.heat(minutes)


def test_a_route_to_a_place_that_is_on_no_list_or_off_the_map_is_left_out_and_counted() -> None:
    root = ET.fromstring(routes.route_map([*invented().routes, Route("JFK", "HNL", 9, 3.0)], invented().places))
    assert 2 == sum("arc" in path.attrib.get("class", "") for path in root.iter(f"{TAG}path"))
    assert (root.findtext(f"{TAG}desc") or "").startswith("2 of 4 routes")


def test_the_map_puts_the_west_in_the_west_and_the_north_in_the_north() -> None:
    (ny_x, ny_y), (la_x, la_y), (miami_x, miami_y) = map(routes.project, ((40.7, -74.0), (33.9, -118.4), (25.8, -80.3)))
    assert la_x < miami_x < ny_x
    assert ny_y < la_y < miami_y


def test_a_job_comes_after_all_that_it_waits_for() -> None:
    waits = pipeline.graph(range(1, 13))
    depth = {job: n for n, layer in enumerate(jobs.layers(waits)) for job in layer}
    assert waits.keys() == depth.keys()
    assert all(depth[parent] < depth[job] for job, parents in waits.items() for parent in parents)


def test_a_job_that_still_runs_and_one_that_waits_are_shown_as_such() -> None:
    attempts = [Attempt("a", "w", BEGAN, BEGAN + timedelta(seconds=2), FINISHED), Attempt("b", "w", BEGAN, None, STARTED)]
    root = ET.fromstring(jobs.job_graph({"a": [], "b": ["a"], "c": ["b"]}, attempts))
    assert "a 2.0 s; b runs; c waits." == root.findtext(f"{TAG}desc")


def test_ticks_are_round_and_within_the_range() -> None:
    assert [0, 2.5, 5, 7.5] == svg.ticks(0, 9, about=4)
    assert [-20, 0, 20] == svg.ticks(-30, 35, about=4)


def test_a_browser_shows_the_page_in_both_colour_schemes_without_complaint(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(report.render(invented()), encoding="utf-8")
    for scheme in ("light", "dark"):
        assert_shown(browser, path, scheme, tmp_path / f"{scheme}.png")


def assert_shown(browser: Any, path: Path, scheme: str, screenshot: Path) -> None:
    """Open a page, and require its pictures to have a size, and nothing to be said on the console or asked of a network."""
    page = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme=scheme)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url) if not request.url.startswith(("file:", "data:")) else None)
    page.goto(path.resolve().as_uri())
    sizes = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('svg')].map(s => [s.id, s.getBBox().width * s.getBBox().height]))"
    )
    page.screenshot(path=str(screenshot), full_page=True)
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    page.close()
    assert [] == complaints
    assert sizes.keys() == PICTURES
    assert all(size > 1000 for size in sizes.values()), sizes
    assert 0 == overflow
    assert screenshot.stat().st_size > 10_000
