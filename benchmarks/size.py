"""How large is a patch, and how long does it take to load, beside ``marshal``?

    python -m benchmarks.size [--quick]

Both for patches that bring modules of the standard library whole, and for one function of a small module. The
source that a patch carries for tracebacks is left out of its size; verification, which ``marshal`` has none of,
is left out of loading and shown by itself.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterator
from types import CodeType
from typing import Final

import msgspec

from bcpatch import fingerprint, patchfile, verify
from bcpatch.model import FunctionEdit, Patch
from benchmarks.suite import sample
from benchmarks.suite.modules import between
from benchmarks.suite.results import Measure, Row
from benchmarks.suite.run import Run, alone
from benchmarks.workers import texts

MARSHAL: Final = "marshal"
SIZE_GOAL: Final = 1.3
LOAD_GOAL: Final = 3.0


def rows(run: Run) -> Iterator[Row]:
    """Bytes, and microseconds of processor time, for some patches and for their code objects marshalled."""
    small = between({texts.MODULE: texts.text(10)}, {texts.MODULE: texts.text(10, {0: 1})})
    cases = {
        "one small function": [small],
        "modules of the standard library": list(sample.patches(12 if run.quick else 6)),
    }
    for case, patches in cases.items():
        codes = [_codes(patch) for patch in patches]
        files = [patchfile.encode(patch) for patch in patches]
        dumped = [marshal.dumps(tuple(one)) for one in codes]
        size = Measure("size", case, "size", "bytes", MARSHAL)
        yield size.of(MARSHAL, [sum(map(len, dumped))])
        yield size.of("bcpatch", [sum(map(_without_source, patches))], ratio_goal=SIZE_GOAL)
        times = 200 if len(patches) == 1 else 1
        load = Measure("size", case, "load", "µs", MARSHAL)
        works = {
            MARSHAL: sample.each(marshal.loads, dumped * times),
            "bcpatch": sample.each(_loaded, files * times),
            "bcpatch: verification": sample.each(verify.verify, patches * times),
        }
        for tool, work in works.items():
            spent = [sample.seconds(work) / times * 1e6 for _ in range(3 if run.quick else 5)]
            yield load.of(tool, spent, ratio_goal=LOAD_GOAL if tool == "bcpatch" else None)


def _codes(patch: Patch) -> list[CodeType]:
    """The code objects of the functions that a patch brings."""
    edits = (edit for part in patch.modules for edit in part.edits if isinstance(edit, FunctionEdit))
    return [fingerprint.decode(edit.code, "sample") for edit in edits]


def _loaded(data: bytes) -> list[CodeType]:
    return _codes(patchfile.decode(data))


def _without_source(patch: Patch) -> int:
    bare = tuple(msgspec.structs.replace(part, source=b"") for part in patch.modules)
    return len(patchfile.encode(msgspec.structs.replace(patch, modules=bare)))


if __name__ == "__main__":
    alone(rows)
