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

from bcpatch import builder
from bcpatch.model import Patch, Policy
from benchmarks.suite.modules import sources


def texts(step: int) -> Iterator[tuple[str, str]]:
    """Name and text of every ``step``-th module of the standard library that compiles."""
    found = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    for path in found[::step]:
        try:
            text = path.read_text("utf-8")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compile(text, str(path), "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            continue
        yield path.stem, text


def patches(step: int) -> Iterator[Patch]:
    """A linked patch for each of these modules, as if all of its functions had changed; not for those refused."""
    for name, text in texts(step):
        outcome = builder.compare([], sources({name: text}), policy=Policy.LINKED)
        if outcome.patch is not None and outcome.patch.modules:
            yield outcome.patch


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
