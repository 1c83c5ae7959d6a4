"""What does the command line cost, as a process: building a patch, and starting at all?

    python -m benchmarks.build [--quick]

`bcpatch build` of one changed function in a module of two thousand beside ``python -m py_compile`` of that
module, and `bcpatch --version` beside ``python -c pass``; in turns.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.suite.applications import Silent, environment, folders
from benchmarks.suite.results import Measure, Row
from benchmarks.suite.run import Run, alone
from benchmarks.workers import texts

FUNCTIONS: Final = 2000


def rows(run: Run) -> Iterator[Row]:
    """Milliseconds of a process from start to end."""
    with folders() as (folder, aside):
        old, new, out = aside / "subject.py", folder / "subject.py", folder / "out.patch"
        old.write_text(texts.text(FUNCTIONS), "utf-8")
        new.write_text(texts.text(FUNCTIONS, {FUNCTIONS // 2: 1}), "utf-8")
        own = ["-m", "bcpatch"]
        building = {
            "py_compile": ["-m", "py_compile", str(new)],
            "bcpatch": [*own, "build", str(new), "--base", str(old), "-o", str(out)],
        }
        starting = {
            "python -c pass": ["-c", "pass"],
            "bcpatch": [*own, "--version"],
            "bcpatch --help": [*own, "--help"],
        }
        measure = Measure("build", "one function of 2,000", "build", "ms", "py_compile")
        yield from _compared(measure, building, folder, 2 if run.quick else 7, 3.0)
        measure = Measure("build", "command line", "start-up", "ms", "python -c pass")
        yield from _compared(measure, starting, folder, 5 if run.quick else 31, 2.0)


def _compared(
    measure: Measure, commands: Mapping[str, Sequence[str]], folder: Path, repeats: int, goal: float
) -> Iterator[Row]:
    times: dict[str, list[float]] = {tool: [] for tool in commands}
    for _ in range(repeats + 1):
        for tool, words in commands.items():
            times[tool].append(_milliseconds(words, folder))
    for tool, values in times.items():  # the first ones compiled what was not cached
        yield measure.of(tool, values[1:], ratio_goal=goal if tool.startswith("bcpatch") else None)


def _milliseconds(words: Sequence[str], folder: Path) -> float:
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment(folder, {}), capture_output=True, text=True, check=False
    )
    took = (time.perf_counter() - began) * 1000
    if done.returncode:
        raise Silent(f"{' '.join(words)}: {done.stderr.strip()}")
    return took


if __name__ == "__main__":
    alone(rows)
