"""How long does it take from the editor's rename until another thread calls the new code?

    python -m benchmarks.edit [--quick] [--tool TOOL]...

One function of a module changes, in a module of ten functions and of two thousand, and there again with
every line moved by one. The floor is what no tool that compiles can beat: a file event, ``compile()`` of
the whole file, and one assignment.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from benchmarks.suite.applications import Editor, Silent, folders, started
from benchmarks.suite.environments import NotHere
from benchmarks.suite.results import Measure, Row
from benchmarks.suite.run import Run, alone
from benchmarks.workers import texts

TOOLS: Final = ("floor", "importlib.reload", "bcpatch", "IPython", "jurigged", "uvicorn --reload")

#: Seconds between an edit that is live and the next, at least: one is lost that comes before a restarted
#: reloader has looked at the files for the first time, which it does every quarter of a second.
PAUSES: Final = {"uvicorn --reload": 0.8}


class Case(NamedTuple):
    """``moved``: each edit moves every line by one; ``base``: what ratios are to; ``quick``: the short form's tools."""

    name: str
    functions: int
    moved: bool
    base: str
    goals: dict[str, float]
    quick: tuple[str, ...] = TOOLS


class Limits(NamedTuple):
    """Seconds to wait for one edit, to spend on all of a case, and before the first; and how many there are at most."""

    patience: float
    budget: float
    most: int
    settle: float = 3.0


LONG: Final = Limits(patience=30.0, budget=10.0, most=40)
QUICK: Final = Limits(patience=15.0, budget=2.0, most=10, settle=2.0)

CASES: Final = (
    Case("10 functions", 10, False, "floor", {"ratio_goal": 1.5, "goal": 6.0}),
    Case("2,000 functions", 2000, False, "importlib.reload", {"ratio_goal": 0.1}),
    Case("2,000 functions, lines moved", 2000, True, "importlib.reload", {"ratio_goal": 0.1}, TOOLS[:3]),
)


def rows(run: Run) -> Iterator[Row]:
    """One row a case and tool; the first edit of each, which finds nothing prepared, has a row of its own."""
    for case in CASES:
        for tool in run.chosen(case.quick if run.quick else TOOLS):
            yield from _measured(run, case, tool)


def _measured(run: Run, case: Case, tool: str) -> Iterator[Row]:
    measure = Measure("edit", case.name, "edit to live", "ms", case.base)
    try:
        times, lost = milliseconds(case, tool, QUICK if run.quick else LONG)
    except (NotHere, Silent) as error:
        yield measure.lacking(tool, str(error))
        return
    goals = case.goals if tool == "bcpatch" else {}
    if times[1:]:
        yield measure.of(tool, times[1:], **goals, note=lost)
    else:
        yield measure.lacking(tool, lost)
    if times:
        yield measure._replace(name="first edit to live").of(tool, times[:1])


def milliseconds(case: Case, tool: str, limits: Limits) -> tuple[list[float], str]:
    """The time of each edit, the first one too, and what was missed. Raises NotHere or Silent."""
    changed = case.functions // 2
    times: list[float] = []
    with folders() as (folder, aside):
        editor = Editor(folder, aside)
        editor.save(texts.text(case.functions))
        with started(tool, folder, texts.name(changed)) as application:
            time.sleep(limits.settle)
            began = time.monotonic()
            for number in range(1, limits.most + 2):
                text = texts.text(case.functions, {changed: number}, number if case.moved else 0)
                saved = editor.save(text)
                try:
                    times.append((application.seen(number, limits.patience) - saved) * 1000)
                except Silent as error:
                    return times, f"edit {number} was not live after {limits.patience:.0f} s: {error}"
                if len(times) > 1 and time.monotonic() - began > limits.budget:
                    break
                time.sleep(PAUSES.get(tool, 0.1) + random.random() * 0.1)
    return times, ""


if __name__ == "__main__":
    alone(rows)
