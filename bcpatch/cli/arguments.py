"""What each command takes, as tables; argparse makes values and help of them.

Knows nothing of what the commands do. Options are put before the arguments here: what argparse itself
makes of options between arguments, and of ``--``, differs from one version of Python to another.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn, TypeVar

from bcpatch.cli import program
from bcpatch.cli.program import HELP_OPTIONS, NAME, SUMMARIES, Misused

N = TypeVar("N", int, float)

FORMATS: Final = ("text", "json", "sarif", "github")
FORMS: Final = ("text", "json")
POLICIES: Final = ("strict", "linked")
CONSISTENCIES: Final = ("immediate", "quiescent")
SCANS: Final = ("references", "heap")


class Argument(NamedTuple):
    """One thing that a command takes: its names (an option's begin with a dash), and what argparse is told of it."""

    names: tuple[str, ...]
    how: Mapping[str, Any]

    @property
    def is_option(self) -> bool:
        return self.names[0].startswith("-")

    @property
    def takes_value(self) -> bool:
        """Whether the option's value stands after it."""
        return "action" not in self.how or self.how["action"] == "append"


def _argument(*names: str, **how: Any) -> Argument:
    return Argument(names, how)


def _choice(*names: str, of: Sequence[str], **how: Any) -> Argument:
    return _argument(*names, choices=of, metavar="|".join(of), **how)


#: The largest number that is read: of a process, a generation or seconds there is none beyond.
_MOST: Final = 1_000_000_000


def _number(kind: Callable[[str], N], least: N, what: str) -> Callable[[str], N]:
    """Reads a number that is ``least`` or more, and not beyond all measure."""

    def read(text: str) -> N:
        try:
            number = kind(text)
        except ValueError:
            number = None
        if number is None or not least <= number:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what} ({least} or more)")
        if number > _MOST:
            raise argparse.ArgumentTypeError(f"{text} is more than {_MOST}")
        return number

    return read


_PATHS = _argument("paths", metavar="PATH", nargs="+", help="A file, or a folder that is a package or an import root.")
_CHECKED = _argument(
    "paths", metavar="PATH", nargs="+", help="A file, a package's folder, an import root, or a patch file."
)
_BASE = _argument(
    "--base", metavar="OLD", help="What the process runs: a file, a folder or git:REV (default: git:HEAD)."
)
_POLICY = _choice("--policy", of=POLICIES, help="Which edits are allowed (default: the project's, else strict).")
_MODULE = _argument("--module", metavar="NAME", help="The dotted name that the one PATH is imported under.")
_PATCH = _argument("patch", metavar="PATCH", help="A patch file.")
_PROCESS = _number(int, 1, "a process id")
_PID = _argument("pid", metavar="PID", type=_PROCESS, help="A process, by its number; `ps` lists them.")
_FORM = _choice("--format", of=FORMS, default="text", help="How it is written (default: %(default)s).")
_FORMAT = _choice("--format", of=FORMATS, default="text", help="How findings are written (default: %(default)s).")
_HELP = _argument(*HELP_OPTIONS, action="help", help="Show this message and exit.")

#: What each command takes; the names are those of the parameters of its function in `bcpatch.cli.commands`.
TAKES: Final[dict[str, tuple[Argument, ...]]] = {
    "apply": (
        _PATCH,
        _argument(
            "pids", metavar="PID", type=_PROCESS, nargs="+", help="Processes, by their numbers; `ps` lists them."
        ),
        _argument("--dry-run", action="store_true", help="Link the patch with the process and change nothing."),
        _choice(
            "--consistency",
            of=CONSISTENCIES,
            default="immediate",
            help="When to swap: at once, or while no call is inside a changed function (default: %(default)s).",
        ),
        _argument(
            "--timeout",
            metavar="SECONDS",
            type=_number(float, 0, "a number of seconds"),
            help="How long to wait for a quiet instant.",
        ),
        _choice(
            "--scan",
            of=SCANS,
            default="references",
            help="How to find every reference to the old code; heap stops all threads meanwhile"
            " (default: %(default)s).",
        ),
        _FORMAT,
    ),
    "audit": (
        _argument("repository", metavar="REPO", help="A folder in a git repository."),
        _argument("span", metavar="REV..REV", help="The commits after the first one, up to the second."),
        _FORM,
    ),
    "build": (
        _PATHS,
        _argument("-o", "--output", metavar="OUT", required=True, help="The patch file to write (required)."),
        _BASE,
        _POLICY,
        _argument("--parent", metavar="PATCH", help="The patch that must have been applied last before this one."),
        _MODULE,
        _FORMAT,
    ),
    "demo": (),
    "ps": (_FORM,),
    "rollback": (
        _PID,
        _argument(
            "--to",
            metavar="N",
            type=_number(int, 0, "a generation"),
            help="Which generation (default: the one before).",
        ),
        _FORMAT,
    ),
    "run": (
        _argument(
            "command",
            metavar="COMMAND",
            nargs="*",
            help="A program, or a Python file; what stands after it is its own.",
        ),
        _argument(
            "--watch",
            dest="folders",
            metavar="DIR",
            action="append",
            default=[],
            help="A folder to watch, once for each (default: the program's).",
        ),
        _POLICY,
        _argument(
            "-m",
            dest="module",
            metavar="MODULE",
            help="Run a module, as `python -m` does; what stands after it is its own.",
        ),
    ),
    "show": (
        _PATCH,
        _argument(
            "--dis", dest="disassembled", action="store_true", help="Disassemble the code that the patch brings."
        ),
        _FORM,
    ),
    "status": (_PID, _FORM),
    "verify": (_CHECKED, _BASE, _POLICY, _MODULE, _FORMAT),
}

#: What there is to know of a command beside its summary.
_MORE: Final = {
    "audit": "No code of the history is run. Merges are left out, and tests, documentation and examples do not count.",
    "run": "What the application prints is its own; bcpatch writes to standard error.",
}

#: Commands whose first argument, or this option, begins what belongs to an application.
_STARTS: Final = {"run": "-m"}

#: Where explanations begin at the latest, in columns.
_HELP_COLUMN: Final = 30


class _Parser(argparse.ArgumentParser):
    """Leaves errors to us."""

    def error(self, message: str) -> NoReturn:
        raise Misused(message)


class _Help(argparse.HelpFormatter):
    """As wide as all our help."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=_HELP_COLUMN, width=program.width())


def usage(name: str) -> str:
    """How a command is called, in a line."""
    needed = (one for one in takes(name) if one.how.get("required") or not one.is_option)
    return " ".join([NAME, name, "[OPTIONS]", *map(_placeholder, needed)])


def _placeholder(argument: Argument) -> str:
    word: str = argument.how["metavar"]
    if argument.is_option:
        return f"{argument.names[0]} {word}"
    return f"{word}..." if "nargs" in argument.how else word


def takes(name: str) -> tuple[Argument, ...]:
    """All that a command takes, its help too."""
    return (*TAKES[name], _HELP)


def options(name: str) -> dict[str, Argument]:
    """A command's options, by each of their names."""
    return {option: one for one in takes(name) if one.is_option for option in one.names}


def read(name: str, words: Iterable[str]) -> dict[str, Any] | None:
    """The values of a command's arguments, by name; None where its help was asked for, which is written then.

    Raises Misused.
    """
    parser = _parser(name)
    try:
        ordered = _ordered(name, words)
        if ordered is None:
            print(parser.format_help(), end="")
            return None
        found, rest = ordered
        return vars(parser.parse_args([*found, "--", *rest] if rest else found))
    except Misused as error:
        raise Misused(str(error), name) from None


def _parser(name: str) -> _Parser:
    description = " ".join(filter(None, (SUMMARIES[name], _MORE.get(name))))
    parser = _Parser(
        NAME,
        usage=usage(name),
        description=description,
        formatter_class=_Help,
        add_help=False,
        allow_abbrev=False,
    )
    parser.color = False  # type: ignore[attr-defined]  # 3.14+: it would colour what goes to no terminal too
    for one in takes(name):
        parser.add_argument(*one.names, **one.how)
    return parser


def takes_options(name: str, words: Sequence[str]) -> bool:
    """Whether an option of the command, or its value, may stand after some words, none of an application's."""
    try:  # the first one could be taken for a value
        return _ordered(name, [*words, *HELP_OPTIONS]) is None
    except Misused:
        return False


def _ordered(name: str, words: Iterable[str]) -> tuple[list[str], list[str]] | None:
    """The options with their values, and the other words; None where help is asked for.

    Raises Misused where there is no such option, or no place for a word.
    """
    known = options(name)
    found: list[str] = []
    rest: list[str] = []
    begun = False
    coming = iter(words)
    for word in coming:
        if word == "--":
            rest += coming
        elif begun or not word.startswith("-") or word == "-":
            rest.append(word)
            if name in _STARTS:
                rest += coming
        elif word in HELP_OPTIONS:
            return None
        else:
            option = word.partition("=")[0] if word.startswith("--") else word[:2]
            if option not in known:
                raise Misused(f"no such option: {option}{program.suggestion(option, known)}")
            found.append(word)
            if word == option and known[option].takes_value:
                found += itertools.islice(coming, 1)
            begun = option == _STARTS.get(name)
    places = [one for one in TAKES[name] if not one.is_option]
    if len(rest) > len(places) and not any("nargs" in one.how for one in places):
        raise Misused(f"unexpected argument: {rest[len(places)]}")
    return found, rest
