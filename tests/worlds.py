"""Modules made from text, and patches between two texts, for tests of what patches do to a process."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from types import ModuleType

from bcpatch import compile as compiler
from bcpatch import fingerprint
from bcpatch.apply import apply
from bcpatch.diagnostics import Refused, errors
from bcpatch.history import Generation, History
from bcpatch.link import Plan, link
from bcpatch.model import Import, Module, ModulePatch, Patch, Policy
from bcpatch.outline import Source, outline


def module_patch(old: str | None, new: str, name: str = "world", imports: tuple[Import, ...] = ()) -> ModulePatch:
    """The edits between two texts of one module, as strict as the compiler makes them."""
    module = Module(name, name.replace(".", "/") + ".py")
    before = None if old is None else outline(Source(module, module.path, dedent(old).encode()), 0)
    after = outline(Source(module, module.path, dedent(new).encode()), 0)
    found = compiler.changes(before, after, Policy.STRICT, 0)
    if errors(found.diagnostics):
        raise Refused(found.diagnostics)
    base = None if before is None else before.source.digest
    return ModulePatch(module, base, after.source.digest, imports, (), found.edits, after.source.data)


def patch(*parts: ModulePatch, policy: Policy = Policy.STRICT) -> Patch:
    return Patch(fingerprint.this_interpreter(), policy, 1, None, parts)


@contextmanager
def world(text: str, folder: Path, name: str = "world") -> Iterator[ModuleType]:
    """A module imported from a file; forgotten afterwards."""
    file = folder / f"{name}.py"
    file.write_text(dedent(text), "utf-8")
    module = ModuleType(name)
    module.__file__ = str(file)
    sys.modules[name] = module
    linecache.checkcache(str(file))
    try:
        exec(compile(dedent(text), str(file), "exec", dont_inherit=True), vars(module))
        yield module
    finally:
        sys.modules.pop(name, None)


def plan(change: Patch, history: History, scan: str | None = None) -> Plan:
    return link(change, history, scan="heap" if scan else None)


def applied(old: str, new: str, history: History, name: str = "world") -> Generation:
    """Build, link and apply the difference between two texts."""
    with history.exclusive():
        return apply(link(patch(module_patch(old, new, name)), history), history)
