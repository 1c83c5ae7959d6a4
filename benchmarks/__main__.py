"""Runs the suite, and makes its reports.

    python -m benchmarks run [NAME...] [--quick] [--tool TOOL]... [--python PYTHON]... [--out FOLDER]
    python -m benchmarks report FILE...       Markdown of one run, or one table over several
    python -m benchmarks publish FILE...      write the summary, tables and plots into README.md and docs/

`run` writes VERSION.json, VERSION.md and plots as SVG into the folder (default: build/benchmarks).
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks import apply, build, calls, edit, imports, memory, parts, server, size, torn, verify
from benchmarks.suite import environments, machine, publish, report, results
from benchmarks.suite.publish import plots
from benchmarks.suite.results import Results, Row
from benchmarks.suite.run import Benchmark, Run, options

BENCHMARKS: Final[dict[str, Benchmark]] = {
    "edit": edit.rows,
    "parts": parts.rows,
    "apply": apply.rows,
    "build": build.rows,
    "verify": verify.rows,
    "size": size.rows,
    "memory": memory.rows,
    "calls": calls.rows,
    "imports": imports.rows,
    "torn": torn.rows,
    "server": server.rows,
}
OUT: Final = environments.ROOT / "build" / "benchmarks"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="measure")
    running.add_argument("names", nargs="*", metavar="NAME", help=f"which benchmarks: {', '.join(BENCHMARKS)}")
    options(running)
    running.add_argument("--python", action="append", default=[], help="on this Python (may be repeated)")
    running.add_argument("--out", type=Path, default=OUT, help="the folder for what is written")
    for name, what in (("report", "show"), ("publish", "write into README.md and docs/")):
        commands.add_parser(name, help=what).add_argument("files", nargs="+", type=Path)
    chosen = parser.parse_args(words)
    if chosen.command == "run":
        unknown = sorted(set(chosen.names) - set(BENCHMARKS))
        if unknown:
            parser.error(f"no benchmark is called {', '.join(unknown)}")
        return elsewhere(chosen) if chosen.python else run(chosen)
    runs = [results.read(file) for file in chosen.files]
    if chosen.command == "publish":
        publish.publish(runs, environments.ROOT)
    else:
        print(report.markdown(runs[0]) if len(runs) == 1 else report.versions(runs), end="")
    return 0


def run(chosen: argparse.Namespace) -> int:
    """Measure with this interpreter; status 1 where an aim of the suite is missed."""
    if warning := machine.busy():
        print(f"benchmarks: {warning}", file=sys.stderr)
    described, began, date = machine.description(), time.monotonic(), datetime.now(UTC)
    told = Run(chosen.quick, tuple(chosen.tool))
    rows: list[Row] = []
    for name in chosen.names or BENCHMARKS:
        for row in BENCHMARKS[name](told):
            rows.append(row)
            print(report.line(row, rows), flush=True)
    found = Results(
        python=platform.python_version(),
        date=date.strftime("%Y-%m-%d %H:%M UTC"),
        command=command(chosen),
        machine=described,
        versions=environments.versions(),
        seconds=round(time.monotonic() - began, 1),
        rows=tuple(rows),
    )
    name = environments.version()
    results.write(found, chosen.out / f"{name}.json")
    (chosen.out / f"{name}.md").write_text(report.markdown(found), "utf-8")
    for plot, picture in plots(found).items():
        (chosen.out / f"{name}-{plot}.svg").write_text(picture, "utf-8")
    print(f"{len(rows)} rows after {found.seconds:.0f} s: {chosen.out / name}.json, .md and plots")
    return 0


def command(chosen: argparse.Namespace) -> str:
    """The command line that gives these results, without what is particular to a machine."""
    words = ["python", "-m", "benchmarks", "run", *chosen.names]
    words += ["--quick"] * chosen.quick
    words += [f"--tool {tool!r}" if " " in tool else f"--tool {tool}" for tool in chosen.tool]
    return " ".join(words)


def elsewhere(chosen: argparse.Namespace) -> int:
    """The same with other interpreters, each with an environment of its own."""
    words = ["run", *chosen.names, *["--quick"] * chosen.quick, "--out", str(chosen.out.resolve())]
    words += [word for tool in chosen.tool for word in ("--tool", tool)]
    worst = 0
    for python in chosen.python:
        ask = "import sys; print('{}.{}'.format(*sys.version_info))"
        version = subprocess.run([python, "-I", "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
        folder = environments.ROOT / ".venvs" / version
        subprocess.run([environments.ROOT / "scripts" / "make-venv", python, folder, "test"], check=True)
        interpreter = folder / "bin" / "python"
        worst |= subprocess.run(
            [interpreter, "-m", "benchmarks", *words], cwd=environments.ROOT, check=False
        ).returncode
    return worst


if __name__ == "__main__":
    sys.exit(main())
