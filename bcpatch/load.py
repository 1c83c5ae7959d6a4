"""The whole way of a patch into a process: read, check, verify, link, apply.

Each step is another module's. What is here is their order, the one lock around them,
and what a process demands of a patch before its content matters: the Python that it
was compiled by, the patch that came before it, the policy that the process is pinned to.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TypeAlias

from bcpatch import patchfile
from bcpatch.apply import apply as swap
from bcpatch.diagnostics import Diagnostic, Refused, errors, finding
from bcpatch.fingerprint import this_interpreter
from bcpatch.history import Generation, History
from bcpatch.link import Plan, link
from bcpatch.model import Patch, Policy
from bcpatch.verify import verify

Source: TypeAlias = "str | os.PathLike[str] | bytes | Patch"


def read(source: Source) -> Patch:
    """The patch that ``source`` is, holds or names. Raises `PatchFileError`."""
    if isinstance(source, Patch):
        return source
    if isinstance(source, bytes):
        return patchfile.decode(source)
    return patchfile.read(source)


def apply(
    source: Source,
    history: History,
    pinned: Policy | None = None,
    *,
    consistency: str = "immediate",
    scan: str = "references",
    timeout: float | None = None,
    require_instant: bool = False,
) -> Generation:
    """Bring the process to what a patch says, at one instant. Raises `Refused`, and then nothing has changed."""
    patch = read(source)
    with history.exclusive():
        plan = _plan(patch, history, pinned, scan)
        return swap(plan, history, consistency=consistency, timeout=timeout, require_instant=require_instant)


def rehearse(source: Source, history: History, pinned: Policy | None = None, *, scan: str = "references") -> Plan:
    """What `apply` would do, found out without changing anything. Raises `Refused` as it would."""
    patch = read(source)
    with history.exclusive():
        return _plan(patch, history, pinned, scan)


def _plan(patch: Patch, history: History, pinned: Policy | None, scan: str) -> Plan:
    refused = tuple(_demands(patch, history, pinned)) or errors(verify(patch))
    if refused:
        raise Refused(refused)
    return link(patch, history, scan="heap" if scan == "heap" else None)


def _demands(patch: Patch, history: History, pinned: Policy | None) -> Iterator[Diagnostic]:
    """What this process refuses whatever the patch does."""
    here = this_interpreter()
    built = patch.interpreter
    if (built.implementation, built.version, built.magic) != (here.implementation, here.version, here.magic):
        yield finding("BCP405", f"built by {built}, this process is {here}")
    elif built.optimization != here.optimization:
        yield finding("BCP406", f"built by {built}, this process is {here}")
    last = history.generations[history.current].patch
    if patch.parent is not None and patch.parent != last:
        running = f"generation {history.current} came with {last}" if last else "no patch is applied here"
        yield finding("BCP407", f"it follows the patch {patch.parent}; {running}")
    if pinned is Policy.STRICT and patch.policy is not Policy.STRICT:
        yield finding("BCP409", f"the patch is {patch.policy.value}; this process takes strict ones only")
