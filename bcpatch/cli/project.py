"""The ``[tool.bcpatch]`` table of a project's pyproject.toml.

Knows where the table is and what may stand in it, not what it is used for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from bcpatch.cli.output import Wrong
from bcpatch.diagnostics import relative
from bcpatch.model import Policy

FILE = "pyproject.toml"


def policy(paths: Sequence[str], chosen: str | None) -> Policy:
    """The policy for a change to ``paths``: what was chosen, else their project's, else strict.

    Raises Wrong where a project file can't be understood, or the paths' projects disagree.
    """
    if chosen is not None:
        return Policy(chosen)
    found = {path: _declared(path) for path in paths}
    if len(set(found.values())) > 1:
        said = ", ".join(f"{path}: {declared.value}" for path, declared in found.items())
        raise Wrong(f"these paths belong to projects with different policies ({said}): choose one with --policy")
    return next(iter(found.values()), Policy.STRICT)


def _declared(path: str) -> Policy:
    for folder in _upwards(path):
        file = os.path.join(folder, FILE)
        if os.path.isfile(file):
            return _read(file)
    return Policy.STRICT


def _upwards(path: str) -> Iterator[str]:
    """The folder of a path, and every folder above it."""
    full = os.path.abspath(path)
    folder = full if os.path.isdir(full) else os.path.dirname(full)
    while True:
        yield folder
        above = os.path.dirname(folder)
        if above == folder:
            return
        folder = above


def _read(file: str) -> Policy:
    import tomllib  # which not every project needs, and which brings much

    name = relative(file)
    try:
        with open(file, "rb") as stream:
            content = tomllib.load(stream)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Wrong(f"{name}: {error}") from error
    tool = content.get("tool")
    table = tool.get("bcpatch", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        raise Wrong(f"{name}: tool.bcpatch must be a table")
    unknown = sorted(set(table) - {"policy"})
    if unknown:
        raise Wrong(f"{name}: [tool.bcpatch] has no setting {unknown[0]!r}; there is: policy")
    value = table.get("policy", Policy.STRICT.value)
    if value not in {one.value for one in Policy}:
        raise Wrong(f'{name}: [tool.bcpatch] policy is {value!r}; it must be "strict" or "linked"')
    return Policy(value)
