"""What patches and processes look like to people: one-line summaries and tables."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Final

import msgspec

from bcpatch.cli.output import colour
from bcpatch.diagnostics import RULES
from bcpatch.model import (
    AdditionEdit,
    AnnotationsEdit,
    ClassPositionEdit,
    CreationEdit,
    DocstringEdit,
    Edit,
    FunctionEdit,
    ImportEdit,
    Interpreter,
    ModulePatch,
    Patch,
    Policy,
    PositionEdit,
    ProgramEdit,
    RemovalEdit,
    ValueEdit,
)
from bcpatch.status import GenerationStatus, ModuleStatus, Presence, SiteStatus, Status

if TYPE_CHECKING:  # neither the compiler nor the channels are needed to show what they say
    from bcpatch.audit import Commit, Summary, Verdict
    from bcpatch.channels.protocol import Hello

#: What a kind of edit changes.
_KINDS: Final[dict[type[Edit], str]] = {
    FunctionEdit: "function",
    PositionEdit: "moved function",
    ClassPositionEdit: "moved class",
    ImportEdit: "import",
    DocstringEdit: "docstring",
    AnnotationsEdit: "annotated namespace",
    AdditionEdit: "addition",
    ValueEdit: "value",
    RemovalEdit: "removal",
    ProgramEdit: "program",
    CreationEdit: "new module",
}

#: What became of a module that was not imported when its patch was applied.
_PRESENCE: Final = {
    Presence.PENDING: "not yet",
    Presence.CARRIED: "with the text of the patch",
    Presence.DISK: "from its file, which had the text of the patch",
    Presence.BYPASSED: "around bcpatch: what it runs is not known",
}

#: Wider than any table: what is piped into a file or a program is never cut.
_UNLIMITED = 10_000


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], indent: int = 0) -> None:
    """Write rows in columns to standard output."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table

    grid = Table(box=None, show_header=bool(columns), pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    lines = [tuple(map(str, row)) for row in rows]
    for heading in columns or ("",) * len(lines[0]):
        grid.add_column(heading, overflow="fold")
    for line in lines:
        grid.add_row(*line)
    console = Console(
        width=None if sys.stdout.isatty() else _UNLIMITED,
        no_color=not colour(sys.stdout),
        highlight=False,
        markup=False,
    )
    with console.capture() as captured:
        console.print(Padding(grid, (0, 0, 0, indent), expand=False))
    for row in captured.get().splitlines():
        sys.stdout.write(row.rstrip() + "\n")


def counted(number: int, noun: str) -> str:
    """A number and its noun: 1 module, 2 modules."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def moment(seconds: float) -> str:
    """A time since the epoch as the user's clock shows it."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")


def short(digest: str | None) -> str:
    """The head of a digest, enough to tell two apart."""
    return digest[:12] if digest else "-"


def summary(patch: Patch) -> str:
    """A patch in one line."""
    kinds = Counter(_KINDS[type(edit)] for part in patch.modules for edit in part.edits)
    what = ", ".join(counted(number, kind) for kind, number in kinds.items())
    where = ", ".join(part.module.name for part in patch.modules)
    return f"{what} in {where} ({patch.policy.value}, generation {patch.generation})"


# --- show --------------------------------------------------------------------------


def show_patch(patch: Patch, name: str, digest: str, size: int) -> None:
    """Write a patch's header and its edits."""
    table(
        (),
        (
            ("patch", name),
            ("digest", digest),
            ("size", f"{size} bytes"),
            ("python", patch.interpreter),
            ("policy", patch.policy.value),
            ("generation", patch.generation),
            ("parent", patch.parent or "-"),
        ),
    )
    for part in patch.modules:
        _show_module(part)


def _show_module(part: ModulePatch) -> None:
    sys.stdout.write(f"\n{part.module.name}  {part.module.path}\n")
    back = f"{sum(len(one.text) for one in part.back)} bytes lead back" if part.back else ""
    rows = [("source", back, f"{short(part.replaces)} -> {short(part.brings)}", "")]
    rows += [_row(edit) for edit in part.edits]
    table(("edit", "place", "replaces -> brings", "line"), rows, indent=2)
    if part.links:
        sys.stdout.write("  links to " + ", ".join(f"{link.module}.{link.name}" for link in part.links) + "\n")


def _row(edit: Edit) -> tuple[str, str, str, str]:
    match edit:
        case FunctionEdit():
            return (
                "function",
                _place(edit.site.qualname, edit.site.ordinal),
                f"{short(edit.replaces)} -> {short(edit.brings)}",
                str(edit.code.first_line),
            )
        case PositionEdit():
            place = _place(edit.site.qualname, edit.site.ordinal)
            return ("position", place, short(edit.replaces), str(edit.positions.first_line))
        case ClassPositionEdit():
            return ("class position", edit.qualname, "", str(edit.first_line))
        case ImportEdit():
            return ("import", edit.binding.name, _imported(edit), str(edit.line))
        case DocstringEdit():
            return ("docstring", edit.qualname or "(module)", "", "")
        case AdditionEdit(owner, names, line=line):
            return "addition", ".".join(filter(None, (owner, *names))), "", str(line)
        case ValueEdit(owner, name, line=line):
            return "value", ".".join(filter(None, (owner, name))), "", str(line)
        case RemovalEdit(owner, name):
            return "removal", ".".join(filter(None, (owner, name))), "", ""
        case ProgramEdit(line=line):
            return "program", "__main__", "", str(line)
        case AnnotationsEdit():
            return ("annotations", edit.qualname or "(module)", "", "")
        case CreationEdit():
            return ("module", "(new)", "", "")


def _place(qualname: str, ordinal: int) -> str:
    return f"{qualname}#{ordinal}" if ordinal else qualname


def _imported(edit: ImportEdit) -> str:
    bound = edit.binding
    origin = bound.submodule or bound.module
    return f"{origin}.{bound.attribute}" if bound.attribute else origin


# --- processes -----------------------------------------------------------------------


def show_processes(found: Sequence[Hello]) -> None:
    """Write the processes that can be reached."""
    rows = [
        (one.pid, _python(one.interpreter), one.generation, _pinned(one.policy), moment(one.started), one.program)
        for one in found
    ]
    table(("pid", "python", "generation", "policy", "since", "program"), rows)


def show_status(status: Status) -> None:
    """Write what a process tells of itself."""
    table(
        (),
        (
            ("process", f"{status.pid}  {status.program}"),
            ("python", status.interpreter),
            ("policy", _pinned(status.policy)),
            ("since", moment(status.started)),
            ("generation", status.generation),
        ),
    )
    sys.stdout.write("\n")
    table(("generation", "patch", "policy", "applied", "ms", "sites", "instant"), map(_generation, status.generations))
    if status.sites:
        sys.stdout.write("\n")
        table(("function", "generation", "fingerprint", "place"), map(_site, status.sites))
    if status.modules:
        sys.stdout.write("\n")
        table(("module", "generation", "imported"), map(_module, status.modules))
    for site in status.sites:
        for flight in site.flights:
            sys.stdout.write(
                f"{site.site}: {flight.holder} is still inside generation {flight.generation},"
                f" at {flight.file}:{flight.line}\n"
            )


def _generation(one: GenerationStatus) -> tuple[object, ...]:
    policy = one.policy.value if one.policy else "-"
    instant = "certain" if one.certain else "likely"
    if one.patch is None:
        return (one.number, "as started", "-", "-", "-", "-", "-")
    return (one.number, short(one.patch), policy, moment(one.applied), f"{one.milliseconds:.1f}", one.sites, instant)


def _site(one: SiteStatus) -> tuple[object, ...]:
    return (one.site, one.generation, short(one.fingerprint), f"{one.file}:{one.line}")


def _module(one: ModuleStatus) -> tuple[object, ...]:
    return (f"{one.module}{' (new)' if one.is_new else ''}", one.generation, _PRESENCE[one.presence])


def _python(interpreter: Interpreter) -> str:
    return str(interpreter).partition(" (")[0]


def _pinned(policy: Policy | None) -> str:
    return f"{policy.value} only" if policy else "any"


def as_json(value: object, **more: object) -> None:
    """Write a value as JSON, its fields by name; ``more`` are fields beside its own."""
    content = _named(value)
    if isinstance(content, dict):
        content |= more
    sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _named(value: object) -> object:
    """Nouns travel as arrays, which a person's script could only count, and digests as bytes."""
    if isinstance(value, msgspec.Struct):
        return {name: _named(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, (list, tuple)):
        return [_named(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return value.value if isinstance(value, Enum) else value


# --- histories -----------------------------------------------------------------------


def show_audit(judged: Sequence[Commit], summaries: Sequence[Summary]) -> None:
    """Write a row for each commit that changes running code, and what they come to."""
    rows = [
        (commit.digest[:10], *(_verdict(one) for one in commit.verdicts), commit.subject[:60])
        for commit in judged
        if commit.verdicts
    ]
    table(("commit", *(one.policy.value for one in summaries), "subject"), rows)
    for one in summaries:
        share = f" ({100 * one.live / one.commits:.0f} %)" if one.commits else ""
        sys.stdout.write(f"\n{one.policy.value}: {one.live} of {one.commits} commits could have gone live{share}\n")
        for code, count in one.rules:
            sys.stdout.write(f"  {code}  {count:4} commits  {RULES[code].title}\n")


def _verdict(verdict: Verdict) -> str:
    return "live" if verdict.live else " ".join(verdict.rules[:3])


def write_audit(judged: Sequence[Commit], summaries: Sequence[Summary]) -> None:
    """The same as a JSON object."""
    rows = {
        "commits": [
            {
                "commit": commit.digest,
                "subject": commit.subject,
                "policies": {one.policy.value: {"live": one.live, "rules": one.rules} for one in commit.verdicts},
            }
            for commit in judged
        ],
        "policies": {
            one.policy.value: {"commits": one.commits, "live": one.live, "rules": dict(one.rules)} for one in summaries
        },
    }
    sys.stdout.write(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
