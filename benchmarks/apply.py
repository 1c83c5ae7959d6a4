"""How long does an apply take, and how long does it stop the other threads?

    python -m benchmarks.apply [--quick] [--tool TOOL]...

By the number of changed functions and of live objects. A stall is the longest gap that a spinning thread
sees; the floor for it is the gap beside plain Python code that runs as long. bcpatch's time is all that the
process does: reading the patch's bytes, verifying, linking, swapping; compiling was done before. The others
compile in the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from benchmarks.suite.applications import Silent, folders
from benchmarks.suite.environments import NotHere
from benchmarks.suite.prepared import prepare, work
from benchmarks.suite.results import Measure, Row
from benchmarks.suite.run import Run, alone
from benchmarks.workers import texts

TOOLS: Final = ("importlib.reload", "bcpatch", "IPython", "jurigged")
PLAIN: Final = "plain Python as long"


class Case(NamedTuple):
    """``repeats``: how many edits are timed alone, and as many beside a spinning thread.

    ``quick``: the same for the short form, which leaves a case without it out; and ``slow`` tools too.
    """

    functions: int
    objects: int
    repeats: int
    quick: int | None = None
    tools: tuple[str, ...] = TOOLS
    slow: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        count = f"{self.functions:,} function{'s' * (self.functions != 1)}"
        return f"{count}, {self.objects // 1_000_000} M objects" if self.objects else count


CASES: Final = (
    Case(1, 0, 20, 8),
    Case(10, 0, 20, 8),
    Case(1000, 0, 3, 2, slow=("IPython", "jurigged")),
    Case(10_000, 0, 1, None, ("bcpatch", "importlib.reload")),
    Case(1, 1_000_000, 20, 6),
    Case(10, 1_000_000, 10, None),
    Case(1000, 1_000_000, 3, None, ("bcpatch",)),
    Case(1, 5_000_000, 10, None),
    Case(10, 5_000_000, 10, None, ("bcpatch", "importlib.reload")),
    Case(1000, 5_000_000, 3, None, ("bcpatch",)),
    Case(10_000, 5_000_000, 1, None, ("bcpatch",)),
)


def rows(run: Run) -> Iterator[Row]:
    """The time of an apply, the first one's, and the longest stall, a case and tool."""
    for case in CASES:
        repeats = case.quick if run.quick else case.repeats
        if repeats is None:
            continue
        for tool in run.chosen(case.tools):
            if not (run.quick and tool in case.slow):
                yield from _measured(case, tool, repeats, 20.0 if run.quick else 90.0 if tool == "bcpatch" else 30.0)


def _measured(case: Case, tool: str, repeats: int, patience: float) -> Iterator[Row]:
    took = Measure("apply", case.name, "apply", "ms", "importlib.reload")
    stall = Measure("apply", case.name, "longest stall", "ms", f"{PLAIN} ({tool})")
    try:
        found = _work(case, tool, repeats, patience)
    except (NotHere, Silent) as error:
        yield took.lacking(tool, str(error))
        return
    ours = tool == "bcpatch"
    yield took.of(tool, found["alone"], goal=1.0 if ours and case.functions == 1 else None)
    yield took._replace(name="first apply").of(tool, found["first"])
    yield stall.of(stall.base, found["plain"])
    yield stall.of(tool, found["stall"], ratio_goal=1.25 if ours and case.functions == 1 else None)


def _work(case: Case, tool: str, repeats: int, patience: float) -> Any:
    steps = 1 + 2 * repeats
    size = max(case.functions, 10)
    versions = [
        {texts.MODULE: texts.text(size, dict.fromkeys(range(case.functions), value))} for value in range(steps + 1)
    ]
    with folders() as (folder, aside):
        prepare(folder, aside, versions, patches=tool == "bcpatch")
        job = {"function": texts.name(0), "steps": steps, "heap": case.objects}
        return work("apply", tool, folder, job, patience)


if __name__ == "__main__":
    alone(rows)
