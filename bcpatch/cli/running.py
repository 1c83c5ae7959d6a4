"""What is said while an application runs, by `bcpatch run` and in the demonstration."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from bcpatch.cli.output import colour, painted, shade, write
from bcpatch.diagnostics import Diagnostic

if TYPE_CHECKING:
    from bcpatch.demo import Speaker
    from bcpatch.watch import Voice

_PREFIX: Final = "bcpatch:"

#: What stands before a line, and its style (SGR codes), by speaker.
_LOOKS: Final[dict[Speaker, tuple[str, str]]] = {
    "step": ("\n", "1"),
    "request": ("", "2"),
    "server": ("  ", "32"),
    "edit": ("  ", "33"),
    "bcpatch": ("  ", ""),
}


def voice() -> Voice:
    """Lines and findings to standard error."""
    from bcpatch.watch import Voice

    coloured = colour(sys.stderr)
    prefix = shade(_PREFIX, "36") if coloured else _PREFIX

    def say(line: str) -> None:
        _write(f"{prefix} {line}\n")

    def tell(found: Sequence[Diagnostic]) -> None:
        _write("".join(f"{painted(one, coloured)}\n\n" for one in found))

    return Voice(say, tell)


def show(speaker: Speaker, line: str) -> None:
    """A line of the demonstration, to standard output."""
    before, codes = _LOOKS[speaker]
    write(before + (shade(line, codes) if codes and colour(sys.stdout) else line), sys.stdout)


def _write(text: str) -> None:
    """In one piece, so that the application's output doesn't get into it."""
    with contextlib.suppress(OSError):  # the application goes on where nobody listens to us, or a disk is full
        sys.stderr.write(text)
        sys.stderr.flush()
