"""Looks at prepared edits while they are applied: threads that see half of one, and edits that were seen so.

    python torn.py '{"tool": ..., "folder": ..., "modules": [...], "look": ..., "threads": ..., "seconds": ..., ...}'

``look`` is "call" (one call of ``subject.root``, which gives the tags that it met) or names of functions,
whose code is read by one call into C. An observation is mixed where it holds more than one tag; one that
found no function at all counts as mixed too. Prints one line of JSON.
"""

from __future__ import annotations

import json
import operator
import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import SimpleNamespace

import edits


class Watch:
    """A thread that looks until told to stop."""

    def __init__(self, look: Callable[[], Iterable[int]]) -> None:
        self.look = look
        self.going = True
        self.observations = 0
        self.mixed = 0
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def watch(self) -> None:
        look = self.look
        while self.going:
            try:
                same = len(set(look())) == 1
            except AttributeError:
                same = False
            self.mixed += not same
            self.observations += 1


def looking(job: dict, holder: SimpleNamespace) -> Callable[[], Iterable[int]]:
    if job["look"] == "call":
        return lambda: iter(holder.subject.root())
    snapshot = operator.attrgetter(*(f"{name}.__code__.co_consts" for name in job["look"]))
    return lambda: [tag for constants in snapshot(holder) for tag in constants if isinstance(tag, int) and tag >= 1000]


def main() -> None:
    job = json.loads(sys.argv[1])
    modules, refresh = edits.begin(job["tool"], job["folder"], job["modules"])
    look = looking(job, SimpleNamespace(**{module.__name__: module for module in modules}))
    for step in range(2):
        edits.place(job["folder"], step)
        refresh(step)
    sys.setswitchinterval(1e-6)
    watches = [Watch(look) for _ in range(job["threads"])]
    done = mixed = stale = 0
    end = time.monotonic() + job["seconds"]
    try:
        for step in range(2, job["steps"]):
            before = sum(watch.mixed for watch in watches)
            edits.place(job["folder"], step)
            refresh(step)
            stale += set(look()) != {1000 + (step + 1) % 2}
            done += 1
            mixed += sum(watch.mixed for watch in watches) != before
            if time.monotonic() > end:
                break
    finally:
        for watch in watches:
            watch.going = False
        for watch in watches:
            watch.thread.join()
    print(
        json.dumps({
            "edits": done, "edits seen mixed": mixed, "stale": stale,
            "observations": sum(watch.observations for watch in watches),
            "mixed": sum(watch.mixed for watch in watches),
        })
    )  # fmt: skip


if __name__ == "__main__":
    main()
