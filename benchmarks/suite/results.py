"""What a benchmark gives: rows, each with the median and the spread of one measure of one tool.

Knows neither how something is measured nor how it is shown.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One measure of one tool in one case.

    ``median``, ``low`` and ``high`` (the quartiles) are in ``unit``, and None where the tool gave no
    figure: ``note`` then says why. ``base`` is the tool of the same case and measure that the ratio
    is taken to. ``ratio_goal`` and ``goal`` are the most that is aimed at (the least where ``more_is_better``),
    None where nothing is.
    """

    benchmark: str
    case: str
    measure: str
    unit: str
    tool: str
    median: float | None = None
    low: float | None = None
    high: float | None = None
    count: int = 0
    base: str = ""
    ratio_goal: float | None = None
    goal: float | None = None
    more_is_better: bool = False
    note: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What the same row has in another run."""
        return (self.benchmark, self.case, self.measure, self.tool)


class Measure(NamedTuple):
    """What a benchmark measures in one case; ``base`` is the tool that the ratios are taken to."""

    benchmark: str
    case: str
    name: str
    unit: str
    base: str = ""
    more_is_better: bool = False

    def of(
        self,
        tool: str,
        values: Sequence[float],
        *,
        ratio_goal: float | None = None,
        goal: float | None = None,
        note: str = "",
    ) -> Row:
        """The row of one tool, from its single measurements."""
        low, median, high = quartiles(values)
        return Row(
            benchmark=self.benchmark,
            case=self.case,
            measure=self.name,
            unit=self.unit,
            tool=tool,
            median=median,
            low=low,
            high=high,
            count=len(values),
            base=self.base,
            ratio_goal=ratio_goal,
            goal=goal,
            more_is_better=self.more_is_better,
            note=note,
        )

    def lacking(self, tool: str, note: str) -> Row:
        """The row of a tool that gave no figure, and why."""
        return Row(
            benchmark=self.benchmark,
            case=self.case,
            measure=self.name,
            unit=self.unit,
            tool=tool,
            base=self.base,
            note=note,
        )


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the suite on one Python: its rows, and all that tells where they come from."""

    python: str
    date: str
    command: str
    machine: dict[str, str]
    versions: dict[str, str]
    seconds: float
    rows: tuple[Row, ...]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The lower quartile, the median and the upper quartile; of a single value that value."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def ratio(row: Row, rows: Iterable[Row]) -> float | None:
    """How many times the median of its base a row's median is; None where one of them is missing or nothing."""
    if not row.base or row.median is None:
        return None
    for other in rows:
        if other.key == (row.benchmark, row.case, row.measure, row.base):
            return row.median / other.median if other.median else None
    return None


def reached(row: Row, rows: Iterable[Row]) -> bool | None:
    """Whether a row keeps what is aimed at; None where nothing is, or where it can't be told."""
    pairs = [(row.median, row.goal), (ratio(row, rows), row.ratio_goal)]
    wanted = [(found, goal) for found, goal in pairs if found is not None and goal is not None]
    if not wanted:
        return None
    return all(found >= goal if row.more_is_better else found <= goal for found, goal in wanted)


def write(results: Results, file: Path) -> None:
    """Write results as JSON, one that a person can read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


def read(file: Path) -> Results:
    """Read what `write` wrote. Raises OSError or msgspec.DecodeError."""
    return msgspec.json.decode(file.read_bytes(), type=Results)
