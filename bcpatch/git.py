"""What git answers about a repository. Nothing is checked out or changed; what is in the files is not known here."""

from __future__ import annotations

import os
import subprocess

from bcpatch.diagnostics import Error


class Failed(Error):
    """git isn't there, or there is no such repository or range of commits; the message is git's."""


def run(folder: str, *arguments: str) -> bytes:
    """What a git command prints in a folder. Raises Failed."""
    try:
        done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, check=False)
    except OSError as error:
        raise _no_git(error) from error
    if done.returncode:
        raise Failed(done.stderr.decode("utf-8", "replace").strip().partition("\n")[0])
    return done.stdout


def _no_git(error: OSError) -> Failed:
    return Failed(f"git can't be run: {error.strerror}")


class Objects:
    """The objects of a repository, read through one git process. A context manager, which raises Failed."""

    def __init__(self, repository: str) -> None:
        self.repository = repository

    def __enter__(self) -> Objects:
        command = ["git", "-C", self.repository, "cat-file", "--batch"]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            raise _no_git(error) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._ask, self._answer = self._process.stdin, self._process.stdout
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def blob(self, name: str) -> bytes | None:
        """The content of a file by its digest, or as ``REV:path``; None where there is none."""
        if "\n" in name:
            return None  # a name that can't be asked for
        self._ask.write(os.fsencode(name) + b"\n")
        self._ask.flush()
        *_, kind, size = (b"", *self._answer.readline().split())
        if kind != b"blob" and not size.isdigit():
            return None  # `NAME missing`
        content = self._answer.read(int(size) + 1)[:-1]
        return content if kind == b"blob" else None
