"""How long does an apply stop the other threads? The longest gap that a spinning thread sees.

    python benchmarks/stall.py --objects 0 5000000

For each number of live objects the longest gap while nothing is applied, during applies of
twenty functions, and during rollbacks. Prints one line of JSON; milliseconds.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import threading
import time
from collections.abc import Callable

import subject

from bcpatch import load
from bcpatch.process.history import History

TEXT = "\n".join(f"def f{number}(a=1):\n    return 'old', a\n" for number in range(20))
NEW = TEXT.replace("'old'", "'new'")


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

    def during(self, action: Callable[[], object], times: int) -> dict[str, float]:
        self.longest = 0.0
        started = time.perf_counter()
        for _ in range(times):
            action()
        took = (time.perf_counter() - started) / times
        return {"longest gap": round(self.longest * 1000, 2), "each took": round(took * 1000, 2)}

    def stop(self) -> None:
        self.going = False
        self.thread.join()


def measure(objects: int, times: int) -> dict[str, dict[str, float]]:
    heap = [[number] for number in range(objects)]
    subject.load(TEXT)
    history = History()
    there, back = subject.patch(TEXT, NEW), subject.patch(NEW, TEXT)
    turns = [0]

    def flip() -> None:
        turns[0] += 1
        load.apply(there if turns[0] % 2 else back, history)

    def roll() -> None:
        turns[0] += 1
        load.rollback(history, turns[0] % 2)

    spinner = Spinner()
    try:
        return {
            "nothing": spinner.during(lambda: time.sleep(0.1), times),
            "apply": spinner.during(flip, times - times % 2),
            "rollback": spinner.during(roll, times),
        }
    finally:
        spinner.stop()
        heap.clear()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, nargs="+", default=[0, 100_000])
    parser.add_argument("--times", type=int, default=20)
    options = parser.parse_args()
    found = {str(objects): measure(objects, options.times) for objects in options.objects}
    print(json.dumps({"python": platform.python_version(), "objects": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
