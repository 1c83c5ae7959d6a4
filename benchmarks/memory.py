"""What does a process keep of each edit?

    python -m benchmarks.memory [--quick] [--tool TOOL]...

One function of ten is edited back and forth, or to something new each time. The floor for the latter is the
code object alone, kept for a rollback: bcpatch unloads nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from benchmarks.suite.applications import Silent, folders
from benchmarks.suite.environments import NotHere
from benchmarks.suite.prepared import prepare, work
from benchmarks.suite.results import Measure, Row
from benchmarks.suite.run import Run, alone
from benchmarks.workers import texts

FLOOR: Final = "code objects alone"
TOOLS: Final = ("bcpatch", "importlib.reload", "IPython", "jurigged")
FUNCTIONS: Final = 10

_LONGEST: Final = 300.0
"""Seconds that another tool may take for all edits of a case."""

_LONG: Final = 1500.0
"""The same for bcpatch and for the floor: their figures must be there on a busy machine too."""


class Case(NamedTuple):
    """``period``: after how many edits the first text comes again; None for never.

    ``steps`` are the edits of bcpatch and of the floor, ``others`` those of other tools, whose edits take longer.
    """

    name: str
    period: int | None
    steps: int
    others: int
    quick: int
    tools: tuple[str, ...]
    goal: float | None
    ratio_goal: float | None


CASES: Final = (
    Case("back and forth", 2, 10_000, 10_000, 200, TOOLS, 1.0, None),
    Case("a new one each time", None, 10_000, 1000, 100, (FLOOR, *TOOLS), None, 1.1),
)


def rows(run: Run) -> Iterator[Row]:
    """Bytes an edit, by case and tool."""
    for case in CASES:
        measure = Measure("memory", case.name, "kept of an edit", "bytes", FLOOR if FLOOR in case.tools else "")
        for tool in run.chosen(case.tools):
            ours = tool in ("bcpatch", FLOOR)
            steps = case.quick if run.quick else case.steps if ours else case.others
            try:
                kept = _kept(case, tool, steps, _LONG if ours else _LONGEST)
            except (NotHere, Silent) as error:
                yield measure.lacking(tool, str(error))
            else:
                yield measure.of(
                    tool,
                    [kept],
                    goal=case.goal if tool == "bcpatch" else None,
                    ratio_goal=case.ratio_goal if tool == "bcpatch" else None,
                    note=f"{steps:,} edits",
                )


def _kept(case: Case, tool: str, steps: int, patience: float) -> float:
    values = [1000 + (step % case.period if case.period else step) for step in range(steps + 1)]
    versions = [{texts.MODULE: texts.text(FUNCTIONS, {0: value})} for value in values]
    with folders() as (folder, aside):
        prepare(folder, aside, versions, patches=tool == "bcpatch")
        job = {"function": texts.name(0), "steps": steps, "value": values[-1]}
        found: float = work("memory", tool, folder, job, patience)
        return found


if __name__ == "__main__":
    alone(rows)
