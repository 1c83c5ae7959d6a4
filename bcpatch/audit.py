"""Which commits of a git history could have been live patches, and which rules stood against the others.

Reads a repository and compares each commit with its first parent, as `bcpatch build`
would. Nothing of the history is checked out, imported or run.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from bcpatch import builder
from bcpatch.diagnostics import Error, errors
from bcpatch.model import Module, Policy
from bcpatch.source.outline import Source

#: Folders whose modules no application runs.
_NOT_RUN = frozenset({"test", "tests", "testing", "doc", "docs", "examples", "benchmarks", "setup.py", "conftest.py"})


class NoHistory(Error):
    """There is no such repository or range of commits; the message is git's."""


@dataclass(frozen=True)
class Verdict:
    """What a commit would have been under one policy; ``rules`` refused it, most findings first."""

    policy: Policy
    live: bool
    rules: tuple[str, ...]


@dataclass(frozen=True)
class Commit:
    """A commit, and what it would have been. ``verdicts`` are empty where it changes no running code."""

    digest: str
    subject: str
    verdicts: tuple[Verdict, ...]

    def verdict(self, policy: Policy) -> Verdict | None:
        """The verdict under a policy; None where the commit changes no running code."""
        return next((one for one in self.verdicts if one.policy is policy), None)


@dataclass(frozen=True)
class Summary:
    """How many of the commits that change running code could have gone live, and what stood against the rest."""

    policy: Policy
    commits: int
    live: int
    rules: tuple[tuple[str, int], ...]


def commits(repository: str, span: str) -> tuple[tuple[str, str], ...]:
    """(digest, subject) of the commits of a range ``REV..REV``, newest first, merges left out. Raises NoHistory."""
    said = _git(repository, "log", "--no-merges", "--format=%H%x00%s", "--end-of-options", span, "--")
    rows = (line.partition("\0") for line in said.decode("utf-8", "replace").splitlines())
    return tuple((digest, subject) for digest, _, subject in rows)


def audit(repository: str, digest: str, subject: str) -> Commit:
    """Judge one commit under both policies. Raises NoHistory where git can't read it."""
    changed = _changed(repository, digest)
    old, new = ([*_sources(repository, revision, changed)] for revision in (f"{digest}^", digest))
    verdicts = []
    for policy in Policy:
        outcome = builder.compare(old, new, policy=policy)
        if outcome.patch is not None and not outcome.patch.modules:
            return Commit(digest, subject, ())
        refused = Counter(one.code for one in errors(outcome.diagnostics))
        rules = tuple(code for code, _ in refused.most_common())
        verdicts.append(Verdict(policy, outcome.patch is not None, rules))
    return Commit(digest, subject, tuple(verdicts))


def summary(judged: Iterable[Commit], policy: Policy) -> Summary:
    """Count verdicts under a policy; a rule counts once for each commit that it refused."""
    verdicts = [one for commit in judged if (one := commit.verdict(policy)) is not None]
    rules = Counter(rule for verdict in verdicts for rule in verdict.rules)
    return Summary(policy, len(verdicts), sum(verdict.live for verdict in verdicts), tuple(rules.most_common()))


def _changed(repository: str, digest: str) -> list[str]:
    """The files of running code that a commit changes, adds or removes."""
    said = _git(repository, "diff-tree", "--no-commit-id", "--name-only", "-r", "-z", "--root", "--no-renames", digest)
    names = said.decode("utf-8", "surrogateescape").split("\0")
    return [name for name in names if name.endswith(".py") and not _NOT_RUN & set(PurePosixPath(name).parts)]


def _sources(repository: str, revision: str, names: list[str]) -> Iterator[Source]:
    for name in names:
        try:
            data = _git(repository, "cat-file", "blob", f"{revision}:{name}")
        except NoHistory:
            continue  # the file is not in this version
        module = _module(repository, revision, PurePosixPath(name))
        if module is not None:
            yield Source(module, name, data)


def _module(repository: str, revision: str, path: PurePosixPath) -> Module | None:
    """The module that a file is: below its topmost package. None where it can't be imported by its name."""
    root = path.parent
    while root.name and _exists(repository, f"{revision}:{root / '__init__.py'}"):
        root = root.parent
    below = path.relative_to(root)
    parts = below.with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    if not parts or not all(part.isidentifier() for part in parts):
        return None
    return Module(".".join(parts), below.as_posix())


def _exists(repository: str, name: str) -> bool:
    done = subprocess.run(["git", "-C", repository, "cat-file", "-e", name], capture_output=True, check=False)
    return done.returncode == 0


def _git(repository: str, *arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", "-C", repository, *arguments], capture_output=True, check=False)
    except OSError as error:
        raise NoHistory(f"git can't be run: {error.strerror}") from error
    if done.returncode:
        raise NoHistory(done.stderr.decode("utf-8", "replace").strip().partition("\n")[0])
    return done.stdout
