"""Do threads ever see half a swap? Minutes of calls and reads against thousands of swaps.

    python -m benchmarks.checks.soak --seconds 600 --threads 4

Four threads call and read without a pause, with the shortest switch interval, while one
thread applies and rolls back. Counted are observations, swaps, and how many observations
belonged to no generation: for bcpatch's swap, for a loop of assignments, and mixed call
trees (a method that calls two others) with immediate and with quiescent consistency.
Prints one line of JSON; ends with status 1 where bcpatch's swap was torn or a quiescent
one mixed.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from bcpatch import apply, load
from bcpatch.process import guards, swap
from bcpatch.process.history import History
from bcpatch.process.swap import Change
from benchmarks.suite.modules import between
from benchmarks.suite.modules import load as imported

TEXT = """
class Tree:
    def root(self, a="TAG", *, b="TAG"):
        return ("TAG", a, b, *self.branch(), *self.leaf())

    def branch(self, a="TAG", *, b="TAG"):
        return ("TAG", a, b, *self.leaf())

    def leaf(self, a="TAG", *, b="TAG"):
        return ("TAG", a, b)
"""
NAME = "subject"
OLD, NEW = TEXT.replace("TAG", "old"), TEXT.replace("TAG", "new")
FLIPS = 100  # an even number: the history's current generation is true again after them
ATTRIBUTES = ("__code__", "__defaults__", "__kwdefaults__")


class Watch:
    """Threads that look at one tree until told to stop."""

    def __init__(self, tree: Any, threads: int, what: Callable[[Any, Watch], None]) -> None:
        self.going = True
        self.observations = 0
        self.torn = 0
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=what, args=(tree, self)) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def count(self, observations: int, torn: int) -> None:
        with self.lock:
            self.observations += observations
            self.torn += torn

    def stop(self) -> None:
        self.going = False
        for thread in self.threads:
            thread.join()


def look(tree: Any, watch: Watch) -> None:
    """Single calls, and snapshots of all nine values by one C call: which generation is each of?"""
    functions = [function for name in ("root", "branch", "leaf") for function in [vars(type(tree))[name]] * 3]
    names = ATTRIBUTES * 3
    observations = torn = 0
    while watch.going:
        for _ in range(1000):
            seen = list(map(getattr, functions, names))
            tags = {constant for code in seen[::3] for constant in code.co_consts}
            tags.update(*seen[1::3], *(keywords.values() for keywords in seen[2::3]))
            torn += len(tags & {"old", "new"}) != 1
            torn += len(set(tree.leaf())) != 1
        observations += 2000
    watch.count(observations, torn)


def walk(tree: Any, watch: Watch) -> None:
    """Whole call trees: does one of them mix generations?"""
    observations = torn = 0
    while watch.going:
        for _ in range(1000):
            torn += len(set(tree.root())) != 1
        observations += 1000
    watch.count(observations, torn)


def one_by_one(changes: Sequence[Change], *, along: Sequence[swap.Row] = (), **_: object) -> bool:
    """The naive swap: a loop of assignments."""
    for call, *arguments in [*(swap.writing(change.slot, change.new) for change in changes), *along]:
        call(*arguments)
    return True


def soak(
    what: Callable[[Any, Watch], None],
    seconds: float,
    threads: int,
    step: Callable[[History, int], int],
) -> dict[str, int]:
    """Swap back and forth for some seconds; each ``step`` says how many swaps it made."""
    tree = imported(OLD, NAME).Tree()
    history = History()
    load.apply(between({NAME: OLD}, {NAME: NEW}), history)
    watch = Watch(tree, threads, what)
    swaps = steps = 0
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            swaps += step(history, steps)
            steps += 1
    finally:
        watch.stop()
    return {"swaps": swaps, "observations": watch.observations, "torn": watch.torn}


def roll_and_flip(history: History, number: int) -> int:
    """A rollback, then the stores of it alone, many times: a process with busy threads links slowly."""
    with history.exclusive():
        apply.rollback(history, number % 2)
    there = history.records[1].changes
    back = [Change(change.slot, change.new, change.old) for change in there]
    for flip in range(FLIPS):
        changes = there if (number + flip) % 2 == 0 else back
        if not swap.exchange(changes, guards=[guards.unchanged(changes)]):
            raise AssertionError("somebody else has swapped")
        time.sleep(0)
    return FLIPS + 1


def apply_quietly(history: History, number: int) -> int:
    patch = between({NAME: NEW}, {NAME: OLD}) if number % 2 == 0 else between({NAME: OLD}, {NAME: NEW})
    load.apply(patch, history, consistency="quiescent", timeout=60)
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="of the main part; each other takes a tenth")
    parser.add_argument("--threads", type=int, default=4)
    options = parser.parse_args()
    sys.setswitchinterval(1e-6)
    found: dict[str, Any] = {"python": platform.python_version()}
    found["one call"] = soak(look, options.seconds, options.threads, roll_and_flip)
    found["immediate trees"] = soak(walk, options.seconds / 10, options.threads, roll_and_flip)
    found["quiescent trees"] = soak(walk, options.seconds / 10, options.threads, apply_quietly)
    real = swap.exchange
    vars(swap)["exchange"] = one_by_one
    found["one by one"] = soak(look, options.seconds / 10, options.threads, roll_and_flip)
    swap.exchange = real
    print(json.dumps(found))
    return 1 if found["one call"]["torn"] or found["quiescent trees"]["torn"] else 0


if __name__ == "__main__":
    sys.exit(main())
