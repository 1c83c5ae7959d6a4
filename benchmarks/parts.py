"""Where does the time of an edit go?

    python -m benchmarks.parts [--quick]

The cases of `benchmarks.edit` without file events: each step of the way from two texts to the swap by itself, in one
thread of one process, beside ``compile()`` of the whole text. The message goes to another process, which refuses
it at once: its digest is wrong. It is also measured what it takes to do the least that must be done,
whoever does it: for the one function that changed, and where all lines moved for each of them.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import inspect
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Final

from bcpatch import apply, builder, fingerprint, flow, link, load, patchfile, pythons, verify
from bcpatch.channels import client
from bcpatch.channels.peer import Peer
from bcpatch.channels.protocol import Apply, Refusal
from bcpatch.diagnostics import Refused
from bcpatch.exchange.replace import made
from bcpatch.model import Policy
from bcpatch.process import sources
from bcpatch.process.collector import fewer_collections
from bcpatch.process.history import History
from bcpatch.running.follow import is_large
from benchmarks.edit import CASES, Case
from benchmarks.suite import modules
from benchmarks.suite.applications import START, Silent, process
from benchmarks.suite.results import Measure, Row
from benchmarks.suite.run import Run, alone
from benchmarks.workers import texts

COMPILE: Final = "compile()"

#: A process that takes patches, says its number, and rests.
_RESTING: Final = (
    "import logging, os, threading; from bcpatch import runtime; runtime.loop();"
    " logging.disable();"
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
    functions = [getattr(module, texts.name(number)) for number in range(case.functions)]
    for _ in range(edits):
        leasts = (
            _least_of_all(functions, old.encode()) if case.moved else _least_of_one(module, functions[changed], peer)
        )
        for step, least in leasts:
            gc.collect()
            began = time.perf_counter()
            least()
            spent.setdefault(f"floor: {step}", []).append((time.perf_counter() - began) * 1000)
    return spent


def _least_of_one(module: ModuleType, function: FunctionType, peer: Peer) -> Iterator[tuple[str, Callable[[], object]]]:
    """What can't be spared where one function changes."""
    text = inspect.getsource(function)
    code = fingerprint.encode(function.__code__)
    yield "read the file, its digest", lambda: fingerprint.blake(sources.on_disk(module) or b"")
    yield "parse and compile the function", lambda: compile(ast.parse(text), "", "exec", dont_inherit=True)
    yield "a question, an answer", lambda: _refused(peer, b"")
    yield "follow every path through its code", lambda: flow.analyze(code)
    yield "its code from the fields", lambda: fingerprint.decode(code, "")


def _least_of_all(functions: Sequence[FunctionType], text: bytes) -> Iterator[tuple[str, Callable[[], object]]]:
    """What can't be spared where functions move to other lines."""
    codes = [function.__code__ for function in functions]
    moved: list[CodeType] = []
    tables = [code.co_linetable for code in codes]
    yield "digest of the text, its lines", lambda: (fingerprint.blake(text), sources.lines_of(text))
    yield "count references", lambda: list(map(sys.getrefcount, (*functions, *codes)))
    yield "code on other lines", lambda: moved.extend([one.replace(co_firstlineno=1) for one in codes])
    yield "digests of it", lambda: [fingerprint.hashed(table).digest() for table in tables]
    if pythons.ASSIGNED_CODE_IS_SLOWER:
        space = functions[0].__globals__
        yield "functions anew", lambda: [made(code, space, None, None, ()) for code in codes]
    yield "assign it", lambda: deque(map(setattr, functions, repeat("__code__"), moved), maxlen=0)


def _edit(name: str, old: str, new: str, history: History, peer: Peer) -> Iterator[tuple[str, float]]:
    clock = time.perf_counter
    gc.collect()
    began = clock()
    compile(new, name, "exec", dont_inherit=True)
    compiled = clock()
    yield COMPILE, compiled - began
    before, after = (modules.sources({name: text}) for text in (old, new))
    began = clock()
    drafted = builder.draft(before, after, policy=Policy.STRICT)
    compared = clock()
    if drafted.patch is None:
        raise Refused(drafted.diagnostics)
    on_disk = is_large(drafted.patch)
    data = patchfile.encode(patchfile.without_texts(drafted.patch) if on_disk else drafted.patch)
    received = load.completed(data) if on_disk else load.receive(data)
    decoded = clock()
    if received is None:
        raise Silent("the file of the module that is patched holds another text")
    patch, _ = verify.verified(received.patch, received.texts)
    verified = clock()
    with history.exclusive(), fewer_collections(sum(len(part.edits) for part in patch.modules)):
        plan = link.link(patch, history, digest=received.digest)
        linked = clock()
        apply.apply(plan, history)
    swapped = clock()
    sent = clock()
    _refused(peer, data[:-1] + bytes([data[-1] ^ 1]))
    answered = clock()
    yield "bcpatch: compare", compared - began
    yield "bcpatch: encode, decode", decoded - compared
    yield "bcpatch: message, answer", answered - sent
    yield "bcpatch: verify", verified - decoded
    yield "bcpatch: link", linked - verified
    yield "bcpatch: prepare, swap", swapped - linked


def _refused(peer: Peer, data: bytes) -> None:
    """Send a process what is no patch, and wait for its answer."""
    if not isinstance(peer.request(Apply(patch=data), START), Refusal):
        raise Silent("the process that rests did something else than it was asked to")


if __name__ == "__main__":
    alone(rows)
