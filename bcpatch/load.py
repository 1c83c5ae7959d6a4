"""The whole way of a patch into a process: read, check, verify, link, apply.

Each step is another module's. What is here is their order, the one lock around them,
and what a process demands of a patch before its content matters: the Python that it
was compiled by, the patch that came before it, the policy that the process is pinned to.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from traceback import clear_frames
from types import TracebackType
from typing import Any, TypeAlias

import msgspec
from msgspec import structs
from msgspec.structs import replace

from bcpatch import patchfile
from bcpatch.apply import apply as swap
from bcpatch.apply import rollback as back
from bcpatch.diagnostics import Diagnostic, Refused, errors, finding
from bcpatch.exchange import hooks
from bcpatch.exchange.hooks import Update
from bcpatch.exchange.standing import left_behind
from bcpatch.fingerprint import Digests, is_same_python, this_interpreter
from bcpatch.link import Plan, link, loaded
from bcpatch.model import ClassPositionEdit, FunctionEdit, ModulePatch, Patch, Policy, Site
from bcpatch.process import sources
from bcpatch.process.collector import fewer_collections
from bcpatch.process.history import History
from bcpatch.process.lineages import Lineage
from bcpatch.process.records import Generation, Record
from bcpatch.process.swap import Kind
from bcpatch.verify import verified


class Received(msgspec.Struct, frozen=True):
    """A patch, the digest that names it, and digests of texts as far as they are known."""

    patch: Patch
    digest: str
    texts: Digests


Source: TypeAlias = "str | os.PathLike[str] | bytes | Patch | Received"


class Rehearsal(msgspec.Struct, frozen=True):
    """The sites that a patch would switch, and the notes that would go with it."""

    sites: tuple[Site, ...]
    notes: tuple[Diagnostic, ...]


def receive(source: Source) -> Received:
    """The patch that ``source`` is, holds or names. Raises `PatchFileError`."""
    if isinstance(source, Received):
        return source
    if isinstance(source, Patch):
        return Received(source, patchfile.digest(source), Digests())
    name = "" if isinstance(source, bytes) else os.fspath(source)
    data = source if isinstance(source, bytes) else patchfile.read_bytes(source)
    return Received(patchfile.decode(data, name), patchfile.digest_of(data), Digests())


def completed(data: bytes) -> Received | None:
    """The patch in some bytes, which leave out the texts of its modules, with those that the files of these hold.

    None where a module is not loaded, or its file holds another text. Raises `PatchFileError`.
    """
    patch = patchfile.decode(data)
    texts = Digests()
    parts = [one for part in patch.modules if (one := _with_text(part, texts)) is not None]
    if len(parts) < len(patch.modules):
        return None
    return Received(structs.replace(patch, modules=tuple(parts)), patchfile.digest_of(data), texts)


def _with_text(part: ModulePatch, texts: Digests) -> ModulePatch | None:
    for module in loaded(part.module):
        text = sources.on_disk(module)
        if text is not None and texts.of(text) == part.brings:
            return structs.replace(part, source=text)
    return None


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
    received = receive(source)
    with _alone(history):
        how = {"consistency": consistency, "timeout": timeout, "require_instant": require_instant}
        with fewer_collections(_edits(received.patch)):
            return _applied(received, history, pinned, scan, how)


def rollback(history: History, to: int | None = None) -> Generation:
    """Bring the process to what it was in generation ``to``; None is the one before the current one.

    Raises `Refused`, and then nothing has changed.
    """
    with _alone(history):
        return _rolled_back(history, to)


def rehearse(source: Source, history: History, pinned: Policy | None = None, *, scan: str = "references") -> Rehearsal:
    """What `apply` would do, found out without changing anything. Raises `Refused` as it would."""
    received = receive(source)
    with _alone(history), fewer_collections(_edits(received.patch)):
        return _rehearsed(received, history, pinned, scan)


@contextmanager
def _alone(history: History) -> Iterator[None]:
    """Be the only one that links and applies, and leave no reference to what was linked.

    A reference that lives on when the next one comes would have to be accounted for. So
    plans are variables of functions that have returned by then, and a traceback, which
    keeps the variables of its frames, is emptied.
    """
    with history.exclusive():
        try:
            yield
        except BaseException as raised:
            error: BaseException | None = raised
            while error is not None:
                clear_frames(error.__traceback__)
                _clear_callers(error.__traceback__)
                error = error.__cause__ or error.__context__
            raise


def _clear_callers(trace: TracebackType | None) -> None:
    """Empty the frames of bcpatch that called what a traceback begins with: whoever keeps the one keeps the others."""
    frame = None if trace is None else trace.tb_frame.f_back
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("bcpatch."):
            with suppress(RuntimeError):  # it is executing still
                frame.clear()
        frame = frame.f_back


def _applied(
    received: Received, history: History, pinned: Policy | None, scan: str, how: Mapping[str, Any]
) -> Generation:
    plan = _plan(received, history, pinned, scan)
    changed = {site.edit.site: site.lineage for site in plan.sites if isinstance(site.edit, FunctionEdit)}
    update = Update("before", len(history.records), history.current, tuple(changed))
    touched = [vars(module.object) for module in plan.modules if _means_something(module.part)]
    hooks.before(update, touched)
    done = swap(plan, history, **how)
    generation = _noted(done, (*hooks.after(update, touched), *left_behind(history, changed.values())))
    if generation.notes != done.notes:
        history.records.note(generation.notes)
    return generation


def _rolled_back(history: History, to: int | None) -> Generation:
    number = history.records.parent(history.current) if to is None and history.current else to
    if number is None or not 0 <= number < len(history.records):
        return back(history, to)  # it refuses, with the reason
    changed, touched = _touched(history, history.way(number).records)
    sites = dict.fromkeys(history.lineages.site(one, number) for one in changed)
    update = Update("before", number, history.current, tuple(sites), rollback=True)
    with fewer_collections(len(changed)):
        hooks.before(update, touched)
        done = back(history, number)
    return _noted(done, (*hooks.after(update, touched), *left_behind(history, changed)))


def _rehearsed(received: Received, history: History, pinned: Policy | None, scan: str) -> Rehearsal:
    plan = _plan(received, history, pinned, scan)
    return Rehearsal(tuple(one.edit.site for one in plan.sites), plan.notes)


def _plan(received: Received, history: History, pinned: Policy | None, scan: str) -> Plan:
    demanded = tuple(_demands(received.patch, history, pinned))
    if demanded:
        raise Refused(demanded)
    patch, found = verified(received.patch, received.texts)
    refused = errors(found)
    if refused:
        raise Refused(refused)
    return link(patch, history, digest=received.digest, scan="heap" if scan == "heap" else None)


def _edits(patch: Patch) -> int:
    return sum(len(part.edits) for part in patch.modules)


def _demands(patch: Patch, history: History, pinned: Policy | None) -> Iterator[Diagnostic]:
    """What this process refuses whatever the patch does."""
    here = this_interpreter()
    built = patch.interpreter
    if not is_same_python(built, here):
        yield finding("BCP405", f"built by {built}, this process is {here}")
    elif built.optimization != here.optimization:
        yield finding("BCP406", f"built by {built}, this process is {here}")
    last = history.records.patch(history.current)
    if patch.parent is not None and patch.parent != last:
        running = f"generation {history.current} came with {last}" if last else "no patch is applied here"
        yield finding("BCP407", f"it follows the patch {patch.parent}; {running}")
    if pinned is Policy.STRICT and patch.policy is not Policy.STRICT:
        yield finding("BCP409", f"the patch is {patch.policy.value}; this process takes strict ones only")


# --- what hooks are told -----------------------------------------------------------------


def _means_something(part: ModulePatch) -> bool:
    """Whether a patch does more to a module than moving its lines."""
    return any(not isinstance(edit, ClassPositionEdit) for edit in part.changes)


def _touched(history: History, records: Sequence[Record]) -> tuple[list[Lineage], list[Mapping[str, Any]]]:
    """The sites that these records changed, and the modules that they changed something of."""
    done = [record.generation for record in records]
    sites = dict.fromkeys(history.lineages.of(change.site, one.parent) for one in done for change in one.sites)
    found = [target.function.__globals__ for record in records for target in record.targets]
    found += [one.slot.owner for record in records for one in record.changes if one.slot.kind is Kind.NAMESPACE]
    return list(sites), list({id(namespace): namespace for namespace in found}.values())


def _noted(generation: Generation, found: tuple[Diagnostic, ...]) -> Generation:
    return replace(generation, notes=generation.notes + found)
