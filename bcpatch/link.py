"""Patch × this process → Plan.

Finds each module, each function of each site, checks what runs there, and resolves the
names that the patch reaches. Changes nothing, runs no code of the application, and says
everything that stands in the way at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final, Literal

import msgspec

from bcpatch import fingerprint, patchfile
from bcpatch.diagnostics import Diagnostic, Place, Refused, errors, finding
from bcpatch.model import (
    AdditionEdit,
    Code,
    Edit,
    FunctionEdit,
    ImportEdit,
    Link,
    Module,
    ModulePatch,
    Patch,
    Policy,
    PositionEdit,
    ProgramEdit,
    RemovalEdit,
    Site,
)
from bcpatch.process import arrivals, branches, sources
from bcpatch.process.bring import obstacles
from bcpatch.process.guards import NO_NAMES, Names
from bcpatch.process.history import History
from bcpatch.process.linked import LinkedModule, LinkedSite, Still
from bcpatch.process.locate import locate
from bcpatch.process.naming import leading
from bcpatch.process.objects import class_namespace, functions_of, is_class, is_function, is_module, namespace_of
from bcpatch.process.records import Version
from bcpatch.process.swap import Change, Kind, Slot, held


class Plan(msgspec.Struct, frozen=True, eq=False):
    """A patch linked with this process. Nothing has changed yet.

    ``satisfied`` are sites that already run what the patch brings. ``serial`` is the state
    of the history that it was linked against, ``still`` tells when nobody is inside the code that
    gives way, that of sites that are alone aside. ``notes`` refuse nothing. ``versions`` are the source
    texts that the patch has, ``pending`` those parts of it whose modules are not imported; ``imports`` tells
    what ``sys.modules`` had for each module, and ``names`` what led to its functions: both must have that still when
    the patch goes live.
    """

    patch: Patch
    digest: str
    serial: int
    modules: tuple[LinkedModule, ...]
    sites: tuple[LinkedSite, ...]
    still: tuple[Still, ...]
    displaced: frozenset[str]
    satisfied: tuple[Site, ...]
    notes: tuple[Diagnostic, ...]
    versions: tuple[Version, ...] = ()
    pending: tuple[ModulePatch, ...] = ()
    imports: tuple[Change, ...] = ()
    names: Names = NO_NAMES


def link(
    patch: Patch,
    history: History,
    *,
    digest: str | None = None,
    scan: Literal["heap"] | None = None,
    refresh_positions: bool = True,
) -> Plan:
    """Resolve every site and name of a verified patch in this process.

    ``digest`` names the patch, where that is known already. ``scan="heap"`` looks at every object of the
    heap for what can't be found otherwise.
    Raises `Refused` with all that stands in the way.
    """
    parts = _parts(patch, history, refresh_positions)
    found = [*parts.said, *_names(patch, parts.linked)]
    for module in parts.linked:
        found += _program(module)
        found += _made_before(module)
        found += obstacles(module, history)
    located = locate(parts.linked, history, heap=scan == "heap", positions=refresh_positions)
    found += located.found
    if errors(found):
        raise Refused(found)
    return Plan(
        patch=patch,
        digest=digest or patchfile.digest(patch),
        serial=history.serial,
        modules=tuple(parts.linked),
        sites=located.sites,
        still=located.still,
        displaced=located.displaced,
        satisfied=located.satisfied,
        notes=tuple(found),
        versions=tuple(parts.versions),
        pending=tuple(parts.pending),
        imports=tuple(map(_known_import, patch.modules)),
        names=leading(_named(located.sites)),
    )


def _named(sites: Iterable[LinkedSite]) -> Iterator[tuple[dict[str, Any], Site]]:
    """The namespaces and names of sites whose code changes."""
    return ((one.module.namespace, one.edit.site) for one in sites if isinstance(one.edit, FunctionEdit))


def loaded(module: Module, others: Container[str] = ()) -> list[ModuleType]:
    """The module objects of a module source: it may be loaded under its name, as ``__main__``, and under other names.

    ``others`` are names that are of module sources of their own.
    """
    found = [sys.modules.get(module.name), sys.modules.get("__main__")]
    main = found[1]
    if not is_module(main) or not _is_main(main, module):
        found[1] = None
    known = {id(one): one for one in found if is_module(one)}
    known.update((id(one), one) for one in _under_other_names(list(known.values()), others))
    return list(known.values())


def _under_other_names(known: Sequence[ModuleType], others: Container[str]) -> Iterator[ModuleType]:
    """Modules that were executed from the file of one of those known, under another name."""
    files = {os.path.realpath(file) for file in map(sources.file_of, known) if file}
    last = tuple(os.path.sep + os.path.basename(file) for file in files)
    for name, one in list(sys.modules.items()) if files else ():
        if (
            is_module(one) and name not in others and "__builtins__" in namespace_of(one)
        ):  # what is to be lazy is not yet
            file = sources.file_of(one)
            if file.endswith(last) and os.path.realpath(file) in files:
                yield one


def _keeps_file(part: ModulePatch, module: ModuleType, history: History, refresh_positions: bool) -> bool:
    """Whether all code under the name of a module's file can stand in the new text from now on.

    The file must hold it, and what is not replaced must move to its lines: the patch knows how from its base alone.
    """
    if not refresh_positions and PositionEdit in map(type, part.edits):
        return False
    shown = history.shown.get(sources.file_of(module))
    if shown is not None and shown.left and part.replaces is not None and shown.text != part.source:
        if shown.text is None or fingerprint.blake(shown.text) != part.replaces:
            return False
    return sources.is_on_disk(module, part.source)


def _is_main(main: ModuleType, module: Module) -> bool:
    spec = namespace_of(main).get("__spec__")
    if spec is not None:
        return bool(spec.name == module.name)
    path = sources.file_of(main).replace("\\", "/")
    return path == module.path or path.endswith("/" + module.path)


def _program(module: LinkedModule) -> Iterator[Diagnostic]:
    """The process that runs this module as its program has run what is guarded; one that imported it has not."""
    for edit in module.part.changes:
        if isinstance(edit, ProgramEdit) and module.object.__name__ == "__main__":
            message = 'this process has run what `if __name__ == "__main__":` guards, and that is changed'
            yield finding("BCP208", message, module.place(edit.line))


_MAKES: Final = {"__init__": "instances", "__new__": "instances", "__init_subclass__": "subclasses"}


def _made_before(module: LinkedModule) -> Iterator[Diagnostic]:
    """What the old code of a class has made, and the new code would have made otherwise."""
    for edit in module.part.changes:
        owner, names, line = _methods(edit)
        site = edit.site if isinstance(edit, FunctionEdit) else None
        for name in names:
            if owner and name in _MAKES:
                message = f"{_MAKES[name]} of `{owner}` that exist stay as the `{name}` of before made them"
                yield finding("BCP521", message, module.place(line), site=site)
            elif site is not None and _is_kept_by_objects(module, owner, name):
                message = f"what `{name}` has stored in objects of `{owner}` that asked for it stays as it was computed"
                yield finding("BCP521", message, module.place(line), site=site)


def _is_kept_by_objects(module: LinkedModule, owner: str, name: str) -> bool:
    """Whether a method computes what its object then keeps: `functools.cached_property`, and others of that name."""
    made = module.owner(owner)
    return made is not None and type(class_namespace(made).get(name)).__name__ == "cached_property"


def _methods(edit: Edit) -> tuple[str, tuple[str, ...], int]:
    """The class, the names and the line of methods that an edit adds, changes or removes."""
    match edit:
        case FunctionEdit(site=site):
            owner, _, name = site.qualname.rpartition(".")
            return owner, (name,) if edit.runs_otherwise else (), edit.code.first_line
        case AdditionEdit(owner=owner, names=names, line=line):
            return owner, names, line
        case RemovalEdit(owner=owner, name=name):
            return owner, (name,), 0
    return "", (), 0


# --- modules that are not there, or not yet -------------------------------------------------


class _Parts(msgspec.Struct, frozen=True):
    """What becomes of the parts of a patch: those whose modules are loaded, those that wait for their import, the text
    that each brings, and what is to be said of them.
    """

    linked: list[LinkedModule] = msgspec.field(default_factory=list)
    pending: list[ModulePatch] = msgspec.field(default_factory=list)
    versions: list[Version] = msgspec.field(default_factory=list)
    said: list[Diagnostic] = msgspec.field(default_factory=list)


def _parts(patch: Patch, history: History, refresh_positions: bool) -> _Parts:
    found = _Parts()
    names = frozenset(part.module.name for part in patch.modules)
    for part in patch.modules:
        linked, said = _linked(part, names, history, refresh_positions)
        found.said.extend(said)
        version = _version(part, patch.policy, linked)
        found.versions.append(version)
        unfit = [*_half_imported(linked), *_run_apart(linked)]
        if unfit:
            found.said.extend(unfit)
        elif not linked:
            found.pending.append(part)
            found.said.extend(_later(part, version, history))
        elif part.is_new:
            found.said.extend(_there_already(linked, history))
        else:
            found.linked.extend(linked)
    return found


def _known_import(part: ModulePatch) -> Change:
    slot = Slot(Kind.NAMESPACE, sys.modules, part.module.name)
    there = held(slot)
    return Change(slot, there, there)


def _linked(
    part: ModulePatch, others: Container[str], history: History, refresh_positions: bool
) -> tuple[list[LinkedModule], list[Diagnostic]]:
    """The loaded modules that a part goes into, and what is to be said of branches that did not run in them."""
    linked: list[LinkedModule] = []
    found: list[Diagnostic] = []
    for one in loaded(part.module, others):
        ours, said = branches.decided(part, one, sources.file_of(one))
        found += said
        keeps = _keeps_file(part, one, history, refresh_positions)
        linked.append(LinkedModule(ours, one, sources.file_of(one), keeps))
    return linked, found


def _version(part: ModulePatch, policy: Policy, linked: Sequence[LinkedModule]) -> Version:
    is_on_disk = bool(linked) and all(one.on_disk or sources.is_on_disk(one.object, part.source) for one in linked)
    return arrivals.version(part, policy, is_on_disk=is_on_disk)


def _half_imported(linked: Sequence[LinkedModule]) -> Iterator[Diagnostic]:
    """A module that executes still would bind the old code after the swap."""
    for module in linked:
        if getattr(module.namespace.get("__spec__"), "_initializing", False):
            yield finding("BCP519", f"module {module.object.__name__} is executing its import", Place(module.file))


def _run_apart(linked: Sequence[LinkedModule]) -> Iterator[Diagnostic]:
    """A module whose functions read another namespace than its own: what is stored in its own, they would not see.

    So it is with the main module of a process that ``multiprocessing`` has spawned (``_fixup_main_from_path`` in
    ``Lib/multiprocessing/spawn.py``): it has a copy of what the code has made.
    """
    for module in linked:
        name = module.object.__name__
        own = (one for one in functions_of(module.namespace, name) if one.__module__ == name)
        first = next((one for one in own if one.__globals__.get("__name__") == name), None)
        if first is not None and first.__globals__ is not module.namespace:
            message = (
                f"`{first.__qualname__}` of `{name}` reads other names than those of the module: its code ran apart"
            )
            yield finding("BCP523", message, module.place())


def _later(part: ModulePatch, version: Version, history: History) -> Iterator[Diagnostic]:
    """What of the import of a module, which is yet to come, can be told now: a note, or why it would fail."""
    name, place = part.module.name, Place(part.module.path)
    stands = sys.modules.get(name)
    if stands is not None:  # and is no module, else it would have been found
        message = f"a `{type(stands).__qualname__}` object stands in the place of module {name}: its code ran apart"
        yield finding("BCP523", message, place, help="restart the process: the functions that ran can't be found")
        return
    line = arrivals.lines(history, history.current).get(name, ())
    line = (*line, (len(history.records), version))
    spec = arrivals.look(name)
    is_new = any(one.is_new for _, one in line)
    if spec is None and not is_new:
        yield finding("BCP501", f"module {name} is not imported, and the process has no file of it", place)
        return
    if part.replaces is None and not part.is_new:
        message = f"module {name} is not imported, and the patch was built without its base"
        yield finding("BCP501", message, place, help="build the patch against the source that the process has")
        return
    before = line[-2][1].brings if len(line) > 1 else part.replaces
    if before not in (part.replaces, part.brings):
        message = f"the text {before} is pending for module {name} already, and the patch replaces {part.replaces}"
        yield finding("BCP516", message, place, help="build against the sources of the patch that was applied last")
        return
    data = arrivals.content(spec)
    refused = data if isinstance(data, Diagnostic) else arrivals.obstacle(line, data, _origin(spec, part))
    if refused is not None:
        yield refused
        return
    what = "is new" if part.is_new else "is not imported yet"
    yield finding("BCP517", f"module {name} {what}: the first import of it runs the text of this patch", place)


def _origin(spec: ModuleSpec | None, part: ModulePatch) -> str:
    return str((spec and spec.origin) or part.module.path)


def _there_already(linked: Sequence[LinkedModule], history: History) -> Iterator[Diagnostic]:
    for module in linked:
        if not arrivals.is_the_same(module.part, module.object, history):
            message = f"module {module.part.module.name} is loaded already, and it is not the one that the patch brings"
            yield finding("BCP513", message, Place(module.file))


# --- names -----------------------------------------------------------------------------


def _names(patch: Patch, modules: Sequence[LinkedModule]) -> Iterator[Diagnostic]:
    """Whether every name that the patch reaches is where it should be."""
    to_come = {name for part in patch.modules for name in _imported_modules(part)}
    brought = {(part.module.name, name) for part in patch.modules for name in _brought(part)}
    for module in modules:
        for needed in module.part.needed:
            if (needed.module, needed.name) in brought:
                continue
            if f"{needed.module}.{needed.name}" in to_come:
                continue
            if needed.module not in to_come and not _exists(needed):
                message = f"module {needed.module} has no {needed.name} in this process"
                yield finding("BCP505", message, Place(module.file))
        if patch.policy is Policy.STRICT:
            yield from _own_objects(module)


def _brought(part: ModulePatch) -> Iterator[str]:
    """Names that a patch adds to a module."""
    for edit in part.changes:
        if isinstance(edit, AdditionEdit) and not edit.owner:
            yield from edit.names
        elif isinstance(edit, ImportEdit):
            yield edit.binding.name


def _imported_modules(part: ModulePatch) -> Iterator[str]:
    """Modules that the imports of a patch may load or add names to: looked at after these have run."""
    for edit in part.changes:
        if isinstance(edit, ImportEdit):
            yield edit.binding.submodule or edit.binding.module


def _exists(needed: Link) -> bool:
    module = sys.modules.get(needed.module)
    if module is None:
        return False
    names = namespace_of(module)
    if needed.name in names or f"{needed.module}.{needed.name}" in sys.modules:
        return True
    # a module that makes its names when asked (PEP 562) is asked when the patch is prepared, not here
    return "__getattr__" in names or type(module) is not ModuleType or hasattr(ModuleType, needed.name)


def _own_objects(module: LinkedModule) -> Iterator[Diagnostic]:
    """Imported names that the running module has bound to functions or classes of its own."""
    namespace = module.namespace
    new = {edit.binding.name for edit in module.part.changes if isinstance(edit, ImportEdit)}
    used = frozenset(_used(module.part))
    for one in module.part.imports:
        value = namespace.get(one.name)
        if one.name not in used or one.name in new or not (is_class(value) or is_function(value)):
            continue
        if value.__module__ == module.object.__name__ != one.module:
            message = f"{one.name} is imported from {one.module}, but the running module has one of its own"
            yield finding("BCP509", message, Place(module.file))


def _used(part: ModulePatch) -> Iterator[str]:
    """Names that the code of a patch mentions."""
    queue = [edit.code for edit in part.changes if isinstance(edit, FunctionEdit)]
    while queue:
        code = queue.pop()
        yield from code.names
        queue += [constant for constant in code.constants if isinstance(constant, Code)]
