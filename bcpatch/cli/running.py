"""What `bcpatch run` says beside an application that owns the terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

from bcpatch.cli.output import colour, painted, shade
from bcpatch.diagnostics import Diagnostic
from bcpatch.follow import Voice

_PREFIX = "bcpatch:"


def voice() -> Voice:
    """Lines and findings to standard error."""
    coloured = colour(sys.stderr)
    prefix = shade(_PREFIX, "36") if coloured else _PREFIX

    def say(line: str) -> None:
        _write(f"{prefix} {line}\n")

    def tell(found: Sequence[Diagnostic]) -> None:
        _write("".join(f"{painted(one, coloured)}\n\n" for one in found))

    return Voice(say, tell)


def _write(text: str) -> None:
    """In one piece, so that the application's output doesn't get into it."""
    with contextlib.suppress(BrokenPipeError):  # the application goes on where nobody listens to us
        sys.stderr.write(text)
        sys.stderr.flush()
