"""The commands: what each takes, and what it hands to the part that does the work."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Literal, TypeAlias

import click

from bcpatch.cli import project
from bcpatch.cli.output import FORMATS, Format, Wrong, complain, progress, report, say, status
from bcpatch.cli.program import DONE, REFUSED, UNCHANGED, bcpatch
from bcpatch.diagnostics import Diagnostic, Refused, relative
from bcpatch.model import Patch, Policy

if TYPE_CHECKING:
    from bcpatch.builder import Outcome
    from bcpatch.channels.protocol import Consistency, Scan
    from bcpatch.source.outline import Source

Answer: TypeAlias = Literal["text", "json"]

_PATHS = click.argument("paths", metavar="PATH...", nargs=-1, required=True)
_BASE = click.option(
    "--base", metavar="OLD", help="What the process runs: a file, a folder or git:REV (default: git:HEAD)."
)
_POLICY = click.option(
    "--policy",
    type=click.Choice([one.value for one in Policy]),
    help="Which edits are allowed (default: the project's, else strict).",
)
_MODULE = click.option("--module", metavar="NAME", help="The dotted name that the one PATH is imported under.")
_PID = click.argument("pid", metavar="PID", type=click.IntRange(min=1))
_SCAN = "How to find every reference to the old code; heap stops all threads meanwhile."
_ANSWER = click.option(
    "--format", type=click.Choice(("text", "json")), default="text", show_default=True, help="How it is written."
)
_FORMAT = click.option(
    "--format", type=click.Choice(FORMATS), default="text", show_default=True, help="How findings are written."
)


# --- making patches ----------------------------------------------------------------


@bcpatch.command()
@_PATHS
@click.option("-o", "--output", metavar="OUT", required=True, help="The patch file to write.")
@_BASE
@_POLICY
@click.option("--parent", metavar="PATCH", help="The patch that must have been applied last before this one.")
@_MODULE
@_FORMAT
def build(
    paths: tuple[str, ...],
    output: str,
    base: str | None,
    policy: str | None,
    parent: str | None,
    module: str | None,
    format: Format,
) -> int:
    """Compile what changed in PATH into a patch file.

    PATH is a file, or a folder that is a package or an import root.
    """
    from bcpatch import patchfile
    from bcpatch.cli import tables

    try:
        before = patchfile.read(parent) if parent is not None else None
        made = _compared(paths, base, policy, module, before)
        if made.patch is None or not made.patch.modules:
            report(made.diagnostics, format)
            if made.patch is not None:
                say("nothing changed; nothing written", format)
            return status(made.diagnostics) or UNCHANGED
        patchfile.write(made.patch, output)
        aside = patchfile.is_stream(output)
    except Refused as error:
        report(error.diagnostics, format)
        return status(error.diagnostics)
    report(made.diagnostics, format)
    say(f"{relative(output)}: {tables.summary(made.patch)}", format, aside=aside)
    return DONE


@bcpatch.command()
@_PATHS
@_BASE
@_POLICY
@_MODULE
@_FORMAT
def verify(paths: tuple[str, ...], base: str | None, policy: str | None, module: str | None, format: Format) -> int:
    """Find what `build` would find in PATH, or check patch files; write nothing."""
    from bcpatch import patchfile
    from bcpatch.cli import tables
    from bcpatch.verify import verify as verified

    patches = [path for path in paths if path.endswith(patchfile.SUFFIX)]
    sources = tuple(path for path in paths if not path.endswith(patchfile.SUFFIX))
    found: list[Diagnostic] = []
    lines: list[str] = []
    try:
        for path in patches:
            patch = patchfile.read(path)
            found += verified(patch)
            lines.append(f"{relative(path)}: {tables.summary(patch)}")
        if sources:
            made = _compared(sources, base, policy, module, None)
            found += made.diagnostics
            lines.append(tables.summary(made.patch) if made.patch and made.patch.modules else "nothing changed")
    except Refused as error:
        found += error.diagnostics
    report(found, format)
    if not status(found):
        say("\n".join(lines), format)
    return status(found)


def _compared(
    paths: tuple[str, ...], base: str | None, policy: str | None, module: str | None, parent: Patch | None
) -> Outcome:
    """What building a patch of ``paths`` comes to."""
    from bcpatch import builder

    if module is not None and len(paths) > 1:
        raise Wrong("--module names one module: give one PATH with it")
    chosen = project.policy(paths, policy)
    old: list[Source] = []
    new: list[Source] = []
    for path in paths:
        sources = builder.collect(path, module)
        new += sources
        old += builder.base_of(path, base, sources)
    return builder.compare(old, new, policy=chosen, parent=parent)


@bcpatch.command()
@click.argument("patch", metavar="PATCH")
@click.option("--dis", "disassembled", is_flag=True, help="Disassemble the code that the patch brings.")
@_ANSWER
def show(patch: str, disassembled: bool, format: Answer) -> int:
    """Tell what a patch file says of itself: its header and its edits."""
    from bcpatch import patchfile
    from bcpatch.cli import tables

    data = patchfile.read_bytes(patch)
    found = patchfile.decode(data, patch)
    if format == "json":
        tables.as_json(patchfile.header(found), digest=patchfile.digest(found), size=len(data))
        return DONE
    tables.show_patch(found, relative(patch), patchfile.digest(found), len(data))
    if disassembled:
        from bcpatch.cli import disassembly

        disassembly.show(found)
    return DONE


@bcpatch.command()
@click.argument("repository", metavar="REPO")
@click.argument("span", metavar="REV..REV")
@_ANSWER
def audit(repository: str, span: str, format: Answer) -> int:
    """Say which commits of a git history could have been live patches, and why not the others.

    No code of the history is run. Merges are left out, and tests, documentation and examples do not count.
    """
    from bcpatch import audit as auditor
    from bcpatch.cli import tables

    if ".." not in span:
        raise Wrong(f"{span}: name a range of commits, as in v1.0..HEAD")
    found = auditor.commits(repository, span)
    judged = list(progress(auditor.audit_all(repository, found), len(found), "commits"))
    summaries = [auditor.summary(judged, policy) for policy in Policy]
    if format == "json":
        tables.write_audit(judged, summaries)
    else:
        tables.show_audit(judged, summaries)
    return DONE


# --- running processes -------------------------------------------------------------


@bcpatch.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--watch", "folders", metavar="DIR", multiple=True, help="A folder to watch (default: the program's).")
@_POLICY
@click.option("-m", "module", metavar="MODULE", help="Run a module, as `python -m` does.")
@click.argument("command", metavar="COMMAND...", nargs=-1, type=click.UNPROCESSED)
def run(folders: tuple[str, ...], policy: str | None, module: str | None, command: tuple[str, ...]) -> int:
    """Start an application and make every saved edit live in it.

    COMMAND is a program with its arguments, or a Python file with its arguments. What
    the command below it prints is its own; bcpatch writes to standard error.
    """
    from bcpatch.cli import running
    from bcpatch.running import supervise

    program = supervise.program(command, module)
    watched = folders or (program.folder,)
    return supervise.supervise(program, watched, project.policy(watched, policy), running.voice())


@bcpatch.command()
@_ANSWER
def ps(format: Answer) -> int:
    """List the processes of this user that take patches."""
    from bcpatch.channels import client
    from bcpatch.cli import tables

    found = client.processes()
    if format == "json":
        tables.as_json(found)
    elif found:
        tables.show_processes(found)
    else:
        say("no process: an application is reachable once it has called bcpatch.runtime.loop()")
    return DONE


@bcpatch.command(name="status")
@_PID
@_ANSWER
def status_command(pid: int, format: Answer) -> int:
    """Tell a process's generations, and where every patched function of it stands."""
    from bcpatch.channels.protocol import StatusReply, StatusRequest
    from bcpatch.cli import tables
    from bcpatch.cli.processes import asked

    reply = asked(pid, StatusRequest(), StatusReply)
    if format == "json":
        tables.as_json(reply.status)
    else:
        tables.show_status(reply.status)
    return DONE


@bcpatch.command()
@click.argument("patch", metavar="PATCH")
@click.argument("pids", metavar="PID...", type=click.IntRange(min=1), nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Link the patch with the process and change nothing.")
@click.option(
    "--consistency",
    type=click.Choice(("immediate", "quiescent")),
    default="immediate",
    show_default=True,
    help="When to swap: at once, or while no call is inside a changed function.",
)
@click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="How long to wait for a quiet instant."
)
@click.option("--scan", type=click.Choice(("references", "heap")), default="references", show_default=True, help=_SCAN)
@_FORMAT
def apply(
    patch: str,
    pids: tuple[int, ...],
    dry_run: bool,
    consistency: Consistency,
    timeout: float | None,
    scan: Scan,
    format: Format,
) -> int:
    """Apply a patch file to running processes."""
    from bcpatch import patchfile
    from bcpatch.channels.protocol import Apply
    from bcpatch.cli.processes import each

    data = patchfile.read_bytes(patch)
    patchfile.decode(data, patch)
    request = Apply(patch=data, consistency=consistency, scan=scan, timeout=timeout, dry_run=dry_run)
    return each(pids, request, format)


@bcpatch.command()
@_PID
@click.option("--to", type=click.IntRange(min=0), metavar="N", help="Which generation (default: the one before).")
@_FORMAT
def rollback(pid: int, to: int | None, format: Format) -> int:
    """Bring a process back to an older generation, or forward again to a newer one."""
    from bcpatch.channels.protocol import Rollback
    from bcpatch.cli.processes import each

    return each((pid,), Rollback(to), format)


@bcpatch.command()
def demo() -> int:
    """Patch a running web server before your eyes."""
    from bcpatch import demo as demonstration
    from bcpatch.cli import running

    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        demonstration.demonstrate(running.show)
    except demonstration.Broken as error:
        complain(str(error))
        return REFUSED
    return DONE
