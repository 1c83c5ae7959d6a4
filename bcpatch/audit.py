"""Which commits of a git history could have been live patches, and which rules stood against the others.

Reads a repository and compares each commit with its first parent, as `bcpatch build`
would. Nothing of the history is checked out, imported or run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import PurePosixPath

import msgspec

from bcpatch import builder, git
from bcpatch.diagnostics import errors
from bcpatch.files import is_importable
from bcpatch.model import Module, Policy
from bcpatch.source.outline import Source

#: Folders whose modules no application runs.
_NOT_RUN = frozenset({"test", "tests", "testing", "doc", "docs", "examples", "benchmarks", "setup.py", "conftest.py"})

#: Modes of git for what is a file, and neither a link nor another repository.
_FILES = frozenset({"100644", "100755", "100664"})
#: From how many commits on it pays to start processes.
_MANY = 24


class Verdict(msgspec.Struct, frozen=True):
    """What a commit would have been under one policy; ``rules`` refused it, most findings first."""

    policy: Policy
    live: bool
    rules: tuple[str, ...]


class Commit(msgspec.Struct, frozen=True):
    """A commit, and what it would have been. ``verdicts`` are empty where it changes no running code."""

    digest: str
    subject: str
    verdicts: tuple[Verdict, ...]

    def verdict(self, policy: Policy) -> Verdict | None:
        """The verdict under a policy; None where the commit changes no running code."""
        return next((one for one in self.verdicts if one.policy is policy), None)


class Summary(msgspec.Struct, frozen=True):
    """How many of the commits that change running code could have gone live, and what stood against the rest."""

    policy: Policy
    commits: int
    live: int
    rules: tuple[tuple[str, int], ...]


def commits(repository: str, span: str) -> tuple[tuple[str, str], ...]:
    """(digest, subject) of the commits of a range ``REV..REV`` that have one parent, newest first.

    Raises git.Failed.
    """
    listed = git.run(
        repository, "log", "--min-parents=1", "--max-parents=1", "--format=%H%x00%s", "--end-of-options", span, "--"
    )
    rows = (line.partition("\0") for line in listed.decode("utf-8", "replace").split("\n"))
    return tuple((digest, subject) for digest, _, subject in rows if digest)


def audit_all(repository: str, some: Sequence[tuple[str, str]]) -> Iterator[Commit]:
    """Judge commits in their order, on every processor where there are many. Raises git.Failed as `audit`."""
    if len(some) < _MANY:
        yield from (audit(repository, *commit) for commit in some)
        return
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        yield from pool.map(audit, repeat(repository), *zip(*some, strict=True), chunksize=4)


def audit(repository: str, digest: str, subject: str) -> Commit:
    """Judge one commit under both policies. Raises git.Failed where git can't read it."""
    with git.Objects(repository) as objects:
        old, new = _versions(objects, digest)
    if not {source.module for source in old} & {source.module for source in new}:
        return Commit(digest, subject, ())  # modules that are new or gone are no edit of a process
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


# --- reading the repository ----------------------------------------------------------------


def _versions(objects: git.Objects, digest: str) -> tuple[list[Source], list[Source]]:
    """The sources of running code that a commit changes, adds or removes, before and after."""
    found: tuple[list[Source], list[Source]] = [], []
    between = (f"{digest}^", digest)
    listed = git.run(objects.repository, "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", *between)
    fields = listed.decode("utf-8", "surrogateescape").split("\0")
    for about, name in zip(fields[::2], fields[1::2], strict=False):
        path = PurePosixPath(name)
        if path.suffix != ".py" or _NOT_RUN & set(path.parts):
            continue
        modes, blobs = (about.lstrip(":").split()[start : start + 2] for start in (0, 2))
        for sources, revision, mode, blob in zip(found, between, modes, blobs, strict=True):
            module = _module(objects, revision, path) if mode in _FILES else None
            data = objects.blob(blob) if module is not None else None
            if module is not None and data is not None:
                sources.append(Source(module, name, data))
    return found


def _module(objects: git.Objects, revision: str, path: PurePosixPath) -> Module | None:
    """The module that a file is: below the topmost of the packages around it, else below the repository.

    None where it can't be imported by its name.
    """
    folders = path.parents
    package = next((one for one in folders if one.name and _is_package(objects, revision, one)), None)
    root = folders[-1] if package is None else package
    while root.name and _is_package(objects, revision, root):
        root = root.parent
    for start in (root, path.parent):
        below = path.relative_to(start)
        parts = below.with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if parts and is_importable(parts):
            return Module(".".join(parts), below.as_posix())
    return None


def _is_package(objects: git.Objects, revision: str, folder: PurePosixPath) -> bool:
    return objects.blob(f"{revision}:{folder / '__init__.py'}") is not None
