"""Patches a real web server while it counts: what ``bcpatch demo`` shows.

The server, the watcher and the commands are started as a user would start them, on a
copy of the counter example; what they say is passed on, and held against what the
README promises. Knows nothing of how patching works, nor of terminals.
"""

from __future__ import annotations

import contextlib
import difflib
import http.client
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final, Literal, NamedTuple, TypeAlias

from bcpatch.diagnostics import Error

Speaker: TypeAlias = Literal["step", "request", "server", "edit", "bcpatch"]
Show: TypeAlias = Callable[[Speaker, str], None]

#: Seconds that anything which is waited for may take.
PATIENCE: Final = 30.0

#: Seconds to read what came before an edit, as somebody who edits takes them.
_TO_READ: Final = 1.0

_NEVER: Final = r"(?!)"
_OLD: Final = 'return f"the counter is {self.value}"'
_NEW: Final = 'return f"{self.value} requests counted, and not one forgotten"'
_PRIVATE: Final = 'return f"{self.value}, an {self._parity()} number"'


class Unkept(Error):
    """Something else came out than was promised."""


class Line(NamedTuple):
    """A line of the server (its standard output), or of bcpatch; None at the end of it."""

    speaker: Speaker
    line: str | None


def demonstrate(show: Show) -> None:
    """Run the demonstration; ``show`` is called with each line. Raises Unkept where a promise is not kept."""
    with tempfile.TemporaryDirectory(prefix="bcpatch-demo-") as folder:
        shutil.copytree(_example(), folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        with _Server(Path(folder), show) as server:
            _steps(server, Path(folder) / "handlers.py", show)


def _steps(server: _Server, handlers: Path, show: Show) -> None:
    for number in (1, 2, 3):
        server.ask("/increment", f"the counter is now {number}")
    server.ask("/get", "the counter is 3")

    show("step", "# edit handlers.py while the server runs")
    _edit(handlers, _OLD, _NEW, show)
    server.decided("live in 1 process")
    server.ask("/get", "3 requests counted, and not one forgotten")
    server.ask("/increment", "the counter is now 4")

    show("step", "# edit it so that it reaches for a private method, which the strict policy forbids")
    _edit(handlers, _NEW, _PRIVATE, show)
    server.decided("refused")
    server.ask("/get", "4 requests counted, and not one forgotten")

    show("step", f"$ bcpatch rollback {server.pid}")
    _command(["rollback", server.pid], f"process {server.pid} runs generation 0", show)
    server.hear({"bcpatch": "rolled back"})
    server.ask("/get", "the counter is 4")


def _edit(file: Path, old: str, new: str, show: Show) -> None:
    """Change a file as an editor does: write the new text beside it, then rename it over."""
    before = file.read_text(encoding="utf-8")
    after = before.replace(old, new)
    if after == before:
        raise Unkept(f"{file.name} has no line to edit: {old}")
    for line in difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm=""):
        if line.startswith(("+ ", "- ")):
            show("edit", line)
    draft = file.with_name(f".{file.name}.draft")
    draft.write_text(after, encoding="utf-8")
    time.sleep(_TO_READ)
    draft.replace(file)


def _command(arguments: list[str], expected: str, show: Show) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bcpatch", *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    for line in (done.stdout + done.stderr).splitlines():
        show("bcpatch", line)
    if done.returncode or expected not in done.stdout:
        raise Unkept(f"`bcpatch {' '.join(arguments)}` ended with {done.returncode} and did not say: {expected}")


def _environment() -> dict[str, str]:
    """The environment, in which another folder's Python finds this bcpatch too where it was not installed."""
    source = Path(__file__).resolve().parent.parent
    if source != Path.cwd():
        return dict(os.environ)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(source), os.environ.get("PYTHONPATH")]))}


def _example() -> Path:
    """The folder of the counter example: inside an installed package, or beside the package's source."""
    here = Path(__file__).resolve().parent
    for place in (here / "examples" / "counter", here.parent / "examples" / "counter"):
        if (place / "server.py").is_file():
            return place
    raise Unkept("the counter example was not installed")


class _Server:
    """The counter server under ``bcpatch run``. As a context it runs, and afterwards nothing of it is left."""

    def __init__(self, folder: Path, show: Show) -> None:
        self._folder = folder
        self._show = show
        self._said: queue.SimpleQueue[Line] = queue.SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._readers: list[threading.Thread] = []
        self._ended: set[Speaker] = set()
        self._port = 0
        self.pid = ""

    def __enter__(self) -> _Server:
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def _start(self) -> None:
        self._show("step", "$ bcpatch run server.py --port 0")
        # A session of its own: Ctrl-C reaches this process alone, which then ends the others in their order.
        process = self._process = subprocess.Popen(
            [sys.executable, "-m", "bcpatch", "run", "server.py", "--port", "0"],
            cwd=self._folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        for speaker, stream in (("server", process.stdout), ("bcpatch", process.stderr)):
            reader = threading.Thread(target=self._read, args=(speaker, stream), daemon=True)
            reader.start()
            self._readers.append(reader)
        heard = self.hear(
            {"server": r"counting on http://127\.0\.0\.1:(\d+)", "bcpatch": r"process (\d+) takes patches"}
        )
        self._port = int(heard["server"])
        self.pid = heard["bcpatch"]

    def __exit__(self, *raised: object) -> None:
        try:
            if raised[0] is None and self._process:
                self._show("step", "^C")
                self._process.send_signal(signal.SIGINT)
                self.hear({"server": r"stopped; the counter is 4"})
        finally:
            self._end()

    def ask(self, path: str, expected: str) -> None:
        """Send a request and show the answer, which must be the expected one."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse().read().decode().strip()
        self._show("request", f"GET {path}")
        self._show("server", answer)
        if answer != expected:
            raise Unkept(f"the answer to {path} should have been: {expected}")

    def decided(self, expected: str) -> None:
        """Show what is said until bcpatch has decided about an edit, which must be as expected."""
        decision = self.hear({"bcpatch": r"live in 1 process|refused|error of bcpatch itself"})["bcpatch"]
        if decision != expected:
            raise Unkept(f"this edit should have been: {expected}")

    def hear(self, awaited: dict[Speaker, str]) -> dict[Speaker, str]:
        """Show what is said until each speaker has said what fits a pattern; the last group of each match."""
        missing = dict(awaited)
        found = {}
        while missing:
            said = self._next()
            if said.line is None:
                self._ended.add(said.speaker)
                if len(self._ended) == len(self._readers):  # else the other one may say why
                    raise Unkept(f"it ended before it said: {', '.join(missing.values())}")
                continue
            self._show(said.speaker, said.line)
            fits = re.search(missing.get(said.speaker, _NEVER), said.line)
            if fits:
                found[said.speaker] = fits[fits.re.groups]
                del missing[said.speaker]
        return found

    def _next(self) -> Line:
        try:
            return self._said.get(timeout=PATIENCE)
        except queue.Empty:
            raise Unkept(f"nothing was said for {PATIENCE:.0f} seconds") from None

    def _read(self, speaker: Speaker, stream: IO[bytes]) -> None:
        for line in stream:
            self._said.put(Line(speaker, line.decode(errors="replace").rstrip()))
        self._said.put(Line(speaker, None))

    def _end(self) -> None:
        """End the processes, and wait until they have."""
        if self._process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE / 3)
                break
        for reader in self._readers:
            reader.join(1.0)
