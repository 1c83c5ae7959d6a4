"""Modules made of text in this process, and patches between texts: for what is measured inside bcpatch."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final

from bcpatch import builder
from bcpatch.diagnostics import Refused
from bcpatch.model import Module, Patch
from bcpatch.source.outline import Source


def load(text: str, name: str) -> ModuleType:
    """Import a module from text, under a name of its own."""
    file = Path(tempfile.mkdtemp(dir=_folder())) / f"{name}.py"
    file.write_text(text, "utf-8")
    spec = spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def save(module: ModuleType, text: str) -> None:
    """Let the file of a module have another text."""
    assert module.__file__ is not None
    Path(module.__file__).write_text(text, "utf-8")


def _folder() -> str:
    """A folder that is gone when this process ends."""
    if not _folders:
        _folders.append(tempfile.TemporaryDirectory(prefix="bcpatch-bench-"))
    return _folders[0].name


_folders: Final[list[tempfile.TemporaryDirectory[str]]] = []


def between(old: Mapping[str, str], new: Mapping[str, str]) -> Patch:
    """The strict patch from some modules' old texts to their new ones. Raises Refused."""
    outcome = builder.compare(sources(old), sources(new))
    if outcome.patch is None:
        raise Refused(outcome.diagnostics)
    return outcome.patch


def sources(texts: Mapping[str, str]) -> list[Source]:
    """Module sources of texts, by name."""
    return [Source(Module(name, f"{name}.py"), f"{name}.py", text.encode()) for name, text in texts.items()]
