"""What does a call cost after a patch? Beside a module that was never patched, and one by plain assignment.

    python -m benchmarks.calls [--quick]

Modules of one text run the same code, each come to it another way. Where the function object may be replaced
(nobody else holds it), calls should cost what they cost in a module that was never patched; where it is held,
it can only be changed in place, and calls should cost what they cost after ``f.__code__ = ...``.
"""

from __future__ import annotations

import time
import timeit
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any, Final

from bcpatch import load
from bcpatch.process.history import History
from benchmarks.suite.modules import between
from benchmarks.suite.modules import load as imported
from benchmarks.suite.results import Measure, Row
from benchmarks.suite.run import Run, alone

_TEXT: Final = """
class Thing:
    def __init__(self, a):
        self.a = a
        self.tag = BODY

    def method(self, a):
        return BODY

    @property
    def accessor(self):
        return BODY

    def __getitem__(self, a):
        return BODY

def exact(a):
    return BODY

def default(a, b=2):
    return BODY
"""
_OLD, _NEW = _TEXT.replace("BODY", "1"), _TEXT.replace("BODY", "2")

_CALLS: Final = {
    "exact arguments": "exact(1)",
    "default argument": "default(1)",
    "method": "thing.method(1)",
    "property": "thing.accessor",
    "__getitem__": "thing[1]",
    "__init__": "Thing(1)",
}

NEVER: Final = "never patched"
ASSIGNED: Final = "plain assignment"
MOST: Final = 1.03


def rows(run: Run) -> Iterator[Row]:
    """Nanoseconds a call, by kind of call and by how the module came to its code."""
    many, repeat = (200, 7) if run.quick else (10_000, 25)
    again = f"patched {many:,} times"
    free = {
        NEVER: imported(_NEW, "never"),
        "patched once": patched("once", 1),
        again: patched("many", many),
    }
    held = {
        ASSIGNED: assigned(1),
        f"{ASSIGNED} {many:,} times": assigned(many),
        "patched once": patched("once_held", 1, held=True),
        again: patched("many_held", many, held=True),
    }
    for name, call in _CALLS.items():
        yield from _compared(Measure("calls", name, "the function may be replaced", "ns", NEVER), call, free, repeat)
        yield from _compared(Measure("calls", name, "the function is held", "ns", ASSIGNED), call, held, repeat)


def _compared(measure: Measure, call: str, modules: dict[str, ModuleType], repeat: int) -> Iterator[Row]:
    """The same call in each module, in turns, so that what the machine does besides meets them all."""
    timers = {
        tool: timeit.Timer(f"{call};" * 10, timer=time.process_time, globals=_names(module))
        for tool, module in modules.items()
    }
    number = 20_000
    times: dict[str, list[float]] = {tool: [] for tool in timers}
    for _ in range(repeat):
        for tool, timer in timers.items():
            times[tool].append(timer.timeit(number) / number / 10 * 1e9)
    for tool, values in times.items():
        yield measure.of(tool, values, ratio_goal=MOST if tool.startswith("patched") else None)


def _names(module: ModuleType) -> dict[str, Any]:
    return {**vars(module), "thing": module.Thing(1)}


def functions(module: ModuleType) -> list[FunctionType]:
    """Every function of a module that was made from the text."""
    thing = vars(module.Thing)
    methods = [thing[name] for name in ("__init__", "method", "__getitem__")]
    return [*methods, thing["accessor"].fget, module.exact, module.default]


_kept: list[FunctionType] = []


def patched(name: str, times: int, *, held: bool = False) -> ModuleType:
    """A module that was patched, then rolled back and forth, an odd number of times in all."""
    module = imported(_OLD, name)
    if held:
        _kept.extend(functions(module))
    history = History()
    load.apply(between({name: _OLD}, {name: _NEW}), history)
    for _ in range((times - 1) // 2):
        load.rollback(history, 0)
        load.rollback(history, 1)
    assert module.exact(1) == 2
    return module


def assigned(times: int) -> ModuleType:
    """A module whose functions were given the new code one by one."""
    module, source = imported(_OLD, "assigned"), imported(_NEW, "source")
    there = [function.__code__ for function in functions(source)]
    back = [function.__code__ for function in functions(module)]
    for number in range(times + 1 - times % 2):
        for function, code in zip(functions(module), back if number % 2 else there, strict=True):
            function.__code__ = code
    assert module.exact(1) == 2
    return module


if __name__ == "__main__":
    alone(rows)
