"""The program as a whole: its commands by name, its help, and the exit statuses that the commands share.

Knows what each command is for, neither what it takes nor how it is done: those are imported
for a command that runs. Help and version wait for the interpreter and nearly nothing else, so
what is imported here at the start has to be there already.
"""

from __future__ import annotations

import os
import sys

from bcpatch import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

NAME: Final = "bcpatch"
USAGE: Final = f"{NAME} [OPTIONS] COMMAND [ARGUMENTS]..."
PURPOSE: Final = "Compile a change to Python source into a verified patch, and load it into running processes."

DONE: Final = 0
REFUSED: Final = 1
WRONG: Final = 2
UNCHANGED: Final = 3
INTERRUPTED: Final = 128 + 2
BROKEN_PIPE: Final = 128 + 13

#: What each command is for; its own help begins with it.
SUMMARIES: Final = {
    "apply": "Apply a patch file to running processes.",
    "audit": "Say which commits of a git history could have been live patches, and why not the others.",
    "build": "Compile what changed in PATH into a patch file.",
    "demo": "Patch a running web server before your eyes.",
    "ps": "List the processes of this user that take patches.",
    "rollback": "Bring a process back to an older generation, or forward again to a newer one.",
    "run": "Start an application and make every saved edit live in it.",
    "show": "Tell what a patch file says of itself: its header and its edits.",
    "status": "Tell a process's generations, and where every patched function of it stands.",
    "verify": "Find what `build` would find in PATH, or check patch files; write nothing.",
}

HELP_OPTIONS: Final = ("-h", "--help")
#: The options that stand before a command, and end the program.
OPTIONS: Final = {"--version": "Show the version and exit.", "-h, --help": "Show this message and exit."}

_WIDEST: Final = 100
_NARROWEST: Final = 40


class Misused(Exception):
    """A command line that makes no sense; ``command`` is the one that was meant, if any."""

    def __init__(self, message: str, command: str | None = None) -> None:
        super().__init__(message)
        self.command = command


def command(words: list[str]) -> str | None:
    """The command that a command line names; None where it asked for help or the version, which is written.

    Raises Misused.
    """
    word = words[0]
    if word in SUMMARIES:
        return word
    if word == "--version":
        print(NAME, __version__)
    elif word in HELP_OPTIONS:
        print(overview())
    elif word.startswith("-"):
        raise Misused(f"no such option: {word}{suggestion(word, ('--version', *HELP_OPTIONS))}")
    else:
        raise Misused(f"no such command: {word!r}{suggestion(word, SUMMARIES)}")
    return None


def suggestion(word: str, known: Iterable[str]) -> str:
    """What may have been meant by a word that is not among those that are known, said in a few words."""
    from difflib import get_close_matches

    names = sorted(known)
    meant = [name for name in names if name.startswith(word) and len(word) > 2] or get_close_matches(word, names, 1)
    return f" (did you mean {' or '.join(meant)}?)" if meant else ""


def overview() -> str:
    """The help of the program."""
    columns = width()
    options, commands = (
        [line for name, meaning in rows.items() for line in _row(name, meaning, max(map(len, rows)), columns)]
        for rows in (OPTIONS, SUMMARIES)
    )
    lines = [f"usage: {USAGE}", "", *_wrapped(PURPOSE, columns)]
    lines += ["", "options:", *options, "", "commands:", *commands, ""]
    return "\n".join(lines + _wrapped(f"{NAME} COMMAND --help says what a command takes.", columns))


def _row(name: str, meaning: str, longest: int, columns: int) -> list[str]:
    """A row of two columns, the second one as wide as ``columns`` leave it."""
    first, *others = _wrapped(meaning, columns - longest - 4)
    return [f"  {name:{longest}}  {first}", *(" " * (longest + 4) + line for line in others)]


def _wrapped(text: str, columns: int) -> list[str]:
    """A text in lines. (The import of textwrap takes half as long as the interpreter to start.)"""
    first, *words = text.split()
    lines = [first]
    for word in words:
        if len(lines[-1]) + 1 + len(word) <= columns:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def width() -> int:
    """How many columns help takes: what the terminal has, within limits; 80 where there is none.

    That is what ``shutil.get_terminal_size`` knows, without all that ``shutil`` imports.
    """
    said = os.environ.get("COLUMNS", "")
    try:
        columns = int(said) if said.isdecimal() else os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):  # no terminal, or no file at all
        columns = 0
    return max(_NARROWEST, min(columns or 80, _WIDEST)) - 2
