"""The commands: what each takes, and what it hands to the part that does the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bcpatch import __version__
from bcpatch.cli import project
from bcpatch.cli.output import DONE, FORMATS, UNCHANGED, Format, Wrong, report, say, status
from bcpatch.diagnostics import Diagnostic, Refused, relative
from bcpatch.model import Patch, Policy

if TYPE_CHECKING:
    from bcpatch.builder import Outcome

Command = TypeVar("Command", bound=Callable[..., Any])

_PATHS = click.argument("paths", metavar="PATH...", nargs=-1, required=True)
_BASE = click.option("--base", metavar="OLD", help="What the process runs: a file, a folder or git:REV (default: git:HEAD).")
_POLICY = click.option(
    "--policy",
    type=click.Choice([one.value for one in Policy]),
    help="Which edits are allowed (default: the project's, else strict).",
)
_MODULE = click.option("--module", metavar="NAME", help="The dotted name that the one PATH is imported under.")
_FORMAT = click.option(
    "--format", type=click.Choice(FORMATS), default="text", show_default=True, help="How findings are written."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(prog)s %(version)s")
def bcpatch() -> None:
    """Compile a change to Python source into a verified patch, and load it into running processes."""


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

    try:
        before = patchfile.read(parent) if parent is not None else None
        made = _compared(paths, base, policy, module, before)
        if made.patch is None or not made.patch.modules:
            report(made.diagnostics, format)
            if made.patch is not None:
                say("nothing changed; nothing written", format)
            return status(made.diagnostics) or UNCHANGED
        patchfile.write(made.patch, output)
    except Refused as error:
        report(error.diagnostics, format)
        return status(error.diagnostics)
    report(made.diagnostics, format)
    say(f"{relative(output)}: {summary(made.patch)}", format)
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
    from bcpatch.verify import verify as verified

    patches = [path for path in paths if path.endswith(patchfile.SUFFIX)]
    sources = tuple(path for path in paths if not path.endswith(patchfile.SUFFIX))
    found: list[Diagnostic] = []
    lines: list[str] = []
    try:
        for path in patches:
            patch = patchfile.read(path)
            found += verified(patch)
            lines.append(f"{relative(path)}: {summary(patch)}")
        if sources:
            made = _compared(sources, base, policy, module, None)
            found += made.diagnostics
            lines.append(summary(made.patch) if made.patch and made.patch.modules else "nothing changed")
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
    new = [source for path in paths for source in builder.collect(path, module)]
    old = [
        source
        for path in paths
        for source in builder.base(path, base, tuple(one for one in builder.collect(path, module)))
    ]
    return builder.compare(tuple(old), tuple(new), policy=chosen.value, parent=parent)
