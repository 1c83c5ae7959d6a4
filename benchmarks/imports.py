"""What does an application pay for importing a tool: milliseconds, memory, modules?

    python -m benchmarks.imports [--quick] [--tool TOOL]...

Each import happens in a process of its own. Beside the import alone stands the import with what an
application calls at once: ``runtime.loop()``, ``jurigged.watch()``.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Final

from benchmarks.suite.applications import Silent, environment, folders
from benchmarks.suite.environments import NotHere, python
from benchmarks.suite.results import Measure, Row
from benchmarks.suite.run import Run, alone

#: What each application says, by the case that it is a row of.
_STATEMENTS: Final = {
    "import": {
        "bcpatch": "import bcpatch.runtime",
        "jurigged": "import jurigged",
        "IPython": "import IPython.extensions.autoreload",
    },
    "import and start": {
        "bcpatch": "import bcpatch.runtime; bcpatch.runtime.loop()",
        "jurigged": "import jurigged; jurigged.watch(logger=print)",
    },
}
_GOALS: Final = {"time": 20.0, "memory": 3.0}
_UNITS: Final = {"time": "ms", "memory": "MB", "modules": ""}

_PROGRAM: Final = """
import json, os, sys, time
def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
before = memory(), len(sys.modules), time.perf_counter()
{statement}
after = memory(), len(sys.modules), time.perf_counter()
print(json.dumps({{"time": (after[2] - before[2]) * 1e3, "memory": after[0] - before[0],
                   "modules": after[1] - before[1]}}), flush=True)
os._exit(0)
"""


def rows(run: Run) -> Iterator[Row]:
    """Time, memory and number of modules, a statement and tool."""
    for case, statements in _STATEMENTS.items():
        goals = _GOALS if case == "import" else {}
        for tool in run.chosen(tuple(statements)):
            measures = {name: Measure("imports", case, name, unit, "bcpatch") for name, unit in _UNITS.items()}
            try:
                found = _found(tool, statements[tool], 5 if run.quick else 21)
            except (NotHere, Silent) as error:
                yield measures["time"].lacking(tool, str(error))
                continue
            for name, values in found.items():
                yield measures[name].of(tool, values, goal=goals.get(name) if tool == "bcpatch" else None)


def _found(tool: str, statement: str, repeats: int) -> dict[str, list[float]]:
    interpreter = python(tool)
    found: dict[str, list[float]] = {name: [] for name in _UNITS}
    with folders() as (folder, _):
        for _ in range(repeats + 1):
            command = [str(interpreter), "-c", _PROGRAM.format(statement=statement)]
            surroundings = environment(folder, {"XDG_RUNTIME_DIR": str(folder)})
            done = subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Silent(f"it failed: {done.stderr.strip().splitlines()[-1]}")
            for name, value in json.loads(done.stdout).items():
                found[name].append(value)
    return {name: values[1:] for name, values in found.items()}  # the first one compiles what was not cached


if __name__ == "__main__":
    alone(rows)
