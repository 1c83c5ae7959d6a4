"""The commits of a git clone, and their trees as folders. Knows nothing of processes and patches."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class Commit:
    """A commit with one parent, and the files that differ between the two."""

    digest: str
    parent: str
    subject: str
    changed: tuple[str, ...]


def commits(repository: str, span: str) -> Iterator[Commit]:
    """The commits of a range ``REV..REV`` that have one parent, newest first."""
    said = git(repository, "log", "--no-merges", "--format=%H %P%x00%s", "--end-of-options", span, "--")
    for line in said.decode("utf-8", "replace").splitlines():
        digests, _, subject = line.partition("\0")
        digest, *parents = digests.split()
        if len(parents) == 1:
            names = git(repository, "diff-tree", "--name-only", "--no-renames", "-r", "-z", parents[0], digest)
            changed = tuple(names.decode("utf-8", "surrogateescape").split("\0")[:-1])
            yield Commit(digest, parents[0], subject, changed)


def is_below(name: str, folders: tuple[str, ...]) -> bool:
    """Whether a file of a repository is one of these, or stands in one of these folders."""
    return any(PurePosixPath(name).is_relative_to(folder) for folder in folders)


def is_test(name: str) -> bool:
    """Whether pytest collects a file by its name."""
    path = PurePosixPath(name)
    return path.suffix == ".py" and (path.stem.startswith("test_") or path.stem.endswith("_test"))


def export(repository: str, revision: str, folder: Path) -> None:
    """Write the tree of a commit to a folder, which is made."""
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=BytesIO(git(repository, "archive", "--format=tar", revision))) as archive:
        archive.extractall(folder, filter="tar")


def git(repository: str, *arguments: str) -> bytes:
    """What git prints. Raises SystemExit with its message where it fails."""
    done = subprocess.run(["git", "-C", repository, *arguments], capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.decode("utf-8", "replace").strip())
    return done.stdout
