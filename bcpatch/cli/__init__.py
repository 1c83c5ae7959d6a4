"""The command line: arguments in, words out. No logic of its own.

Start-up is felt at every call, so a command imports what it needs when it runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from bcpatch.cli.program import BROKEN_PIPE, INTERRUPTED, NAME, WRONG, bcpatch

__all__ = ["main", "run"]

#: The environment variable by which shells ask for completions (click's convention).
_COMPLETE = "_BCPATCH_COMPLETE"


def main() -> None:
    """The ``bcpatch`` program."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line; returns the exit status. What a user did wrong never ends in a traceback."""
    try:
        answer = _run(list(arguments))
        sys.stdout.flush()
        return answer
    except click.ClickException as error:
        error.show()
        return WRONG
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # What is left in the buffer would fail again when the interpreter flushes it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _run(arguments: list[str]) -> int:
    """What click's own entry does, but errors are left to us: it would end a broken pipe with status 1, "refused"."""
    instruction = os.environ.get(_COMPLETE)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(bcpatch, {}, NAME, _COMPLETE, instruction)
    try:
        with bcpatch.make_context(NAME, arguments) as context:
            return _carry_out(context)
    except click.exceptions.Exit as ended:  # --help and --version
        return ended.exit_code


def _carry_out(context: click.Context) -> int:
    """Run the command that the arguments name; what ends it early is told here."""
    from bcpatch.cli.output import complain, report, status
    from bcpatch.diagnostics import Error, Refused

    try:
        answer = bcpatch.invoke(context)
    except Refused as error:
        report(error.diagnostics)
        return status(error.diagnostics)
    except Error as error:
        complain(str(error))
        return WRONG
    return answer if isinstance(answer, int) else 0
