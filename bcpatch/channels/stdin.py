"""The channel that Go's hotreload has: one patch path a line on standard input.

What came of each line goes to the log, as there is nobody to answer. The descriptor is
read, not ``sys.stdin``: its buffer's lock, held by a daemon thread, would be a fatal
error at the interpreter's end.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final

from bcpatch.channels.base import Channel, ChannelError, Post

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
    rest = b""

    def step() -> bool:
        nonlocal rest
        data = os.read(descriptor, _CHUNK)
        *lines, rest = (rest + data).split(b"\n")
        if not data:
            lines, rest = [rest], b""
        if len(rest) > LONGEST:
            raise ChannelError(f"a line of more than {LONGEST} bytes on standard input is no path")
        for line in lines:
            path = os.fsdecode(line.strip())
            if path:
                take(path)
        if not data:
            gone()
        return bool(data)

    return channel, Post("stdin", descriptor, step, lambda: None)
