"""Python processes under test: started with a script, spoken to, waited for; and a supervisor above them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from textwrap import dedent

import pytest

from bcpatch.channels import workers
from bcpatch.channels.peer import Peer

SECONDS = 20.0
"""How long a test waits for what must come; only a failing test waits so long."""


class Process:
    """A Python process that runs a script, and what is said on its standard streams."""

    def __init__(self, script: str, *options: str, environment: Mapping[str, str] | None = None) -> None:
        # not a pipe: nobody reads it meanwhile, and a process that logs much would wait for that
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (`running` closes it)
        self.popen = subprocess.Popen(
            [sys.executable, *options, "-c", dedent(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.pid = self.popen.pid

    def hear(self) -> str:
        """The next line on its standard output."""
        assert self.popen.stdout
        return self.popen.stdout.readline().rstrip("\n")

    def tell(self, line: str = "") -> None:
        assert self.popen.stdin
        self.popen.stdin.write(line + "\n")
        self.popen.stdin.flush()

    def rest(self) -> tuple[str, str]:
        """Close its standard input; what it writes to standard output until it ends, and all of standard error."""
        output, _ = self.popen.communicate(timeout=SECONDS)
        self.errors.seek(0)
        return output, self.errors.read()

    def end(self) -> tuple[int, str]:
        """Close its standard input; its exit status and what it wrote to standard error."""
        _, errors = self.rest()
        return self.popen.returncode, errors


@contextlib.contextmanager
def running(script: str, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[Process]:
    process = Process(script, *options, environment=environment)
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.popen.kill()
        process.popen.communicate()
        process.errors.close()


class Crowd:
    """Workers as they come and go."""

    def __init__(self) -> None:
        self.change = threading.Condition()
        self.peers: list[Peer] = []

    def join(self, peer: Peer) -> None:
        with self.change:
            self.peers.append(peer)
            self.change.notify_all()

    def leave(self, peer: Peer) -> None:
        with self.change:
            self.peers.remove(peer)
            self.change.notify_all()

    def wait(self, number: int) -> tuple[Peer, ...]:
        with self.change:
            assert self.change.wait_for(lambda: len(self.peers) == number, SECONDS)
            return tuple(self.peers)


@contextlib.contextmanager
def supervising(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[workers.Workers, Crowd]]:
    crowd = Crowd()
    found = workers.Workers(crowd.join, crowd.leave)
    monkeypatch.setenv("BCPATCH_SUPERVISOR", found.path)
    try:
        yield found, crowd
    finally:
        found.close()
