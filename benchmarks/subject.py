"""A module to be patched, made of text, and the patches between its texts: what the swap's benchmarks share."""

from __future__ import annotations

import sys
import tempfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bcpatch import builder
from bcpatch.diagnostics import Refused
from bcpatch.model import Module, Patch
from bcpatch.source.outline import Source

NAME = "subject"


def load(text: str, name: str = NAME) -> ModuleType:
    """Import a module from text, under a name of its own."""
    file = Path(tempfile.mkdtemp(prefix="bcpatch-bench-")) / f"{name}.py"
    file.write_text(text, "utf-8")
    spec = spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def patch(old: str, new: str, name: str = NAME) -> Patch:
    """A strict patch from one text to another."""
    module = Module(name, f"{name}.py")
    before, after = (Source(module, f"{name}.py", text.encode()) for text in (old, new))
    outcome = builder.compare([before], [after])
    if outcome.patch is None:
        raise Refused(outcome.diagnostics)
    return outcome.patch
