"""What does a server under load notice of patches? Requests a second, and the slowest one in a hundred.

    python -m benchmarks.server [--quick]

The same server and load in turns: undisturbed, and while a patch reaches it every 100 ms by the socket that
``bcpatch apply`` uses. Each turn is one measurement.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from bcpatch import patchfile
from bcpatch.channels import client
from bcpatch.channels.protocol import Applied, Apply, Reply
from benchmarks.suite.applications import START, Silent, environment, folders, process
from benchmarks.suite.environments import WORKERS, python
from benchmarks.suite.modules import between
from benchmarks.suite.results import Measure, Row
from benchmarks.suite.run import Run, alone
from benchmarks.workers import texts

KINDS: Final = ("threaded", "asyncio")
CONNECTIONS: Final = 8
EVERY: Final = 0.1
FUNCTIONS: Final = 10

NEVER: Final = "no patches"
PATCHED: Final = "a patch every 100 ms"


def rows(run: Run) -> Iterator[Row]:
    """Requests a second, and the 99th percentile of their times, by kind of server."""
    turns, seconds = (3, 1.0) if run.quick else (9, 2.0)
    for kind in KINDS:
        rate = Measure("server", kind, "requests a second", "", NEVER, more_is_better=True)
        slow = Measure("server", kind, "99th percentile", "ms", NEVER)
        found = _turns(kind, turns, seconds)
        for name, measured in found.items():
            patched = name == PATCHED
            yield rate.of(name, [one["rate"] for one in measured], ratio_goal=0.98 if patched else None)
            yield slow.of(name, [one["p99"] for one in measured], ratio_goal=1.05 if patched else None)


def _turns(kind: str, turns: int, seconds: float) -> dict[str, list[dict[str, float]]]:
    old, new = ({texts.MODULE: texts.text(FUNCTIONS, {0: value, 1: value, 2: value})} for value in (1, 2))
    patches = [patchfile.encode(between(old, new)), patchfile.encode(between(new, old))]
    found: dict[str, list[dict[str, float]]] = {NEVER: [], PATCHED: []}
    with folders() as (folder, _):
        (folder / f"{texts.MODULE}.py").write_text(old[texts.MODULE], "utf-8")
        with process([str(python("bcpatch")), str(WORKERS / "server.py"), kind], folder) as lines:
            pid, port = map(int, lines.next(time.monotonic() + START).split())
            with _load(port, folder) as load, _patching(pid, patches) as go:
                load(0.5)
                for _ in range(turns):
                    found[NEVER].append(load(seconds))
                    with go():
                        found[PATCHED].append(load(seconds))
    return found


@contextlib.contextmanager
def _load(port: int, folder: Path) -> Iterator[Callable[[float], dict[str, float]]]:
    """What loads the server for some seconds, when called, and tells how it went."""
    command = [str(python("bcpatch")), str(WORKERS / "load.py"), str(port), str(CONNECTIONS)]
    running = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(folder, {})
    )
    given, found = running.stdin, running.stdout
    assert given is not None
    assert found is not None

    def load(seconds: float) -> dict[str, float]:
        print(seconds, file=given, flush=True)
        line = found.readline()
        if not line:
            raise Silent("the load has ended before its time")
        answer: dict[str, float] = json.loads(line)
        return answer

    try:
        yield load
    finally:
        given.close()
        running.wait()
        found.close()


@contextlib.contextmanager
def _patching(pid: int, patches: list[bytes]) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """A context in which patches go to a process, one after another, there and back."""
    peer = client.connect(pid)
    replies: list[Reply] = []

    def send(stop: threading.Event) -> None:
        while not stop.wait(EVERY):
            replies.append(peer.request(Apply(patch=patches[len(replies) % 2]), START))

    @contextlib.contextmanager
    def go() -> Iterator[None]:
        stop, before = threading.Event(), len(replies)
        thread = threading.Thread(target=send, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        others = [reply for reply in replies[before:] if not isinstance(reply, Applied)]
        if others or len(replies) == before:
            raise Silent(f"patches were not applied: {others[:1]}")

    try:
        yield go
    finally:
        peer.close()


if __name__ == "__main__":
    alone(rows)
