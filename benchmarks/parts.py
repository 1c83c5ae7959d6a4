"""Where does the time of an edit go?

    python -m benchmarks.parts [--quick]

The cases of `benchmarks.edit` without file events: each step of the way from two texts to the swap by itself, in one
thread of one process, beside ``compile()`` of the whole text. The message goes to another process, which applies
nothing and answers with what it has loaded.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bcpatch import apply, builder, link, patchfile, verify
from bcpatch.channels import client
from bcpatch.channels.peer import Peer
from bcpatch.channels.protocol import Apply, LoadedReply
from bcpatch.diagnostics import Refused
from bcpatch.process.history import History
from benchmarks.edit import CASES, Case
from benchmarks.suite import modules
from benchmarks.suite.applications import START, Silent, process
from benchmarks.suite.results import Measure, Row
from benchmarks.suite.run import Run, alone
from benchmarks.workers import texts

COMPILE: Final = "compile()"

#: A process that takes patches, says its number, and rests.
_RESTING: Final = (
    "import os, threading; from bcpatch import runtime; runtime.loop();"
    " print(os.getpid(), flush=True); threading.Event().wait()"
)


def rows(run: Run) -> Iterator[Row]:
    """Milliseconds of each step, by case."""
    with _resting() as peer:
        for case in CASES:
            measure = Measure("parts", case.name, "of an edit", "ms", COMPILE)
            for step, spent in _steps(case, 5 if run.quick else 25, peer).items():
                yield measure.of(step, spent)


@contextlib.contextmanager
def _resting() -> Iterator[Peer]:
    with process([sys.executable, "-c", _RESTING], Path.cwd()) as lines:
        peer = client.connect(int(lines.next(time.monotonic() + START)))
        try:
            yield peer
        finally:
            peer.close()


def _steps(case: Case, edits: int, peer: Peer) -> dict[str, list[float]]:
    """The times of the steps of some edits, in milliseconds; those of a first edit are left out."""
    name = f"parts_{case.functions}{'_moved' * case.moved}"
    changed = case.functions // 2
    old = texts.text(case.functions)
    module = modules.load(old, name)
    history = History()
    spent: dict[str, list[float]] = {}
    for number in range(1, edits + 2):
        new = texts.text(case.functions, {changed: number}, number if case.moved else 0)
        modules.save(module, new)
        for step, seconds in _edit(name, old, new, history, peer):
            if number > 1:
                spent.setdefault(step, []).append(seconds * 1000)
        old = new
    spent["bcpatch: all of it"] = [
        sum(times) for times in zip(*(spent[step] for step in spent if step != COMPILE), strict=True)
    ]
    return spent


def _edit(name: str, old: str, new: str, history: History, peer: Peer) -> Iterator[tuple[str, float]]:
    clock = time.perf_counter
    gc.collect()
    began = clock()
    compile(new, name, "exec", dont_inherit=True)
    compiled = clock()
    yield COMPILE, compiled - began
    before, after = (modules.sources({name: text}) for text in (old, new))
    began = clock()
    outcome = builder.compare(before, after)
    compared = clock()
    if outcome.patch is None:
        raise Refused(outcome.diagnostics)
    data = patchfile.encode(outcome.patch)
    patch = patchfile.decode(data)
    decoded = clock()
    verify.verify(patch)
    verified = clock()
    with history.exclusive():
        plan = link.link(patch, history)
        linked = clock()
        apply.apply(plan, history)
        swapped = clock()
    sent = clock()
    if not isinstance(peer.request(Apply(patch=data, basis=""), START), LoadedReply):
        raise Silent("the process that rests did something else than it was asked to")
    answered = clock()
    yield "bcpatch: compare, verify", compared - began
    yield "bcpatch: encode, decode", decoded - compared
    yield "bcpatch: message, answer", answered - sent
    yield "bcpatch: verify again", verified - decoded
    yield "bcpatch: link", linked - verified
    yield "bcpatch: prepare, swap", swapped - linked


if __name__ == "__main__":
    alone(rows)
