"""How a benchmark is run: all of it or in short, all tools or some; and one of them by itself."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TypeAlias

from benchmarks.suite.results import Row


@dataclass(frozen=True)
class Run:
    """``quick``: fewer repetitions and smaller cases; ``tools``: only these, all where there are none."""

    quick: bool = False
    tools: tuple[str, ...] = ()

    def chosen(self, tools: Sequence[str]) -> tuple[str, ...]:
        """Those of some tools that are to be measured."""
        return tuple(tool for tool in tools if not self.tools or tool in self.tools)


Benchmark: TypeAlias = Callable[[Run], Iterator[Row]]


def options(parser: argparse.ArgumentParser) -> None:
    """What every run can be told."""
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, smaller cases")
    parser.add_argument("--tool", action="append", default=[], help="only this tool (may be repeated)")


def alone(benchmark: Benchmark) -> None:
    """The main program of one benchmark: measures, and prints its rows as they come."""
    from benchmarks.suite import report

    module: ModuleType = sys.modules["__main__"]
    parser = argparse.ArgumentParser(description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options(parser)
    chosen = parser.parse_args()
    rows: list[Row] = []
    for row in benchmark(Run(chosen.quick, tuple(chosen.tool))):
        rows.append(row)
        print(report.line(row, rows), flush=True)
