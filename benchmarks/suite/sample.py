"""Real code to measure bcpatch's own parts on: modules of the standard library, and patches that bring them whole."""

from __future__ import annotations

import gc
import sysconfig
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any
from zlib import crc32

from msgspec import structs

from bcpatch import builder, verify
from bcpatch.flow import Flow
from bcpatch.model import FunctionEdit, Patch, Policy
from bcpatch.rules.sourcetext import Text
from benchmarks.suite.modules import sources


def texts(step: int) -> Iterator[tuple[str, str]]:
    """Name and text of one of ``step`` modules of the standard library, by its name: of all versions the same ones.

    Not of what doesn't compile.
    """
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        if crc32(path.stem.encode()) % step:
            continue
        try:
            text = path.read_text("utf-8")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compile(text, str(path), "exec", dont_inherit=True)
        except (SyntaxError, ValueError, FileNotFoundError):
            continue
        yield path.stem, text


def patches(step: int) -> Iterator[Patch]:
    """A linked patch for each of these modules, as if all of its functions had changed; not for those refused."""
    for name, text in texts(step):
        outcome = builder.compare([], sources({name: text}), policy=Policy.LINKED)
        if outcome.patch is not None and outcome.patch.modules:
            yield outcome.patch


def strict_patches(step: int) -> Iterator[Patch]:
    """The same of the functions that the strict policy allows to change."""
    for patch in patches(step):
        strict = structs.replace(patch, policy=Policy.STRICT)
        refused = {found.site for found in verify.verify(strict)}
        parts = []
        for part in patch.modules:
            edits = [one for one in part.edits if isinstance(one, FunctionEdit) and one.site not in refused]
            parts.append(structs.replace(part, edits=tuple(edits), links=None))
        yield verify.verified(structs.replace(strict, modules=tuple(parts))).patch


def instructions(patch: Patch) -> int:
    """How many instructions verifying a patch looks at."""
    parts = ((part, Text(part.module, part.source)) for part in patch.modules)
    units = (unit for part, text in parts for unit in verify.units(part, patch.policy, text))
    return sum(_instructions(unit.flow) for unit in units if unit.flow is not None)


def _instructions(found: Flow) -> int:
    return len(found.instructions) + sum(map(_instructions, found.nested.values()))


def nested(code: CodeType) -> Iterator[CodeType]:
    """A code object and all those in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from nested(constant)


def each(work: Callable[[Any], object], inputs: Iterable[Any]) -> Callable[[], object]:
    """Does it to each and keeps nothing: what is kept, the garbage collector walks over and over."""
    return lambda: deque(map(work, inputs), maxlen=0)


def seconds(work: Callable[[], object]) -> float:
    """Seconds of processor time that some work takes."""
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began
