"""The benchmark suite's own parts: statistics, reports, plots, pages, and one edit for real. No figure is judged."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import edit
from benchmarks.__main__ import BENCHMARKS
from benchmarks.suite import publish, report, results
from benchmarks.suite.plots import Bar, bars
from benchmarks.suite.results import Measure, Results, Row, quartiles, ratio, reached

ROOT = Path(__file__).resolve().parent.parent
MEASURE = Measure("edit", "10 functions", "edit to live", "ms", "floor")
FLOOR = MEASURE.of("floor", [1.0, 2.0, 3.0])
OWN = MEASURE.of("bcpatch", [3.0, 1.0, 5.0, 2.0, 4.0], ratio_goal=1.5, goal=6.0)
SLOW = MEASURE.of("jurigged", [8462.0])
LACKING = MEASURE.lacking("IPython", "does not install on Python 3.15")
ROWS = (FLOOR, OWN, SLOW, LACKING)


def run_of(*rows: Row, python: str = "3.11.7") -> Results:
    return Results(
        python=python,
        date="2026-11-25 20:00 UTC",
        command="python -m benchmarks run",
        machine={"cores": "2"},
        versions={"bcpatch": "0.1"},
        seconds=1.5,
        rows=rows,
    )


# --- statistics ------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1e9), min_size=1))
def test_quartiles_lie_among_the_values_in_their_order(values: list[float]) -> None:
    low, median, high = quartiles(values)
    assert min(values) <= low <= median <= high <= max(values)


def test_a_row_has_the_median_and_the_quartiles() -> None:
    assert (OWN.low, OWN.median, OWN.high, OWN.count) == (2.0, 3.0, 4.0, 5)


def test_a_ratio_is_to_the_base_of_the_same_case() -> None:
    elsewhere = MEASURE._replace(case="2,000 functions").of("floor", [100.0])
    assert ratio(OWN, [elsewhere, *ROWS]) == 1.5
    assert ratio(OWN, [elsewhere, OWN]) is None
    assert ratio(LACKING, ROWS) is None


@pytest.mark.parametrize(
    ("value", "more", "expected"), [(1.5, False, True), (1.6, False, False), (1.5, True, True), (1.4, True, False)]
)
def test_a_goal_is_a_bound_on_the_side_that_counts(value: float, more: bool, expected: bool) -> None:
    measure = MEASURE._replace(more_is_better=more)
    rows = [measure.of("floor", [1.0]), measure.of("bcpatch", [value], ratio_goal=1.5)]
    assert reached(rows[1], rows) is expected
    assert reached(rows[0], rows) is None


def test_results_can_be_read_again(tmp_path: Path) -> None:
    results.write(run_of(*ROWS), tmp_path / "folder" / "3.11.json")
    assert results.read(tmp_path / "folder" / "3.11.json") == run_of(*ROWS)


# --- reports ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0, "ms", "0 ms"),
        (1.2345, "ms", "1.23 ms"),
        (589.4, "ms", "589 ms"),
        (8462, "ms", "8.46 s"),
        (574544, "", "574,544"),
    ],
)
def test_a_figure_has_three_digits_and_a_unit_that_fits(value: float, unit: str, expected: str) -> None:
    assert report.measured(value, unit) == expected


def test_a_report_says_what_was_measured_and_what_was_not() -> None:
    text = report.markdown(run_of(*ROWS))
    assert "| 10 functions | edit to live | bcpatch | 1.50 × | 3 ms (2–4) | ✓ ≤ 1.5 ×, ≤ 6 ms |" in text
    assert "does not install on Python 3.15" in text
    assert "2026-11-25 20:00 UTC" in text
    assert "`python -m benchmarks run`" in text


def test_several_runs_make_one_table_with_a_column_each() -> None:
    other = run_of(FLOOR, MEASURE.of("bcpatch", [4.0], ratio_goal=1.5), python="3.15.0")
    lines = report.versions([run_of(*ROWS), other]).splitlines()
    assert lines[0] == "|  | tool | 3.11.7 | 3.15.0 |"
    assert "| edit: 10 functions, edit to live | bcpatch | ✓ 1.50 × (3 ms) | ✗ 2.00 × (4 ms) |" in lines
    assert "| edit: 10 functions, edit to live | jurigged | 4,231 × (8.46 s) |  |" in lines


# --- plots ---------------------------------------------------------------------------------------


def widths(picture: str) -> list[float]:
    """The lengths of the bars, in their order; the first box is the ground."""
    boxes = ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}rect")
    return [float(box.get("width", "")) for box in boxes][1:]


@given(st.lists(st.just(0.0) | st.floats(1e-9, 1e12), min_size=1, max_size=6))
def test_a_longer_bar_is_a_larger_figure(values: list[float]) -> None:
    group = [Bar(str(number), value, value, value) for number, value in enumerate(values)]
    found = widths(bars("Title", "ms", [("case", group)]))
    assert len(found) == len(values)
    for value, width in zip(values, found, strict=True):
        assert math.isfinite(width)
        assert all(width <= other for larger, other in zip(values, found, strict=True) if larger > value)


def test_a_plot_names_every_tool_and_escapes_what_it_says() -> None:
    group = [Bar("a <tool>", 1, 1, 1, "own"), Bar("another", 9000, 8000, 9500)]
    words = "".join(ElementTree.fromstring(bars("A & B", "ms", [("case", group)])).itertext())
    assert "a <tool>" in words
    assert "A & B" in words
    assert "9 s" in words


# --- pages ---------------------------------------------------------------------------------------


def test_publishing_replaces_what_was_published_before_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    pages = [tmp_path / "README.md", tmp_path / "docs" / "benchmarks.md"]
    for page in pages:
        page.write_text((ROOT / page.relative_to(tmp_path)).read_text("utf-8"), "utf-8")
    publish.publish([run_of(*ROWS, python="3.10.0")], tmp_path)
    publish.publish([run_of(*ROWS), run_of(*ROWS, python="3.15.0")], tmp_path)
    around = [re.split(r"<!-- .*benchmarks.* -->", page.read_text("utf-8")) for page in pages]
    before = [re.split(r"<!-- .*benchmarks.* -->", (ROOT / page.relative_to(tmp_path)).read_text()) for page in pages]
    assert [(first, last) for first, _, last in around] == [(first, last) for first, _, last in before]
    for page, (_, published, _) in zip(pages, around, strict=True):
        assert "3.10.0" not in published
        for picture in re.findall(r"\]\((\S+\.svg)\)", published):
            assert (page.parent / picture).exists()
    assert "| edit to live, 10 functions in the file | **1 ×** (3 ms) |" in around[0][1]
    assert "3.15.0" in around[1][1]


def test_a_page_without_a_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("words", "utf-8")
    with pytest.raises(ValueError, match="no place"):
        publish.replace(tmp_path / "page.md", "figures")
    assert (tmp_path / "page.md").read_text("utf-8") == "words"


# --- the suite -----------------------------------------------------------------------------------


def test_one_edit_for_real() -> None:
    limits = edit.Limits(patience=60.0, budget=0.0, most=1, settle=0.0)
    times, lost = edit.milliseconds(edit.CASES[0], "importlib.reload", limits)
    assert not lost
    assert len(times) == 2
    assert min(times) > 0


def test_every_benchmark_is_described_and_every_line_of_the_summary_is_one_of_them() -> None:
    described = re.findall(r"^\| `(\w+)` \|", (ROOT / "benchmarks" / "README.md").read_text("utf-8"), re.MULTILINE)
    assert described == list(BENCHMARKS)
    assert {line[1] for line in publish.SUMMARY} <= set(BENCHMARKS)


def test_an_unknown_benchmark_is_named() -> None:
    command = [sys.executable, "-m", "benchmarks", "run", "nonesuch"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nonesuch" in done.stderr
