"""A folder of modules that may be imported late, a history, and patches between their texts."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from bcpatch import builder, load
from bcpatch.diagnostics import Refused
from bcpatch.model import Module, Patch, Policy
from bcpatch.process import arrivals
from bcpatch.process.arrivals import Finder
from bcpatch.process.history import History
from bcpatch.process.records import Generation
from bcpatch.source.outline import Source
from bcpatch.status import Presence

A = """
def value():
    return 1
"""
B = """
def made():
    return "base"

TEXT = made()
"""
NEW_A, NEW_B = A.replace("1", "2"), B.replace("base", "new")


class World:
    """A folder of modules, a history, and patches between texts. Modules are named by the caller."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.history = History()

    def write(self, **texts: str) -> None:
        for name, text in texts.items():
            file = self.folder / _path(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text), "utf-8")
        importlib.invalidate_caches()

    def start(self, **texts: str) -> None:
        self.write(**texts)

    def get(self, name: str) -> ModuleType:
        return importlib.import_module(name.replace("__", "."))

    def build(self, old: Mapping[str, str], new: Mapping[str, str], policy: Policy = Policy.STRICT) -> Patch:
        sides = [
            [
                Source(Module(name.replace("__", "."), _path(name)), _path(name), textwrap.dedent(text).encode())
                for name, text in side.items()
            ]
            for side in (old, new)
        ]
        outcome = builder.compare(*sides, policy=policy)
        if outcome.patch is None:
            raise Refused(outcome.diagnostics)
        return outcome.patch

    def apply(self, old: Mapping[str, str], new: Mapping[str, str], policy: Policy = Policy.STRICT) -> Generation:
        return load.apply(self.build(old, new, policy), self.history)

    def rollback(self, to: int) -> Generation:
        return load.rollback(self.history, to)

    def presence(self) -> dict[str, Presence]:
        return {one.module: one.presence for one in arrivals.modules(self.history)}

    @property
    def hooks(self) -> int:
        return sum(isinstance(one, Finder) and one.history is self.history for one in sys.meta_path)


def _path(name: str) -> str:
    """``pk`` is a package, and ``pk__b`` the module ``pk.b``."""
    return name.replace("__", "/") + ("/__init__.py" if name.startswith("pk") and "__" not in name else ".py")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    before = dict(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield World(tmp_path)
    for name in set(sys.modules) - set(before):
        del sys.modules[name]


def codes(error: pytest.ExceptionInfo[Refused]) -> list[str]:
    return [one.code for one in error.value.diagnostics]
