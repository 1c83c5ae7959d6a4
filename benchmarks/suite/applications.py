"""Applications that are edited while they run, each under a tool; and editors, which rename a whole file in."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from benchmarks.suite.environments import ROOT, WORKERS, python
from benchmarks.workers import texts

#: Seconds in which a tool has to get its application going.
START: Final = 60.0


class Silent(Exception):
    """An application has ended, or said nothing in time; the message says which."""


class Editor:
    """Saves the module: writes a file elsewhere and renames it into place.

    Elsewhere, because not every tool sees a rename inside of the folder it watches. Each save is given a
    second of its own, because Python takes a file of the same size and second for the same one.
    """

    def __init__(self, folder: Path, aside: Path) -> None:
        self.file = folder / f"{texts.MODULE}.py"
        self._aside = aside / "saved"
        self._second = int(time.time()) - 100_000

    def save(self, text: str) -> float:
        """Save a text; the time just before the rename, on the monotonic clock."""
        self._second += 1
        self._aside.write_text(text, "utf-8")
        os.utime(self._aside, (self._second, self._second))
        now = time.monotonic()
        os.replace(self._aside, self.file)
        return now


class Application(Protocol):
    """A running application that tells when it saw a value first."""

    def seen(self, value: int, timeout: float) -> float:
        """Wait for a value; the time of the call that gave it. Raises Silent."""


@contextlib.contextmanager
def folders() -> Iterator[tuple[Path, Path]]:
    """A folder for the module, and one beside it on the same file system."""
    with tempfile.TemporaryDirectory(prefix="bcpatch-bench-") as made:
        folder, aside = Path(made, "watched"), Path(made, "aside")
        folder.mkdir()
        aside.mkdir()
        yield folder, aside


@contextlib.contextmanager
def started(tool: str, folder: Path, function: str) -> Iterator[Application]:
    """The application under a tool, at work. Raises NotHere or Silent."""
    interpreter = python(tool)
    if tool == "uvicorn --reload":
        running: contextlib.AbstractContextManager[Application] = _served(interpreter, folder, function)
    else:
        running = _observed(tool, interpreter, folder, function)
    with running as application:
        application.seen(0, START)
        yield application


@contextlib.contextmanager
def _observed(tool: str, interpreter: Path, folder: Path, function: str) -> Iterator[Application]:
    command = [str(WORKERS / "live.py"), tool, str(folder), function]
    if tool == "bcpatch":
        command = ["-m", "bcpatch", "run", "--watch", str(folder), *command]
    with process([str(interpreter), *command], folder) as lines:
        observed = _Observed(lines)
        observed.hear(texts.READY, START)
        if tool == "bcpatch":
            observed.hear("takes patches", START)
        yield observed


class _Observed:
    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._seen: dict[int, float] = {}
        self._heard: list[str] = []

    def hear(self, words: str, timeout: float) -> None:
        """Wait until a line with these words was said."""
        end = time.monotonic() + timeout
        while not any(words in line for line in self._heard):
            self._note(self._lines.next(end))

    def seen(self, value: int, timeout: float) -> float:
        end = time.monotonic() + timeout
        while value not in self._seen:
            self._note(self._lines.next(end))
        return self._seen[value]

    def _note(self, line: str) -> None:
        self._heard.append(line)
        value, _, moment = line.partition(" ")
        if value.isdigit():
            self._seen[int(value)] = float(moment)


class Lines:
    """What a process says on both its streams."""

    def __init__(self, running: subprocess.Popen[str]) -> None:
        self._said: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._last: list[str] = []
        self._running = running
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def next(self, end: float) -> str:
        """The next line; waits for it until ``end`` on the monotonic clock. Raises Silent."""
        try:
            line = self._said.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            raise Silent("no sign of it in time") from None
        if line is None:
            raise Silent(f"it ended: {' | '.join(self._last)[-300:]}")
        self._last = [*self._last[-4:], line]
        return line

    def close(self) -> None:
        """To be called once the process has ended."""
        self._thread.join()

    def _read(self) -> None:
        assert self._running.stdout is not None
        with self._running.stdout as stream:
            for line in stream:
                self._said.put(line.rstrip("\n"))
        self._said.put(None)


@contextlib.contextmanager
def process(command: Sequence[str], cwd: Path, more: Mapping[str, str] | None = None) -> Iterator[Lines]:
    """A program and its children, ended afterwards, whatever they do."""
    running = subprocess.Popen(
        command,
        cwd=cwd,
        env=environment(cwd, more or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines = Lines(running)
    try:
        yield lines
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(2)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        lines.close()


def environment(home: Path, more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a measured process: this one's, but for what would change how Python runs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "IPYTHONDIR": str(home.parent / "ipython"), **more}


# --- a server that restarts ---------------------------------------------------------------------


@contextlib.contextmanager
def _served(interpreter: Path, folder: Path, function: str) -> Iterator[Application]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--reload", "--reload-dir", str(folder), "--port", str(port), "--lifespan", "off"]
    quiet = ["--log-level", "warning", "--no-access-log"]
    command = [str(interpreter), "-m", "uvicorn", "served:application", *options, *quiet]
    paths = os.pathsep.join([str(folder), str(WORKERS)])
    with process(command, folder, {"BENCHMARK_FUNCTION": function, "PYTHONPATH": paths}):
        yield _Served(port)


class _Served:
    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}/"

    def seen(self, value: int, timeout: float) -> float:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            began = time.monotonic()
            try:
                with urllib.request.urlopen(self._address, timeout=max(0.1, end - began)) as answer:
                    if int(answer.read()) == value:
                        return time.monotonic()
            except (OSError, urllib.error.URLError):  # it is starting again
                pass
            time.sleep(0.001)
        raise Silent("no sign of it in time")
