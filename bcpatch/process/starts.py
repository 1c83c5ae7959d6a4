"""Which of some code objects a thread begins to execute, or goes on with.

Seen by local events of ``sys.monitoring`` (PEP 669), which touch these code objects and no others. Where there is no
such thing, by a profile function of the thread, or by a trace function where the thread has a profile function already.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from threading import get_ident
from types import CodeType, FrameType
from typing import Any, Final

from bcpatch.pythons import MONITORING

_TOOLS: Final = range(6)


class OccupiedError(Exception):
    """Other tools have all by which this could be seen."""


class Starts:
    """Sees what the thread that made it begins to execute, of the code that it is to `watch` for. To be closed."""

    def __init__(self) -> None:
        self._wanted: dict[int, CodeType] = {}
        self._seen: dict[int, CodeType] = {}
        self._thread = get_ident()
        self._tool: int | None = None

    def watch(self, code: CodeType) -> None:
        """Look for a code object, too, from now on. Raises OccupiedError where it can't be seen."""
        self._wanted[id(code)] = code
        if MONITORING:
            events = MONITORING.events.PY_START | MONITORING.events.PY_RESUME
            MONITORING.set_local_events(self._monitor(), code, events)

    @contextmanager
    def seen(self) -> Iterator[Collection[CodeType]]:
        """What begins while this lasts, each code once. Raises OccupiedError where it can't be seen."""
        self._seen.clear()
        install = None if MONITORING or not self._wanted else _free()
        if install is not None:
            install(self._called)
        try:
            yield self._seen.values()
        finally:
            if install is not None:
                install(None)

    def close(self) -> None:
        """Let go of all code."""
        if self._tool is not None:
            for code in self._wanted.values():
                MONITORING.set_local_events(self._tool, code, 0)
            self._register(self._tool, None)
            MONITORING.free_tool_id(self._tool)
            self._tool = None
        self._wanted.clear()
        self._seen.clear()

    def _monitor(self) -> int:
        """The number by which the interpreter knows this as a tool."""
        if self._tool is None:
            free = [tool for tool in _TOOLS if MONITORING.get_tool(tool) is None]
            if not free:
                raise OccupiedError
            tool = free[-1]  # the first ones are what debuggers, profilers and the like agree upon
            MONITORING.use_tool_id(tool, "bcpatch")
            self._register(tool, self._began)
            self._tool = tool
        return self._tool

    def _register(self, tool: int, callback: Callable[[CodeType, int], None] | None) -> None:
        for event in (MONITORING.events.PY_START, MONITORING.events.PY_RESUME):
            MONITORING.register_callback(tool, event, callback)

    def _called(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            self._began(frame.f_code, 0)

    def _began(self, code: CodeType, _: int) -> None:
        if id(code) in self._wanted and get_ident() == self._thread:
            self._seen[id(code)] = code


def _free() -> Callable[[Any], None]:
    """What installs a function for the calls of a thread, and has none of someone else."""
    ways: tuple[tuple[Callable[[], Any], Callable[[Any], None]], ...]
    ways = (sys.getprofile, sys.setprofile), (sys.gettrace, sys.settrace)
    for current, install in ways:
        if current() is None:
            return install
    raise OccupiedError
