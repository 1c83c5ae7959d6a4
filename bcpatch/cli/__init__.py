"""The command line: arguments in, words out. No logic of its own.

Start-up is felt at every call, so a command imports what it needs when it runs.
"""

from __future__ import annotations

import os
import sys

from bcpatch.cli.program import BROKEN_PIPE, DONE, INTERRUPTED, NAME, USAGE, WRONG, Misused, command, overview

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

__all__ = ["main", "run"]

#: The environment variable by which shells ask for completions.
_COMPLETE: Final = "_BCPATCH_COMPLETE"


def main() -> None:
    """The ``bcpatch`` program."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # whoever started us closed it; the next file would take its place
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    if sys.stdout.errors in ("strict", "surrogateescape"):  # else what the terminal's encoding lacks would raise
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(run(sys.argv[1:]))


def run(words: Sequence[str]) -> int:
    """Carry out a command line; returns the exit status. What a user did wrong never ends in a traceback."""
    try:
        answer = _run(list(words))
        sys.stdout.flush()
    except KeyboardInterrupt:
        answer = INTERRUPTED
    except OSError as error:
        answer = _unwritable(error)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # it would fail again when the interpreter flushes it at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return answer


def _unwritable(error: OSError) -> int:
    """The exit status where what is to be said can't be written. Raises what is no such error."""
    import errno

    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
    if error.filename is not None or error.errno not in (errno.EPIPE, *full):
        raise error
    if error.errno == errno.EPIPE:
        return BROKEN_PIPE
    from contextlib import suppress

    from bcpatch.cli.output import complain

    with suppress(OSError):
        complain(f"standard output can't be written to: {error.strerror}")
    return WRONG


def _run(words: list[str]) -> int:
    try:
        request = os.environ.get(_COMPLETE)
        if request:
            from bcpatch.cli import completion

            return completion.answer(request, words)
        if not words:
            print(overview(), file=sys.stderr)
            return WRONG
        name = command(words)
        return DONE if name is None else _carry_out(name, words[1:])
    except Misused as error:
        from bcpatch.cli.arguments import usage
        from bcpatch.cli.output import complain, write

        complain(str(error))
        write(f"usage: {usage(error.command) if error.command else USAGE}", sys.stderr)
        write(f"help: {' '.join(filter(None, (NAME, error.command)))} --help", sys.stderr)
        return WRONG


def _carry_out(name: str, words: Sequence[str]) -> int:
    """Run a command; what ends it early is told here. Raises Misused."""
    from bcpatch.cli import arguments

    values = arguments.read(name, words)
    if values is None:
        return DONE

    from bcpatch.cli.commands import COMMANDS
    from bcpatch.cli.output import complain, report, status
    from bcpatch.diagnostics import Error, Refused

    try:
        return COMMANDS[name](**values)
    except Refused as error:
        report(error.diagnostics)
        return status(error.diagnostics)
    except Error as error:
        complain(str(error))
        return WRONG
