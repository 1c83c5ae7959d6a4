"""Applies prepared edits to itself: how long each takes, and how long a thread that spins stands still.

    python apply.py '{"tool": ..., "folder": ..., "function": ..., "steps": ..., "heap": ...}'

The first edit warms the tool up; half of the others is timed with no other thread at work, half beside one
that looks at the clock without a pause. Prints one line of JSON, milliseconds.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from collections.abc import Callable

import edits
import texts


class Spinner:
    """A thread that does nothing but look at the clock."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.going = True
        self.thread = threading.Thread(target=self.spin)
        self.thread.start()

    def spin(self) -> None:
        before = time.perf_counter()
        while self.going:
            now = time.perf_counter()
            if now - before > self.longest:
                self.longest = now - before
            before = now

    def beside(self, action: Callable[[], float]) -> tuple[float, float]:
        """What an action gives, and the longest gap from its start until the thread had its turn again."""
        time.sleep(0.02)
        self.longest = 0.0
        given = action()
        time.sleep(0.001)
        return given, self.longest

    def stop(self) -> None:
        self.going = False
        self.thread.join()


def busy(seconds: float) -> float:
    """Plain Python for some seconds, as any other thread of an application would run."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    return seconds


def main() -> None:
    job = json.loads(sys.argv[1])
    folder, steps = job["folder"], job["steps"]
    (module,), refresh = edits.begin(job["tool"], folder, [texts.MODULE])
    gc.disable()
    heap = [[number] for number in range(job["heap"])]
    gc.enable()
    function = job["function"]

    def apply(step: int) -> float:
        edits.place(folder, step)
        began = time.perf_counter()
        refresh(step)
        took = time.perf_counter() - began
        if getattr(module, function)(()) != (0, step + 1):
            raise SystemExit(f"edit {step + 1} is not live")
        return took

    first = apply(0)
    half = (steps - 1) // 2
    alone = [apply(step) for step in range(1, 1 + half)]
    beside, stall, plain = [], [], []
    spinner = Spinner()
    try:
        for step in range(1 + half, steps):
            took, gap = spinner.beside(lambda step=step: apply(step))
            beside.append(took)
            stall.append(gap)
            plain.append(spinner.beside(lambda seconds=took: busy(seconds))[1])
    finally:
        spinner.stop()
    heap.clear()
    found = {"first": [first], "alone": alone, "beside": beside, "stall": stall, "plain": plain}
    print(json.dumps({name: [seconds * 1000 for seconds in values] for name, values in found.items()}))


if __name__ == "__main__":
    main()
