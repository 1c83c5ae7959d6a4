"""Calls under way: who is inside which code object, and at which line.

Looks at the stacks of all threads, and for suspended generators and coroutines at what
refers to the code. It only looks, and it is for people to read: nothing is decided by it.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from types import FrameType
from typing import Any, Final

import msgspec

from bcpatch.process.objects import everything


class Call(msgspec.Struct, frozen=True):
    """One call under way: the id of the code that it runs, which is not held by this.

    ``holder`` says who runs it: ``thread MainThread``, ``task Task-3``, ``generator``.
    """

    code: int
    qualname: str
    holder: str
    file: str
    line: int


#: By type name, the attributes of generators and their like that lead to the frame.
_FRAMES: Final = {"generator": "gi_frame", "coroutine": "cr_frame", "async_generator": "ag_frame"}


def calls_inside(
    codes: Sequence[Any], asleep: Sequence[Any] | None = None, hidden: Iterable[object] = ()
) -> Iterator[Call]:
    """Every call of some code objects, on the stack of a thread or suspended.

    Suspended calls are looked for among those ``asleep``, by default among all: for that,
    every object of the heap is looked at. The garbage collector does not know those that it has frozen: ``hidden`` are
    generators and their like that were found in another way.
    """
    wanted = {id(code) for code in codes}
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    inside = [
        (f"thread {names.get(ident, ident)}", one)
        for ident, top in sys._current_frames().items()
        for one in _upward(top)
        if id(one.f_code) in wanted
    ]
    running = {id(frame) for _, frame in inside}
    for holder, frame in inside:
        yield _call(frame, holder)
    inside.clear()
    asleep = codes if asleep is None else asleep
    if not asleep:
        return
    tasks = _tasks()
    for suspended in {id(one): one for one in chain(gc.get_referrers(*asleep), hidden)}.values():
        attribute = _FRAMES.get(type(suspended).__name__)
        found: FrameType | None = getattr(suspended, attribute) if attribute else None
        if found is not None and id(found) not in running and id(found.f_code) in wanted:
            yield _call(found, tasks.get(id(suspended), type(suspended).__name__.replace("_", " ")))


def _upward(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _call(frame: FrameType, holder: str) -> Call:
    code = frame.f_code
    return Call(id(code), code.co_qualname, holder, code.co_filename, frame.f_lineno or code.co_firstlineno)


def _tasks() -> dict[int, str]:
    """Names of asyncio's tasks, by the id of every coroutine on the way to what each awaits."""
    found: dict[int, str] = {}
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return found
    for task in [one for one in everything() if isinstance(one, asyncio.Task)]:
        coroutine = task.get_coro()
        while coroutine is not None and id(coroutine) not in found:
            found[id(coroutine)] = f"task {task.get_name()}"
            coroutine = getattr(coroutine, "cr_await", None)
    return found
