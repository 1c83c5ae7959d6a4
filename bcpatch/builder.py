"""Two versions of sources in, `Patch` out: compare, verify, assemble. What ``bcpatch build`` does.

The function `build` here is ``bcpatch.build``. Nothing here knows a process, nor where a source was read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from bcpatch import across, files, fingerprint, narrow, patchfile, splices, verify
from bcpatch import compile as compiler
from bcpatch.diagnostics import NOWHERE, Diagnostic, Place, Refused, errors, finding
from bcpatch.model import CreationEdit, Interpreter, Module, ModulePatch, Patch, Policy
from bcpatch.narrow import Compared
from bcpatch.source import shape, takers
from bcpatch.source.instances import Gained
from bcpatch.source.outline import Source, Unit, outline


class Outcome(msgspec.Struct, frozen=True):
    """What a comparison came to: a patch, unless an error among the diagnostics refuses it.

    ``patch.modules`` is empty where nothing changed.
    """

    patch: Patch | None
    diagnostics: tuple[Diagnostic, ...]


def build(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    base: str | os.PathLike[str] | None = None,
    policy: str | Policy = Policy.STRICT,
    *,
    parent: Patch | None = None,
    module: str | None = None,
    optimization: int | None = None,
) -> Patch:
    """Compile a change to Python source into a verified patch.

    ``path`` is a file, a package's folder or an import root, or several of these.
    ``base`` is the source that the process runs: a file, a folder or ``git:REV``; by
    default the version in git's HEAD, and without one every function of a file is an
    edit. ``module`` names the module of a lone file where its path can't tell.
    ``optimization`` is the level of the process's ``-O`` (default: this process's).

    Returns a patch without modules where nothing changed. Raises Refused with every
    reason against the patch.
    """
    paths = [os.fspath(path)] if isinstance(path, (str, os.PathLike)) else [os.fspath(one) for one in path]
    old, new = files.versions(paths, None if base is None else os.fspath(base), module)
    outcome = compare(old, new, policy=policy, parent=parent, optimization=optimization)
    if outcome.patch is None:
        raise Refused(outcome.diagnostics)
    return outcome.patch


# --- comparing ------------------------------------------------------------------------------


def compare(
    old: Iterable[Source],
    new: Iterable[Source],
    *,
    policy: str | Policy = Policy.STRICT,
    parent: Patch | None = None,
    optimization: int | None = None,
) -> Outcome:
    """Compare two versions of some module sources and assemble the verified patch between them.

    A new module travels in a linked patch; otherwise a module of one version alone is told by a note, unless there
    is no old version at all: then every function is an edit. Never raises for what is in the sources.
    """
    sides = tuple(old), tuple(new)
    patch, found = _assembled(*sides, Policy(policy), parent, optimization)
    return _verified(patch, [*found, *across.told(patch, sides[1], found)], *sides)


def draft(
    old: Iterable[Source], new: Iterable[Source], *, policy: str | Policy, optimization: int | None = None
) -> Outcome:
    """Do as `compare` does, but leave the verification to the process that the patch goes to.

    For those who send it at once, and look for the reasons with `compare` where it is refused. Where something
    is against the patch already, all that is comes back as from there. What other modules make of it
    (`bcpatch.across.told`) is not looked for.
    """
    sides = tuple(old), tuple(new)
    patch, found = _assembled(*sides, Policy(policy), None, optimization)
    return _verified(patch, found, *sides) if errors(found) else Outcome(patch, tuple(found))


def _verified(patch: Patch, found: Iterable[Diagnostic], old: Iterable[Source], new: Iterable[Source]) -> Outcome:
    """What comes of a patch, when the verifier has said what it finds besides all that was ``found`` before."""
    digests = fingerprint.Digests()
    changed = {part.module for part in patch.modules}
    for source in (*old, *new):
        if source.module in changed:
            digests.add(source.data, source.digest)
    patch, more = verify.verified(patch, digests)
    every = (*found, *_at_paths(more, {source.module: source.path for source in new}))
    return Outcome(None if errors(every) else patch, every)


def _assembled(
    old: Iterable[Source], new: Iterable[Source], policy: Policy, parent: Patch | None, optimization: int | None
) -> tuple[Patch, list[Diagnostic]]:
    """The patch between two versions, not verified, and what is known against it."""
    level = sys.flags.optimize if optimization is None else optimization
    before = {source.module: source for source in old}
    after = {source.module: source for source in new}
    found: list[Diagnostic] = []
    gained: dict[Module, Sequence[Gained]] = {}
    modules = []
    for module, source in after.items():
        base = before.get(module)
        if base is not None and base.data == source.data:
            continue
        is_new = base is None and bool(before)
        if is_new and policy is Policy.STRICT:
            message = f"module `{module.name}` is not in the base: processes import it from their disk"
            found.append(finding("BCP214", message, Place(source.path)))
            continue
        try:
            part = _new_module(source, level) if is_new else _changed(base, source, policy, level, found, gained)
        except Refused as refused:
            found.extend(refused.diagnostics)
            continue
        except RecursionError:
            message = "an expression in it is nested too deeply to be compared"
            found.append(finding("BCP001", message, Place(source.path), help="split the expression"))
            continue
        if part is not None:
            modules.append(part)
    for module, source in before.items():
        if module not in after:
            message = f"module `{module.name}` is gone: processes that imported it keep it"
            found.append(finding("BCP214", message, Place(source.path)))
    if after and not before:
        found.append(_without_base(list(after.values())))
    found.extend(across.run_too_early(modules, after, level))
    for owner, some in gained.items():
        found.extend(across.read_elsewhere(owner, some, modules, before, after, level))
    interpreter = _interpreter(level)
    patch = Patch(
        interpreter,
        policy,
        1 if parent is None else parent.generation + 1,
        None if parent is None else patchfile.digest(parent),
        tuple(sorted(modules, key=lambda part: part.module.name)),
    )
    return patch, found


def _without_base(sources: Sequence[Source]) -> Diagnostic:
    what = f"`{sources[0].module.name}`" if len(sources) == 1 else f"{len(sources)} modules"
    message = f"every function of {what} is in the patch, and nothing else is compared"
    return finding("BCP218", message, Place(sources[0].path) if len(sources) == 1 else NOWHERE)


def prepare(source: Source, optimization: int) -> Iterator[None]:
    """Find out, step by step, what `compare` will ask of a source when its next version is there."""
    verify.prepare(source.module, source.data)
    yield
    yield from narrow.prepare(source, optimization)
    takers.prepare(source, optimization)


def _interpreter(optimization: int) -> Interpreter:
    running = fingerprint.this_interpreter()
    return Interpreter(running.implementation, running.version, running.magic, optimization)


def _changed(
    base: Source | None,
    source: Source,
    policy: Policy,
    level: int,
    found: list[Diagnostic],
    gained: dict[Module, Sequence[Gained]],
) -> ModulePatch | None:
    """What a patch changes in a module; the verifier finds the names that it links to. None for nothing."""
    changed = _compared(base, source, policy, level)
    found.extend(changed.diagnostics)
    if changed.gained:
        gained[source.module] = changed.gained
    if not changed.edits:
        return None
    return ModulePatch(
        source.module,
        None if base is None else base.digest,
        source.digest,
        changed.imports,
        None,
        changed.edits,
        source.data,
        () if base is None else splices.between(source.data, base.data),
        changed.turns,
    )


def _compared(base: Source | None, source: Source, policy: Policy, level: int) -> Compared:
    """The difference between two versions of a module: between what differs, or the whole where that must be seen."""
    found = None if base is None else narrow.compared(base, source, policy, level)
    if found is not None:
        return found
    new = outline(source, level)
    old = None if base is None else _base_unit(base, level)
    changed = compiler.changes(old, new, policy, level)
    imports = shape.imports(new.tree, source.module, new.own_names)
    return Compared(changed.edits, changed.diagnostics, imports, changed.turns, changed.gained)


def _new_module(source: Source, level: int) -> ModulePatch:
    """The part for a module that the base does not have. Raises Refused where it is no Python source."""
    new = outline(source, level)
    imports = shape.imports(new.tree, source.module, new.own_names)
    return ModulePatch(source.module, None, source.digest, imports, None, (CreationEdit(),), source.data, ())


def _base_unit(base: Source, level: int) -> Unit:
    try:
        return outline(base, level)
    except Refused as refused:
        message = f"the base does not compile: {refused.diagnostics[0].message}"
        raise Refused([finding("BCP005", message, Place(base.path, refused.diagnostics[0].line))]) from refused


def _at_paths(found: Iterable[Diagnostic], paths: dict[Module, str]) -> Iterator[Diagnostic]:
    """Findings of the verifier, which knows modules only, at the paths that were read."""
    shown = {module.path: path for module, path in paths.items()}
    for one in found:
        yield msgspec.structs.replace(one, file=shown.get(one.file, one.file))
