"""Fewer passes of the garbage collector while a large patch is applied.

A patch of some thousand functions takes some hundred thousand objects, nearly all of which live until it is applied.
With the usual thresholds the collector looks at them again and again, and at the whole heap of the application too:
every thread stands still meanwhile.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

PER_EDIT: Final = 300
"""How many objects may be made for each edit before the collector looks at them."""


class _Thresholds(msgspec.Struct):
    """What the first threshold is while a patch is applied, and what all three were before; zeros at other times."""

    raised: int = 0
    before: tuple[int, int, int] = (0, 0, 0)

    def restore(self) -> None:
        if self.raised and gc.get_threshold()[0] == self.raised:  # else the application has set others meanwhile
            gc.set_threshold(*self.before)
        self.raised = 0


_thresholds: Final = _Thresholds()


@contextmanager
def fewer_collections(edits: int) -> Iterator[None]:
    """Let the collector wait until about as many objects were made as ``edits`` take.

    The application's own thresholds come back at the end, unless it has set others meanwhile. Where it
    collects more seldom by itself, or never, nothing changes. The caller is `History.exclusive`.
    """
    before = gc.get_threshold()
    wanted = edits * PER_EDIT
    if not 0 < before[0] < wanted:
        yield
        return
    _thresholds.raised, _thresholds.before = wanted, before
    gc.set_threshold(wanted, *before[1:])
    try:
        yield
    finally:
        _thresholds.restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_thresholds.restore)
