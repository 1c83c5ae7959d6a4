"""The command line: arguments in, words out. No logic of its own.

Start-up is felt at every call, so a command imports what it needs when it runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from bcpatch.cli.commands import bcpatch
from bcpatch.cli.output import BROKEN_PIPE, INTERRUPTED, WRONG, complain, report, status
from bcpatch.diagnostics import Error, Refused

__all__ = ["main", "run"]


def main() -> None:
    """The ``bcpatch`` program."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line; returns the exit status. What a user did wrong never ends in a traceback."""
    try:
        answer = bcpatch.main(list(arguments), prog_name="bcpatch", standalone_mode=False)
        sys.stdout.flush()
        return answer if isinstance(answer, int) else 0
    except click.ClickException as error:
        error.show()
        return WRONG
    except Refused as error:
        report(error.diagnostics)
        return status(error.diagnostics)
    except Error as error:
        complain(str(error))
        return WRONG
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # What is left in the buffer would fail again when the interpreter flushes it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
