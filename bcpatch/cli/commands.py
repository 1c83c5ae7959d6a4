"""The commands: what each hands to the part that does the work.

What each is for stands in `bcpatch.cli.program`, what it takes in `bcpatch.cli.arguments`: its function is called
with the values that were read there, by name, and returns the exit status.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from bcpatch.cli import project
from bcpatch.cli.output import Format, Wrong, complain, progress, report, say, status
from bcpatch.cli.program import DONE, REFUSED, UNCHANGED, WRONG
from bcpatch.diagnostics import Diagnostic, Place, Refused, finding, relative
from bcpatch.model import Patch, Policy

if TYPE_CHECKING:
    from bcpatch.builder import Outcome
    from bcpatch.channels.protocol import Consistency, Scan

Form: TypeAlias = Literal["text", "json"]


# --- making patches ----------------------------------------------------------------


def build(
    paths: Sequence[str],
    output: str,
    base: str | None,
    policy: str | None,
    parent: str | None,
    module: str | None,
    format: Format,
) -> int:
    from bcpatch import patchfile
    from bcpatch.cli import tables

    if output.endswith(".py"):
        raise Wrong(f"{output}: a patch file is not written in the place of a source file")
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


def verify(paths: Sequence[str], base: str | None, policy: str | None, module: str | None, format: Format) -> int:
    from bcpatch import patchfile
    from bcpatch.cli import tables
    from bcpatch.fingerprint import is_same_python, this_interpreter
    from bcpatch.verify import verify as verified

    patches = [path for path in paths if path.endswith(patchfile.SUFFIX)]
    sources = tuple(path for path in paths if not path.endswith(patchfile.SUFFIX))
    found: list[Diagnostic] = []
    lines: list[str] = []
    try:
        for path in patches:
            patch = patchfile.read(path)
            if is_same_python(patch.interpreter, this_interpreter()):
                found += verified(patch)
            else:
                message = f"built by {patch.interpreter}, this is {this_interpreter()}"
                found.append(finding("BCP405", message, Place(path), help="verify it with the Python that it is for"))
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
    paths: Sequence[str], base: str | None, policy: str | None, module: str | None, parent: Patch | None
) -> Outcome:
    """What building a patch of ``paths`` comes to."""
    from bcpatch import builder, files

    if module is not None and len(paths) > 1:
        raise Wrong("--module names one module: give one PATH with it")
    chosen = project.policy(paths, policy)
    return builder.compare(*files.versions(paths, base, module), policy=chosen, parent=parent)


def show(patch: str, disassembled: bool, format: Form) -> int:
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


def audit(repository: str, span: str, format: Form) -> int:
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


def run(folders: Sequence[str], policy: str | None, module: str | None, command: Sequence[str]) -> int:
    from bcpatch.cli import running
    from bcpatch.running import supervise

    program = supervise.program(command, module)
    watched = folders or (program.folder,)
    return supervise.supervise(program, watched, project.policy(watched, policy), running.voice())


def ps(format: Form) -> int:
    from bcpatch.channels import client
    from bcpatch.cli import tables

    found, silent = client.processes()
    if format == "json":
        tables.as_json(found)
    elif found:
        tables.show_processes(found)
    elif not silent:
        say("no process: an application is reachable once it has called bcpatch.runtime.loop()")
    for reason in silent:
        complain(reason)
    return WRONG if silent else DONE


def status_of(pid: int, format: Form) -> int:
    from bcpatch.channels.protocol import StatusReply, StatusRequest
    from bcpatch.cli import tables
    from bcpatch.cli.processes import asked

    reply = asked(pid, StatusRequest(), StatusReply)
    if format == "json":
        tables.as_json(reply.status)
    else:
        tables.show_status(reply.status)
    return DONE


def apply(
    patch: str,
    pids: Sequence[int],
    dry_run: bool,
    consistency: Consistency,
    timeout: float | None,
    scan: Scan,
    format: Format,
) -> int:
    from bcpatch import patchfile
    from bcpatch.channels.protocol import Apply
    from bcpatch.cli.processes import each

    data = patchfile.read_bytes(patch)
    patchfile.decode(data, patch)
    request = Apply(patch=data, consistency=consistency, scan=scan, timeout=timeout, dry_run=dry_run)
    return each(pids, request, format)


def rollback(pid: int, to: int | None, format: Format) -> int:
    from bcpatch.channels.protocol import Rollback
    from bcpatch.cli.processes import each

    return each((pid,), Rollback(to), format)


def demo() -> int:
    from bcpatch import demo as demonstration
    from bcpatch.cli import running

    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        demonstration.demonstrate(running.show)
    except demonstration.Unkept as error:
        complain(str(error))
        return REFUSED
    return DONE


COMMANDS: Final[dict[str, Callable[..., int]]] = {
    "apply": apply,
    "audit": audit,
    "build": build,
    "demo": demo,
    "ps": ps,
    "rollback": rollback,
    "run": run,
    "show": show,
    "status": status_of,
    "verify": verify,
}
