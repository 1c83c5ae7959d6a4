"""What bcpatch has to say: the catalogue of rules, findings, and how they are written.

A finding is a value until it reaches the edge of the program; there it becomes an
exception (`Refused`) or words. Nothing here knows how a rule is checked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from bcpatch.model import Site


class Severity(StrEnum):
    """An error refuses; a warning and a note go with a patch that is accepted."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Rule(msgspec.Struct, frozen=True):
    """One row of the catalogue. ``code`` is never renumbered or reused."""

    code: str
    title: str
    help: str
    severity: Severity = Severity.ERROR


class Step(msgspec.Struct, frozen=True):
    """One place through which a value came on its way to the place of a finding."""

    message: str
    line: int
    column: int
    text: str


class Diagnostic(msgspec.Struct, frozen=True, kw_only=True):
    """One finding.

    Lines count from 1; columns count characters from 1, ``end_column`` is the first
    one after the place. ``line`` 0 means that the finding has no place in the file,
    an empty ``file`` that it has none at all. ``text`` is the source line.
    """

    code: str
    message: str
    severity: Severity = Severity.ERROR
    help: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    end_line: int = 0
    end_column: int = 0
    site: Site | None = None
    text: str = ""
    trail: tuple[Step, ...] = ()


class Place(NamedTuple):
    """Where in a source text a finding points: lines and columns as in `Diagnostic`."""

    file: str
    line: int = 0
    column: int = 0
    end_line: int = 0
    end_column: int = 0
    text: str = ""


NOWHERE = Place("")


class Error(Exception):
    """Base of all exceptions that bcpatch raises."""


class Refused(Error):
    """A change that bcpatch will not make. ``diagnostics`` says why, where, and the way out."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n\n".join(text(found) for found in self.diagnostics))

    def __reduce__(self) -> tuple[type[Refused], tuple[tuple[Diagnostic, ...]]]:
        return type(self), (self.diagnostics,)


class PatchFileError(Refused):
    """Bytes that are not a patch which this Python can load (family BCP4xx)."""


_COMPILE_AGAIN = "build the patch again, with the Python that runs the process: no compiler emits such code"

RULES = {
    rule.code: rule
    for rule in (
        # BCP0xx: input
        Rule("BCP001", "syntax error", "correct the syntax; the running code is untouched"),
        Rule(
            "BCP002",
            "not a Python source",
            "save the file as UTF-8 text, or declare its encoding in one of its first two lines (PEP 263)",
        ),
        Rule("BCP003", "unreadable input", "check the path and its rights"),
        Rule(
            "BCP004",
            "no module name",
            "name the module with --module, or put the file below a folder that can be imported from",
        ),
        Rule(
            "BCP005", "base missing", "name the source that the process runs with --base (a file, a folder or git:REV)"
        ),
        # BCP1xx: references
        Rule(
            "BCP101",
            "name of its own module",
            "import the name from another module, pass it as an argument, or build with --policy linked",
        ),
        Rule(
            "BCP102",
            "module global stored or deleted",
            "keep the state on the receiver's public attributes or in another module, or build with --policy linked",
        ),
        Rule(
            "BCP103",
            "private name of another module",
            "use the module's public interface, or build with --policy linked",
        ),
        Rule(
            "BCP104",
            "private attribute of the receiver",
            "rename it, reach it by a public property, or build with --policy linked",
        ),
        Rule(
            "BCP105",
            "private attribute",
            "use a public attribute of the object, or build with --policy linked",
        ),
        Rule(
            "BCP106",
            "access that can't be proved",
            "access the attribute by a constant public name, or build with --policy linked",
        ),
        Rule(
            "BCP107",
            "type of its own module in an annotation",
            "annotate with a builtin type or one imported from another module, or build with --policy linked",
        ),
        Rule(
            "BCP108",
            "name of its own module in a default value",
            "use a literal, a builtin or an imported name, or build with --policy linked",
        ),
        Rule(
            "BCP109",
            "method of a private class",
            "make the class public, or build with --policy linked",
        ),
        Rule("BCP110", "unresolved name", "define or import the name in the same change"),
        Rule(
            "BCP111",
            "name that reaches around the rules",
            "say directly what is meant, or build with --policy linked",
        ),
        Rule(
            "BCP112",
            "its own module as an object",
            "move what is needed into another module, or build with --policy linked",
        ),
        Rule(
            "BCP113",
            "protocol name that hands out the inside",
            "use the object's public interface, or build with --policy linked",
        ),
        # BCP2xx: edits
        Rule("BCP201", "definition added", "put the code into an existing function, or build with --policy linked"),
        Rule("BCP202", "definition removed", "keep the definition, or build with --policy linked"),
        Rule(
            "BCP203",
            "signature takes fewer calls",
            "keep every parameter callable as before and give each new one a default, or build with --policy linked",
        ),
        Rule("BCP204", "kind of definition changed", "restart the process: running calls expect the old kind"),
        Rule("BCP205", "decorators changed", "restart the process: decorators run when the module is imported"),
        Rule("BCP206", "bases or metaclass changed", "restart the process: instances are laid out by the old class"),
        Rule(
            "BCP207", "generated class changed", "restart the process: its methods were generated from the old fields"
        ),
        Rule("BCP208", "executed statement changed", "restart the process, or move the code into a function"),
        Rule(
            "BCP209",
            "value changed",
            "return the value from a function or restart the process, or build with --policy linked",
        ),
        Rule(
            "BCP210", "value that another statement reads", "restart the process: the statement ran with the old value"
        ),
        Rule(
            "BCP211",
            "function that import-time code ran",
            'restart the process, or put what only the program itself does below `if __name__ == "__main__":`',
        ),
        Rule("BCP212", "free variables changed", "keep the set of captured names, or restart the process"),
        Rule("BCP213", "functions that can't be told apart", "give them names of their own, or restart the process"),
        Rule(
            "BCP214",
            "module added or removed",
            "put the file on the disk of every process that will import it",
            Severity.NOTE,
        ),
        Rule(
            "BCP215", "import removed", "nothing to do, unless something looks whether the name exists", Severity.NOTE
        ),
        Rule("BCP216", "name removed", "nothing to do, unless something looks whether the name exists", Severity.NOTE),
        Rule(
            "BCP217",
            "definition that import-time code was given",
            "restart the process where that looks at it, or build with --policy linked",
        ),
        Rule("BCP218", "no base", "name what the process runs: --base FILE, or --base git:REV", Severity.NOTE),
        Rule(
            "BCP219",
            "attribute that existing objects lack",
            "read it with a default (`getattr`), give the class a value for it, or bring what exists up to date in an "
            "update hook",
            Severity.WARNING,
        ),
        Rule(
            "BCP220",
            "imports in a circle",
            "move the import below what is taken of this module, or into the function that needs it",
            Severity.WARNING,
        ),
        Rule(
            "BCP221",
            "name that is gone and used",
            "take the use out as well: the running process has the name still, the next one won't",
            Severity.WARNING,
        ),
        # BCP3xx: bytecode structure
        Rule("BCP301", "unknown opcode", _COMPILE_AGAIN),
        Rule("BCP302", "jump into nowhere", _COMPILE_AGAIN),
        Rule("BCP303", "stack underflow", _COMPILE_AGAIN),
        Rule("BCP304", "stack depths that disagree", _COMPILE_AGAIN),
        Rule("BCP305", "stack overflow", _COMPILE_AGAIN),
        Rule("BCP306", "operand of a wrong kind", _COMPILE_AGAIN),
        Rule("BCP307", "argument out of range", _COMPILE_AGAIN),
        Rule("BCP308", "malformed exception table", _COMPILE_AGAIN),
        Rule("BCP309", "end of the code without a return", _COMPILE_AGAIN),
        Rule("BCP310", "beyond the limits", _COMPILE_AGAIN),
        Rule("BCP311", "malformed instruction", _COMPILE_AGAIN),
        Rule("BCP312", "instruction in the wrong place", _COMPILE_AGAIN),
        Rule("BCP313", "malformed line table", _COMPILE_AGAIN),
        Rule("BCP314", "fields that disagree", _COMPILE_AGAIN),
        Rule("BCP315", "borrowed reference that outlives its owner", _COMPILE_AGAIN),
        Rule("BCP316", "unbound local variable", _COMPILE_AGAIN),
        Rule("BCP317", "loop that nothing can interrupt", _COMPILE_AGAIN),
        # BCP4xx: patch file and trust
        Rule("BCP401", "not a patch file", "name a file that `bcpatch build` wrote"),
        Rule("BCP402", "truncated patch file", "copy the file again: its end is missing"),
        Rule("BCP403", "damaged patch file", "copy the file again: its digest does not fit its content"),
        Rule("BCP404", "unknown patch format", "build the patch again with the bcpatch that the process runs"),
        Rule("BCP405", "built for another Python", "build the patch with the Python that runs the process"),
        Rule(
            "BCP406",
            "built for another optimisation level",
            "build with the -O level of the process: `python -O -m bcpatch build`, for example",
        ),
        Rule("BCP407", "parent patch not applied", "apply the parent first, or build against what the process runs"),
        Rule("BCP408", "malformed patch content", "build the patch again; this one was not written by bcpatch"),
        Rule("BCP409", "policy of the process", "build with --policy strict, or restart the process without the pin"),
        # BCP5xx: link
        Rule("BCP501", "module not found", "import the module in the process first, or patch the file on its disk"),
        Rule("BCP502", "site not found", "build against the source that the process runs"),
        Rule("BCP503", "site ambiguous", "give the functions names of their own, or restart the process"),
        Rule(
            "BCP504", "running code differs from the base", "build with --base set to the source that the process runs"
        ),
        Rule("BCP505", "linked name missing", "build against the versions of the modules that the process runs"),
        Rule(
            "BCP506",
            "references unaccounted for",
            'try again, or let bcpatch search for them: --scan heap, scan="heap" (stops every thread meanwhile)',
        ),
        Rule("BCP507", "rewritten by another tool", "run the process without the tool that rewrites its functions"),
        Rule("BCP508", "live closure can't go on", "wait until it is gone, or restart the process"),
        Rule("BCP509", "imported name holds the module's own object", "build with --policy linked"),
        Rule("BCP510", "default value lost", "restart the process: something has changed the function's defaults"),
        Rule("BCP512", "value changed by the process", "restart the process, or keep the value as it is"),
        Rule("BCP513", "name to be added is there already", "build against the source that the process runs"),
        Rule(
            "BCP514",
            "branch that did not run",
            "nothing to do: this process took another way through the module",
            Severity.NOTE,
        ),
        Rule(
            "BCP515",
            "branch that can't be told",
            "restart the process, or make the change outside of the `if` or `try`",
        ),
        Rule(
            "BCP516",
            "file differs from the base",
            "build with --base set to the source on the disk of the process, or put the new source there",
        ),
        Rule("BCP517", "module not imported yet", "nothing to do: its import runs the new text", Severity.NOTE),
        Rule("BCP518", "module not loaded from its source", "import the module in the process first"),
        Rule("BCP519", "module being imported", "send the patch again when the import has ended"),
        Rule(
            "BCP520",
            "module that took all names of another",
            "import the names that are used by name there, or restart the process",
        ),
        Rule(
            "BCP521",
            "what was made before stays",
            "make the objects anew, or bring them up to date in an update hook",
            Severity.NOTE,
        ),
        Rule(
            "BCP522",
            "import that can't be told",
            "delete the name there and import it again after the patch, or restart the process",
        ),
        Rule(
            "BCP523",
            "module whose code ran apart",
            "define what spawned processes run in a module that the program imports, or restart the process",
        ),
        # BCP6xx: apply
        Rule(
            "BCP601",
            "no quiet instant",
            "apply again later, give it more time (--timeout), or do not ask for one (--consistency immediate)",
        ),
        Rule("BCP602", "update hook vetoed", "see the hook's reason"),
        Rule("BCP603", "patched-in code raised", "correct the expression or the import; nothing was changed"),
        Rule(
            "BCP604", "audit hook installed", "run the process without Python audit hooks, or accept a likely instant"
        ),
        Rule("BCP605", "no GIL", "run the process with PYTHON_GIL=1"),
        Rule("BCP606", "another apply under way", "send the request again when the first one has ended"),
        Rule("BCP607", "no such generation", "see the generations that `bcpatch status` lists"),
        Rule("BCP608", "value changed by someone else", "restart the process, or set the value back first"),
        Rule("BCP609", "plan out of date", "apply the patch again, if it still fits what was applied meanwhile"),
        Rule("BCP610", "store raised", "report it: everything was restored, but this should have been refused earlier"),
        Rule("BCP611", "function held elsewhere", "restart the process: its other holder would keep the old function"),
        Rule("BCP612", "update hook raised", "the update is done; see to what the hook left undone", Severity.WARNING),
        Rule(
            "BCP613",
            "module of another generation",
            "apply a patch from the text that it runs to the one that it shall run, or restart the process",
        ),
        Rule(
            "BCP614",
            "call that goes on with the old code",
            "nothing to do if the call returns; if it never does, let its loop call a function for each turn",
            Severity.NOTE,
        ),
    )
}


def finding(
    code: str,
    message: str,
    place: Place = NOWHERE,
    *,
    help: str | None = None,
    site: Site | None = None,
    trail: Sequence[Step] = (),
) -> Diagnostic:
    """A diagnostic of the rule ``code``, with the catalogue's severity and way out."""
    rule = RULES[code]
    return Diagnostic(
        code=code,
        message=message,
        severity=rule.severity,
        help=rule.help if help is None else help,
        file=place.file,
        line=place.line,
        column=place.column,
        end_line=place.end_line,
        end_column=place.end_column,
        site=site,
        text=place.text,
        trail=tuple(trail),
    )


def as_warning(found: Diagnostic) -> Diagnostic:
    """The same finding where it forbids nothing."""
    return msgspec.structs.replace(found, severity=Severity.WARNING)


def errors(found: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Those findings that refuse."""
    return tuple(one for one in found if one.severity is Severity.ERROR)


# --- renderings --------------------------------------------------------------------


def _caret(found: Diagnostic) -> str:
    """The line under the source line: white space that keeps its tabs, then carets."""
    start = found.column - 1 if found.column else len(found.text) - len(found.text.lstrip())
    one_line = found.end_line in (0, found.line)
    end = found.end_column - 1 if one_line and found.end_column > found.column else len(found.text)
    end = max(min(end, len(found.text)), start + 1)
    return "".join("\t" if c == "\t" else " " for c in found.text[:start]) + "^" * (end - start)


def heading(found: Diagnostic) -> str:
    """Place, code and title on one line."""
    place = found.file
    if found.line:
        place += f":{found.line}"
        if found.column:
            place += f":{found.column}"
    severity = "" if found.severity is Severity.ERROR else f" {found.severity.value}:"
    return f"{place}{': ' if place else ''}{found.code}{severity} {RULES[found.code].title}"


def text(found: Diagnostic) -> str:
    """A finding for people: heading, source line with carets, message, trail, help."""
    lines = [heading(found)]
    width = max([len(str(found.line)), *(len(str(step.line)) for step in found.trail)])
    bar = " " * width + " |"
    if found.text.strip():
        lines += [bar, f"{found.line:>{width}} | {found.text}", f"{bar} {_caret(found)}"]
    for step in found.trail:
        lines.append(f"{' ' * width} = {step.message} at line {step.line}")
        if step.text.strip():
            lines.append(f"{step.line:>{width}} | {step.text}")
    lines.append(f"{' ' * width} = {found.message}")
    if found.help:
        lines.append(f"{' ' * width} = help: {found.help}")
    return "\n".join(lines)


def as_json(found: Iterable[Diagnostic]) -> str:
    """Findings as a JSON array; every key is a field of `Diagnostic`, the site as text."""
    rows = []
    for one in found:
        row = msgspec.to_builtins(one)
        row["site"] = str(one.site) if one.site else None
        row["title"] = RULES[one.code].title
        rows.append(row)
    return json.dumps(rows, indent=2, ensure_ascii=False)


def as_github(found: Iterable[Diagnostic]) -> str:
    """Findings as workflow commands, which GitHub Actions shows beside the changed lines."""
    level = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
    lines = []
    for one in found:
        fields = {"file": one.file, "title": f"{one.code} {RULES[one.code].title}"}
        if one.line:
            fields["line"] = str(one.line)
            fields["endLine"] = str(one.end_line or one.line)
        if one.column and one.end_line in (0, one.line):
            fields["col"] = str(one.column)
        options = ",".join(f"{key}={_escaped(value, True)}" for key, value in fields.items() if value)
        message = one.message + (f"\nhelp: {one.help}" if one.help else "")
        lines.append(f"::{level[one.severity]} {options}::{_escaped(message, False)}")
    return "\n".join(lines)


def _escaped(value: str, option: bool) -> str:
    value = value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return value.replace(":", "%3A").replace(",", "%2C") if option else value


def relative(path: str) -> str:
    """A path as a person in the current folder would write it."""
    try:
        short = os.path.relpath(path)
    except ValueError:  # another drive on Windows
        return path
    return path if short.startswith(os.pardir) else short
