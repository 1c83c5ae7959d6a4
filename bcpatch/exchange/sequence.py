"""In which order the modules of a patch are brought: what one imports from another must be there.

Knows what the parts of a patch import and add, and nothing of how that is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from bcpatch.model import AdditionEdit, Import, ImportEdit, ModulePatch
from bcpatch.process.linked import LinkedModule


def imported_first(modules: Sequence[LinkedModule], pending: Sequence[ModulePatch]) -> list[LinkedModule]:
    """Modules in an order in which each comes after those that it imports, as far as there is one.

    Where modules import each other, who takes a name that is new comes after the one that adds it.
    Those that are ``pending`` are no part of it, but what they import comes first as well.
    """
    if len(modules) < 2:
        return list(modules)
    parts = [*(module.part for module in modules), *pending]
    names = [part.module.name for part in parts]
    for edges in ({part.module.name: [*_imports(part.imports)] for part in parts}, _taken_anew(parts)):
        entered: set[str] = set()
        names = [one for name in names for one in _after_imports(name, edges, entered)]
    return [module for name in names for module in modules if module.part.module.name == name]


def _imports(some: Iterable[Import]) -> Iterator[str]:
    """The modules that import statements may load, and those that they take names of."""
    for one in some:
        if one.runtime:
            yield from (one.submodule or one.module, f"{one.module}.{one.attribute}")


def _taken_anew(parts: Sequence[ModulePatch]) -> dict[str, list[str]]:
    """Of each module those from which it takes, by a new import, names that they get with the patch."""
    new = {
        part.module.name: {
            name for edit in part.changes if isinstance(edit, AdditionEdit) and not edit.owner for name in edit.names
        }
        for part in parts
    }
    return {
        part.module.name: [
            edit.binding.module
            for edit in part.changes
            if isinstance(edit, ImportEdit) and edit.binding.attribute in new.get(edit.binding.module, ())
        ]
        for part in parts
    }


def _after_imports(name: str, edges: Mapping[str, Sequence[str]], entered: set[str]) -> Iterator[str]:
    """The name of a module, and before it those of all that it imports, except what was ``entered`` already."""
    if name in edges and name not in entered:
        entered.add(name)
        for one in edges[name]:
            yield from _after_imports(one, edges, entered)
        yield name
