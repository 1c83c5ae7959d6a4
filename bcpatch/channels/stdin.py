"""The channel that Go's hotreload has: one patch path a line on standard input.

What came of each line goes to the log, as there is nobody to answer. The descriptor is
read, not ``sys.stdin``: its buffer's lock, held by a daemon thread, would be a fatal
error at the interpreter's end.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Final

from bcpatch.channels.base import Channel, ChannelError, Post

logger = logging.getLogger("bcpatch")

#: Bytes after which a line can't be a path any more.
LONGEST: Final = 1 << 16

_CHUNK: Final = 1 << 12


def open_channel(take: Callable[[str], None], gone: Callable[[], None]) -> tuple[Channel, Post]:
    """Call ``take`` with each line's path, and ``gone`` at the end of the input; blank lines are ignored.

    Raises `ChannelError` where the process has no standard input.
    """
    try:
        descriptor = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError) as error:  # None, closed, or replaced by no file
        raise ChannelError("there is no standard input to read patch paths from") from error
    channel = Channel("stdin", "standard input")
    lines = _Lines()

    def step() -> bool:
        data = os.read(descriptor, _CHUNK)
        for line in lines.feed(data):
            path = os.fsdecode(line.strip())
            if path:
                take(path)
        if not data:
            gone()
        return bool(data)

    return channel, Post("stdin", descriptor, step, lambda: None)


class _Lines:
    """Bytes cut into lines; of one that is too long only the first bytes are kept, as there is nothing to it."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that ``data`` completes; no data completes the last one."""
        *lines, rest = (self._rest + data).split(b"\n")
        if not data:
            lines, rest = [rest], b""
        self._rest = rest[: LONGEST + 1]
        for line in lines:
            if len(line) > LONGEST:
                logger.warning("stdin: ignored a line of more than %d bytes: no path is so long", LONGEST)
        return [line for line in lines if len(line) <= LONGEST]
