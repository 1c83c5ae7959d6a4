"""What a strict patch may change in a text, and nothing else."""

from __future__ import annotations

import pytest
import test_docs

from bcpatch import compile as compiler
from bcpatch.model import Module, ModulePatch, Policy
from bcpatch.source.fidelity import brought, strays
from bcpatch.source.outline import Source, outline

CHANGES = [(one.base, one.text, one.kind) for one in test_docs.ALL if one.base is not None]


@pytest.mark.parametrize(("base", "text", "kind"), CHANGES)
def test_the_text_of_a_strict_patch_is_its_base_and_its_edits(base: str, text: str, kind: str) -> None:
    """What may be built may run; of what may not, the edits never say all that the text changes."""
    module = Module("pa", "pa.py")
    old, new = (outline(Source(module, "pa.py", one.encode()), 0) for one in (base, text))
    found = compiler.changes(old, new, Policy.STRICT, 0)
    part = ModulePatch(module, old.source.digest, new.source.digest, (), (), found.edits, new.source.data, ())
    stray = list(strays(old, new, brought(part), 0))
    if kind == "accepted":
        assert stray == []
    elif {one.code for one in found.diagnostics} & {"BCP201", "BCP202", "BCP205", "BCP206", "BCP208", "BCP209"}:
        assert stray
