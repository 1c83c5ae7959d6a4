"""Programs that tests start for real, and wait for by what they say."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

PATIENCE = 30.0
"""Seconds after which a line that was waited for is missing: a failure, however slow the machine."""

REPOSITORY = Path(__file__).resolve().parent.parent


def environment(**more: str) -> dict[str, str]:
    """The environment of a program that finds this bcpatch, and says everything without colour."""
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "NO_COLOR": "1", **more}


def bcpatch(*arguments: str | Path, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command of bcpatch to its end."""
    return subprocess.run(
        [sys.executable, "-m", "bcpatch", *map(str, arguments)],
        cwd=cwd,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


class Started:
    """A program at work; all its lines are kept, those of both streams in the order in which they came.

    ``pid`` is that of the process under it which takes patches, once a test has heard of one.
    """

    pid: str

    def __init__(self, command: Sequence[str | Path], cwd: Path, env: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [str(word) for word in command],
            cwd=cwd,
            env=environment() if env is None else env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._said: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (self.process.stdout, self.process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *raised: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()

    def hear(self, *patterns: str) -> re.Match[str]:
        """Wait until each pattern was found in a new line, in any order; how the first one was."""
        found: dict[str, re.Match[str]] = {}
        ends = 0
        while ends < len(self._readers):
            try:
                line = self._said.get(timeout=PATIENCE)
            except queue.Empty:
                break
            if line is None:
                ends += 1
                continue
            self.lines.append(line)
            found |= {one: match for one in patterns if one not in found and (match := re.search(one, line))}
            if len(found) == len(patterns):
                return found[patterns[0]]
        missing = [pattern for pattern in patterns if pattern not in found]
        raise AssertionError(f"never said: {missing}\n--- but:\n" + "\n".join(self.lines))

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self) -> int:
        """Wait until it has ended by itself; its exit status."""
        return self.process.wait(PATIENCE)

    def rest(self) -> list[str]:
        """Wait until it has ended; every line that was not heard yet."""
        self.end()
        for reader in self._readers:
            reader.join(PATIENCE)
        found = []
        while not self._said.empty():
            line = self._said.get()
            if line is not None:
                found.append(line)
        return found

    def _read(self, stream) -> None:
        for line in stream:
            self._said.put(line.rstrip("\n"))
        self._said.put(None)


def run(*arguments: str | Path, cwd: Path, **more: str) -> Started:
    """``bcpatch run`` with these arguments."""
    return Started([sys.executable, "-m", "bcpatch", "run", *arguments], cwd, environment(**more))
