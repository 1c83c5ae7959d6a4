"""How the command line answers: findings in four formats, colour, the status that they end with.

Knows nothing of what was done, only how to say it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, TextIO, TypeAlias, TypeVar

from bcpatch import diagnostics
from bcpatch.cli.program import DONE, REFUSED, WRONG
from bcpatch.diagnostics import Diagnostic, Error, Severity

T = TypeVar("T")
Format: TypeAlias = Literal["text", "json", "sarif", "github"]

#: Errors of these rules mean that the input could not be read, not that a change was judged.
UNREADABLE: Final = frozenset(
    {"BCP002", "BCP003", "BCP004", "BCP005", "BCP401", "BCP402", "BCP403", "BCP404", "BCP408"}
)

_BOLD: Final = "1"
_DIM: Final = "2"
_CYAN: Final = "36"
_SHADE: Final = {Severity.ERROR: "1;31", Severity.WARNING: "1;33", Severity.NOTE: "1;34"}


class Wrong(Error):
    """A request that makes no sense, or an input of ours that can't be read: one line, exit status 2."""


def status(found: Iterable[Diagnostic]) -> int:
    """The exit status that findings lead to."""
    codes = {one.code for one in diagnostics.errors(found)}
    if not codes:
        return DONE
    return WRONG if codes <= UNREADABLE else REFUSED


def write(text: str, stream: TextIO) -> None:
    """A line at once: what comes after it on the other stream is read after it."""
    print(text, file=stream, flush=True)


def report(found: Sequence[Diagnostic], format: Format = "text") -> None:
    """Write findings: text to standard error, a machine's format to standard output, even when there are none."""
    if format == "text":
        for one in found:
            write(painted(one, colour(sys.stderr)) + "\n", sys.stderr)
    elif format == "json":
        write(diagnostics.as_json(found), sys.stdout)
    elif format == "sarif":
        from bcpatch import sarif

        write(sarif.as_sarif(found), sys.stdout)
    elif found:
        write(diagnostics.as_github(found), sys.stdout)


def say(message: str, format: Format = "text", *, aside: bool = False) -> None:
    """A line for people on standard output, ``aside`` on standard error; nothing where a machine reads it."""
    if format == "text":
        write(message, sys.stderr if aside else sys.stdout)


def complain(message: str) -> None:
    """One line about an error that is not a finding."""
    prefix = shade("error:", _SHADE[Severity.ERROR]) if colour(sys.stderr) else "error:"
    write(f"{prefix} {message}", sys.stderr)


# --- colour ------------------------------------------------------------------------


def colour(stream: TextIO) -> bool:
    """Whether to colour: on a terminal, unless NO_COLOR (no-color.org) is set or it can't."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def shade(text: str, codes: str) -> str:
    """Text in the style of some SGR codes (ECMA-48, 8.3.117)."""
    return f"\x1b[{codes}m{text}\x1b[0m"


def painted(found: Diagnostic, coloured: bool) -> str:
    """A finding as text; ``coloured`` stresses what the eye looks for."""
    text = diagnostics.text(found)
    if not coloured:
        return text
    first, *rest = text.splitlines()
    heading = first.replace(found.code, shade(found.code, _SHADE[found.severity]) + f"\x1b[{_BOLD}m", 1)
    return "\n".join([shade(heading, _BOLD), *(_painted_line(line, found.severity) for line in rest)])


def _painted_line(line: str, severity: Severity) -> str:
    margin, mark, content = line.partition("| ")
    if mark and content and not content.strip(" \t^"):
        return shade(margin + mark, _DIM) + shade(content, _SHADE[severity])
    margin, mark, content = line.partition("= help: ")
    if mark:
        return shade(margin + "= ", _DIM) + shade("help: ", _CYAN) + content
    return line


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """The items as they come, with a bar on standard error where that is a terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, description=what, total=total, console=Console(stderr=True), transient=True)
