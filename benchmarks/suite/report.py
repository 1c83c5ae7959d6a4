"""Results as text: one line a row, Markdown tables for a run, for a summary, and over several runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from benchmarks.suite.results import Results, Row, ratio, reached

_LARGER: Final = {"ns": "µs", "µs": "ms", "ms": "s"}
_MARKS: Final = {None: "", True: "✓", False: "✗"}


def number(value: float) -> str:
    """A number to three digits: more would say nothing."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def measured(value: float, unit: str) -> str:
    """A value in its unit, or in the larger one that people use."""
    by, unit = _scaled(value, unit)
    return f"{number(value / by)} {unit}".rstrip()


def _scaled(value: float, unit: str) -> tuple[float, str]:
    """What to divide a value by, and the unit that it then has."""
    by = 1.0
    while unit in _LARGER and abs(value / by) >= 1000:
        by, unit = by * 1000, _LARGER[unit]
    return by, unit


def figure(row: Row) -> str:
    """The median and the quartiles, or why there are none."""
    if row.median is None or row.low is None or row.high is None:
        return row.note
    by, _ = _scaled(row.median, row.unit)
    spread = "" if row.count < 3 else f" ({number(row.low / by)}–{number(row.high / by)})"
    return measured(row.median, row.unit) + spread


def times(value: float | None) -> str:
    """A ratio."""
    if value is None:
        return ""
    return f"{value:.2f} ×" if value < 10 else f"{value:,.0f} ×"


def goal(row: Row) -> str:
    """What is aimed at."""
    than = "≥" if row.more_is_better else "≤"
    parts = [] if row.ratio_goal is None else [f"{than} {row.ratio_goal:g} ×"]
    if row.goal is not None:
        parts.append(f"{than} {measured(row.goal, row.unit)}")
    return ", ".join(parts)


def line(row: Row, rows: Iterable[Row]) -> str:
    """One row for a terminal."""
    mark = _MARKS[reached(row, rows)] or " "
    note = f"  {row.note}" if row.note and row.median is not None else ""
    where = f"{row.benchmark}: {row.case}, {row.measure}"
    return f"{mark} {where:60} {row.tool:28} {times(ratio(row, rows)):>9}  {figure(row)}{note}"


# --- Markdown ------------------------------------------------------------------------------------


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = [list(head), ["---"] * len(head), *(list(row) for row in body)]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)


def origin(results: Results) -> str:
    """Where figures come from: version, date, machine and command."""
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    versions = ", ".join(f"{name} {value}" for name, value in results.versions.items())
    return f"CPython {results.python}, {results.date}; {versions}; {machine}; `{results.command}`."


def markdown(results: Results) -> str:
    """All rows of a run, a table a benchmark."""
    parts = [f"# Benchmarks on CPython {results.python}", origin(results), _LEGEND]
    for name, group in groupby(results.rows, key=lambda row: row.benchmark):
        body = [
            (
                row.case, row.measure, row.tool, times(ratio(row, results.rows)), figure(row),
                f"{_MARKS[reached(row, results.rows)]} {goal(row)}".strip(),
                row.note if row.median is not None else "",
            )
            for row in group
        ]  # fmt: skip
        parts += [f"## {name}", table(("case", "measure", "tool", "ratio", "median (quartiles)", "goal", ""), body)]
    return "\n\n".join(parts) + "\n"


_LEGEND: Final = (
    "Ratios are of medians, to the floor or to the tool that has 1.00. Absolute times belong to the machine:"
    " compare within one run."
)


def versions(runs: Sequence[Results]) -> str:
    """One table over several runs: a column for each, named by its Python, or by its date where that is the same."""
    names = [results.python for results in runs]
    heads = [
        one if names.count(one) == 1 else f"{one}, {results.date}" for one, results in zip(names, runs, strict=True)
    ]
    found = [{row.key: row for row in results.rows} for results in runs]
    keys = list(dict.fromkeys(key for rows in found for key in rows))
    body = []
    for benchmark, case, measure, tool in keys:
        cells = []
        for rows in found:
            row = rows.get((benchmark, case, measure, tool))
            mark = "" if row is None else _MARKS[reached(row, rows.values())]
            cells.append("" if row is None else f"{mark} {_cell(row, rows.values())}".strip())
        body.append((f"{benchmark}: {case}, {measure}", tool, *cells))
    return table(("", "tool", *heads), body) + "\n"


def _cell(row: Row, rows: Iterable[Row]) -> str:
    if row.median is None:
        return row.note
    found = ratio(row, rows)
    value = measured(row.median, row.unit)
    return value if found is None or row.tool == row.base else f"{times(found)} ({value})"


def pivot(rows: Sequence[Row], wanted: Sequence[tuple[str, str, str, str]], tools: Sequence[str], base: str) -> str:
    """A table with a line a measure (label, benchmark, case, measure) and a column a tool.

    A cell is the ratio to ``base``, and in brackets the median.
    """
    found = {row.key: row for row in rows}
    body = []
    for label, benchmark, case, measure in wanted:
        cells = [found.get((benchmark, case, measure, tool)) for tool in tools]
        if any(cells):
            own = found.get((benchmark, case, measure, base))
            body.append((label, *("" if cell is None else _beside(cell, own) for cell in cells)))
    return table(("", *tools), body)


def _beside(row: Row, base: Row | None) -> str:
    if row.median is None:
        return "none"
    value = measured(row.median, row.unit)
    if base is None or not base.median or not row.median:
        return value
    return f"{times(row.median / base.median)} ({value})" if row is not base else f"**1 ×** ({value})"
