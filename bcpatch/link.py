"""Patch × this process → Plan.

Finds each module, each function of each site, checks what runs there, and resolves the
names that the patch reaches. Changes nothing, runs no code of the application, and says
everything that stands in the way at once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Literal

from bcpatch import patchfile
from bcpatch.diagnostics import Diagnostic, Place, Refused, errors, finding
from bcpatch.model import (
    AdditionEdit,
    Code,
    FunctionEdit,
    ImportEdit,
    Link,
    Module,
    ModulePatch,
    Patch,
    Policy,
    ProgramEdit,
    Site,
)
from bcpatch.process import branches, sources
from bcpatch.process.bring import obstacles
from bcpatch.process.history import History
from bcpatch.process.locate import LinkedModule, LinkedSite, Still, locate
from bcpatch.process.objects import is_module, namespace_of


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A patch linked with this process. Nothing has changed yet.

    ``satisfied`` are sites that already run what the patch brings. ``serial`` is the state
    of the history that it was linked against, ``still`` tells when nobody is inside the code that
    gives way. ``notes`` refuse nothing.
    """

    patch: Patch
    digest: str
    serial: int
    modules: tuple[LinkedModule, ...]
    sites: tuple[LinkedSite, ...]
    still: tuple[Still, ...]
    satisfied: tuple[Site, ...]
    notes: tuple[Diagnostic, ...]


def link(
    patch: Patch,
    history: History,
    *,
    scan: Literal["heap"] | None = None,
    refresh_positions: bool = True,
) -> Plan:
    """Resolve every site and name of a verified patch in this process.

    ``scan="heap"`` looks at every object of the heap for what can't be found otherwise.
    Raises `Refused` with all that stands in the way.
    """
    found: list[Diagnostic] = []
    modules: list[LinkedModule] = []
    for part in patch.modules:
        objects = loaded(part.module)
        if not objects:
            found.append(finding("BCP501", f"module {part.module.name} is not loaded", Place(part.module.path)))
        for one in objects:
            ours, said = branches.decided(part, one, sources.file_of(one))
            found += said
            modules.append(LinkedModule(ours, one, sources.file_of(one), sources.is_on_disk(one, part.source)))
    found += _names(patch, modules)
    for module in modules:
        found += _program(module)
        found += obstacles(module)
    located = locate(modules, history, heap=scan == "heap", positions=refresh_positions)
    found += located.found
    if errors(found):
        raise Refused(found)
    return Plan(
        patch=patch,
        digest=patchfile.digest(patch),
        serial=history.serial,
        modules=tuple(modules),
        sites=located.sites,
        still=located.still,
        satisfied=located.satisfied,
        notes=tuple(found),
    )


def loaded(module: Module) -> list[ModuleType]:
    """The module objects of a module source: it may be loaded under its name and as ``__main__``."""
    found = [sys.modules.get(module.name), sys.modules.get("__main__")]
    main = found[1]
    if not is_module(main) or not _is_main(main, module):
        found[1] = None
    return list({id(one): one for one in found if is_module(one)}.values())


def _is_main(main: ModuleType, module: Module) -> bool:
    spec = namespace_of(main).get("__spec__")
    if spec is not None:
        return bool(spec.name == module.name)
    path = sources.file_of(main).replace("\\", "/")
    return path == module.path or path.endswith("/" + module.path)


def _program(module: LinkedModule) -> Iterator[Diagnostic]:
    """The process that runs this module as its program has run what is guarded; one that imported it has not."""
    for edit in module.part.edits:
        if isinstance(edit, ProgramEdit) and module.object.__name__ == "__main__":
            message = 'this process has run what `if __name__ == "__main__":` guards, and that is changed'
            yield finding("BCP208", message, Place(module.file, edit.line))


# --- names -----------------------------------------------------------------------------


def _names(patch: Patch, modules: Sequence[LinkedModule]) -> Iterator[Diagnostic]:
    """Whether every name that the patch reaches is where it should be."""
    to_come = {name for part in patch.modules for name in _imported_modules(part)}
    brought = {(part.module.name, name) for part in patch.modules for name in _brought(part)}
    for module in modules:
        for needed in module.part.links:
            if (needed.module, needed.name) in brought:
                continue
            if needed.module not in to_come and not _exists(needed):
                message = f"module {needed.module} has no {needed.name} in this process"
                yield finding("BCP505", message, Place(module.file))
        if patch.policy is Policy.STRICT:
            yield from _own_objects(module)


def _brought(part: ModulePatch) -> Iterator[str]:
    """Names that a patch adds to a module."""
    for edit in part.edits:
        if isinstance(edit, AdditionEdit) and not edit.owner:
            yield from edit.names
        elif isinstance(edit, ImportEdit):
            yield edit.binding.name


def _imported_modules(part: ModulePatch) -> Iterator[str]:
    """Modules that the imports of a patch may load or add names to: looked at after these have run."""
    for edit in part.edits:
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
    return "__getattr__" in names or type(module) is not ModuleType


def _own_objects(module: LinkedModule) -> Iterator[Diagnostic]:
    """Imported names that the running module has bound to functions or classes of its own."""
    namespace = module.namespace
    new = {edit.binding.name for edit in module.part.edits if isinstance(edit, ImportEdit)}
    used = frozenset(_used(module.part))
    for one in module.part.imports:
        value = namespace.get(one.name)
        if one.name not in used or one.name in new or not isinstance(value, type | FunctionType):
            continue
        if value.__module__ == module.object.__name__ != one.module:
            message = f"{one.name} is imported from {one.module}, but the running module has one of its own"
            yield finding("BCP509", message, Place(module.file))


def _used(part: ModulePatch) -> Iterator[str]:
    """Names that the code of a patch mentions."""
    queue = [edit.code for edit in part.edits if isinstance(edit, FunctionEdit)]
    while queue:
        code = queue.pop()
        yield from code.names
        queue += [constant for constant in code.constants if isinstance(constant, Code)]
