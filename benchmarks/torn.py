"""Does another thread ever see half of an edit?

    python -m benchmarks.torn [--quick] [--tool TOOL]...

Four threads look without a pause, with the shortest switch interval, while edits are applied. An observation is
one call of one function, or the code of two functions read by one call into C; a call tree (a function that calls
two others) may rightly mix generations unless a tool promises that it doesn't. Counted are edits during which at
least one observation was mixed, in percent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from benchmarks.suite.applications import Silent, folders
from benchmarks.suite.environments import NotHere
from benchmarks.suite.prepared import prepare, work
from benchmarks.suite.results import Measure, Row
from benchmarks.suite.run import Run, alone

TOOLS: Final = ("bcpatch", "importlib.reload", "IPython", "jurigged")
QUIESCENT: Final = "bcpatch quiescent"
THREADS: Final = 4

_ONE: Final = "def root(a=TAG):\n    return a, TAG\n"
_TWO: Final = "def first():\n    return TAG\n{between}\n\ndef last():\n    return TAG\n"
_TREE: Final = """
class Tree:
    def grow(self):
        return [TAG, *self.branch(), *self.leaf()]

    def branch(self):
        return [TAG, *self.leaf()]

    def leaf(self):
        return [TAG]

root = Tree().grow
"""
_BETWEEN: Final = "\n".join(f"\n\ndef between{number}(a):\n    return a * {number}\n" for number in range(200))


class Case(NamedTuple):
    """Texts by module, with TAG where the tag of an edit stands."""

    name: str
    texts: dict[str, str]
    look: str | list[str]
    tools: tuple[str, ...]


CASES: Final = (
    Case("a function's default and body", {"subject": _ONE}, "call", TOOLS),
    Case(
        "two functions of a file",
        {"subject": _TWO.format(between="")},
        ["subject.first", "subject.last"],
        TOOLS,
    ),
    Case(
        "two functions far apart in a file",
        {"subject": _TWO.format(between=_BETWEEN)},
        ["subject.first", "subject.last"],
        TOOLS,
    ),
    Case(
        "functions of two files",
        {"subject": _TWO.format(between=""), "other": _TWO.format(between="")},
        ["subject.first", "other.first"],
        TOOLS,
    ),
    Case("a call tree", {"subject": _TREE}, "call", (QUIESCENT, *TOOLS)),
)


def rows(run: Run) -> Iterator[Row]:
    """The share of edits that were seen half done, a case and tool."""
    seconds, steps = (1.0, 300) if run.quick else (5.0, 2000)
    for case in CASES:
        measure = Measure("torn", case.name, "edits seen half done", "%")
        for tool in run.chosen(case.tools):
            try:
                yield _measured(measure, case, tool, seconds, steps)
            except (NotHere, Silent) as error:
                yield measure.lacking(tool, str(error))


def _measured(measure: Measure, case: Case, tool: str, seconds: float, steps: int) -> Row:
    versions = [
        {name: text.replace("TAG", str(1000 + step % 2)) for name, text in case.texts.items()}
        for step in range(steps + 1)
    ]
    with folders() as (folder, aside):
        prepare(folder, aside, versions, patches=tool.startswith("bcpatch"))
        job = {"modules": list(case.texts), "look": case.look, "threads": THREADS, "seconds": seconds, "steps": steps}
        found = work("torn", tool, folder, job, seconds + 60)
    if not found["edits"]:
        return measure.lacking(tool, "no edit was done in time")
    note = f"{found['edits seen mixed']:,} of {found['edits']:,} edits"
    note += f"; {found['mixed']:,} of {found['observations']:,} observations"
    if found["stale"]:
        note += f"; {found['stale']:,} edits not live, or half, after they were done"
    must = tool == QUIESCENT or (tool == "bcpatch" and case.name != "a call tree")
    return measure.of(tool, [100 * found["edits seen mixed"] / found["edits"]], goal=0.0 if must else None, note=note)


if __name__ == "__main__":
    alone(rows)
