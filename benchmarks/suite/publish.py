"""What is published of a run: plots, the summary for the README, and the page of tables for the docs.

In a page, what the suite writes stands between two comments; all around them is somebody else's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from benchmarks.suite import report
from benchmarks.suite.plots import Bar, bars
from benchmarks.suite.results import Results, Row

OWN: Final = "bcpatch"
TOOLS: Final = (OWN, "importlib.reload", "IPython", "jurigged", "uvicorn --reload")

#: The lines of the summary: what they are called, and the benchmark, case and measure that they show.
SUMMARY: Final = (
    ("edit to live, 10 functions in the file", "edit", "10 functions", "edit to live"),
    ("edit to live, 2,000 functions", "edit", "2,000 functions", "edit to live"),
    ("edit to live, 2,000 functions, all lines moved", "edit", "2,000 functions, lines moved", "edit to live"),
    ("apply one function", "apply", "1 function", "apply"),
    ("longest stall of another thread", "apply", "1 function", "longest stall"),
    ("the same beside 5 million objects", "apply", "1 function, 5 M objects", "longest stall"),
    ("edits seen half done: two functions of a file", "torn", "two functions of a file", "edits seen half done"),
    ("edits seen half done: two files", "torn", "functions of two files", "edits seen half done"),
    ("import in the application", "imports", "import", "time"),
)

#: What is drawn, by benchmark and measure; the first is the plot of the README.
PLOTS: Final = (
    ("edit", "edit to live"),
    ("apply", "apply"),
    ("apply", "longest stall"),
    ("torn", "edits seen half done"),
    ("imports", "time"),
)

_CAPTION: Final = (
    "Ratios to bcpatch, and medians. `uvicorn --reload` restarts the process, whose state is lost; `importlib.reload`"
    " watches no files, so it was called as soon as the file had changed."
    " None: not live in the time that the suite waits."
)

_BEGIN, _END = "<!-- benchmarks: written by `python -m benchmarks publish` -->", "<!-- end of benchmarks -->"


def plots(results: Results) -> dict[str, str]:
    """The plots, by name; not those of which no two tools have a figure."""
    found = {}
    for benchmark, measure in PLOTS:
        rows = [row for row in results.rows if (row.benchmark, row.measure) == (benchmark, measure)]
        groups = [(case, _bars(list(group))) for case, group in groupby(rows, key=lambda row: row.case)]
        shown = [(case, group) for case, group in groups if len(group) > 1]
        if shown:
            found[_name(benchmark, measure)] = bars(measure.capitalize(), rows[0].unit, shown, _subtitle(results))
    return found


def _name(benchmark: str, measure: str) -> str:
    return re.sub(r"\W+", "-", f"{benchmark}-{measure}")


def _bars(rows: Sequence[Row]) -> list[Bar]:
    """The floor first, then what is bcpatch's own, then the others."""
    order = ("floor", "own", "other")
    shown = [
        Bar(row.tool, row.median, row.low, row.high, _kind(row))
        for row in rows
        if row.median is not None and row.low is not None and row.high is not None
    ]
    return sorted(shown, key=lambda bar: order.index(bar.kind))


def _kind(row: Row) -> str:
    if row.tool.startswith((OWN, "patched", "a patch")):
        return "own"
    return "floor" if row.tool == "floor" or (row.tool == row.base and row.base not in TOOLS) else "other"


def _subtitle(results: Results) -> str:
    return f"CPython {results.python}, {results.date[:10]}; medians, with the quartiles as a line"


# --- pages -----------------------------------------------------------------------------------------


def publish(runs: Sequence[Results], root: Path) -> None:
    """Write the first run's summary and plot into README.md, and all runs' tables into docs/benchmarks.md."""
    first = runs[0]
    drawn = plots(first)
    for name, picture in drawn.items():
        (root / "docs" / "benchmarks").mkdir(exist_ok=True)
        (root / "docs" / "benchmarks" / f"{name}.svg").write_text(picture, "utf-8")
    replace(root / "README.md", summary(first, "docs/benchmarks/"))
    replace(root / "docs" / "benchmarks.md", page(runs, list(drawn)))


def replace(file: Path, words: str) -> None:
    """Put words into the place that a page has for them. Raises ValueError where it has none."""
    text = file.read_text("utf-8")
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{file} has no place for benchmarks: {_BEGIN} ... {_END}")
    file.write_text(f"{before}{begin}\n{words.strip()}\n{end}{after}", "utf-8")


def summary(results: Results, folder: str) -> str:
    """The summary of one run: a table, the plot, and where they come from."""
    table = report.pivot(results.rows, SUMMARY, TOOLS, OWN)
    benchmark, measure = PLOTS[0]
    name = _name(benchmark, measure)
    plot = [f"![{measure}, by tool]({folder}{name}.svg)"] if name in plots(results) else []
    return "\n\n".join([table, *plot, _CAPTION, report.origin(results)])


def page(runs: Sequence[Results], drawn: Sequence[str]) -> str:
    """All tables and plots of the first run, and the table over all of them."""
    pictures = "\n\n".join(f"![{name.replace('-', ' ')}](benchmarks/{name}.svg)" for name in drawn)
    parts = [report.markdown(runs[0]).replace("\n## ", "\n### ").replace("# Benchmarks on", "## Benchmarks on", 1)]
    parts += ["### Plots", pictures]
    if len(runs) > 1:
        parts += ["## By version", *map(report.origin, runs), report.versions(runs)]
    return "\n\n".join(parts)
