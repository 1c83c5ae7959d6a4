"""What the change of one module means for others of the same sources.

Each module is compared by itself; what is found here needs several: who runs at import what changes, who reads what
objects get only now, and who can't be imported any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from bcpatch import splices
from bcpatch.diagnostics import Diagnostic, Place, as_warning, finding
from bcpatch.model import FunctionEdit, Import, ImportEdit, Module, ModulePatch, Patch, RemovalEdit, Site
from bcpatch.source import calls, circles, gone, importtime, instances, takers
from bcpatch.source.instances import Gained
from bcpatch.source.outline import Source, decoded, outline, parsed


def run_too_early(modules: Iterable[ModulePatch], sources: Mapping[Module, Source], level: int) -> Iterator[Diagnostic]:
    """New modules whose import runs what the patch changes in others (BCP211): they may be imported before the swap."""
    sites = [edit.site for part in modules for edit in _switched(part)]
    exactly = {f"{site.module}.{site.qualname}" for site in sites}
    wanted = tuple({f"{site.module}.{site.qualname.partition('.')[0]}." for site in sites})
    for part in modules:
        if not (part.is_new and sites):
            continue
        unit = outline(sources[part.module], level)
        paths = importtime.paths(part.imports)
        for statement, (first, *rest) in importtime.called(unit):
            name = ".".join((paths.get(first, ""), *rest))
            derives = name.endswith(".__init_subclass__")
            if name in exactly or (f"{name}.".startswith(wanted) and not derives):
                message = f"this runs `{name}`, perhaps before the swap, while that is still the old code"
                yield finding("BCP211", message, unit.place(statement))


def told(patch: Patch, sources: Iterable[Source], said: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """All warnings of a patch that take the new ``sources`` of several modules; ``said`` is what is known of it."""
    some, known = tuple(sources), tuple(said)
    yield from run_elsewhere(patch, some, known)
    yield from in_circles(patch, some)
    yield from still_used(patch, some, known)


def run_elsewhere(patch: Patch, sources: Iterable[Source], said: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """Functions that change and that the import of another module runs (BCP211): what came of that stays.

    Warnings: that the process has imported the module is not known here. Of functions of which that was ``said``
    already, nothing is.
    """
    told = {one.site for one in said if one.code == "BCP211"}
    sites: dict[takers.Callee, Site] = {}
    for edit in (edit for part in patch.modules for edit in _switched(part)):
        owner, _, name = edit.site.qualname.rpartition(".")
        if edit.replaces and edit.runs_otherwise and edit.site not in told:
            sites[edit.site.module, edit.site.qualname] = edit.site
            if owner and name in calls.MAKERS:
                sites.setdefault((edit.site.module, owner), edit.site)
    if not sites:
        return
    by_name = {".".join(callee): site for callee, site in sites.items()}
    by_module = {source.module: source for source in sources}
    new = {part.module for part in patch.modules if part.is_new}
    others = [source for module, source in by_module.items() if module not in new]
    found: dict[Site, dict[Module, takers.Call]] = {}
    for call in takers.calls_made(others, sites.keys(), patch.interpreter.optimization):
        found.setdefault(by_name[call.called], {}).setdefault(call.module, call)
    for part in patch.modules if found else ():
        for edit in _switched(part):
            if edit.site in found:
                yield _ran(edit, by_module.get(part.module), list(found[edit.site].values()))


def _switched(part: ModulePatch) -> list[FunctionEdit]:
    return [edit for edit in part.changes if isinstance(edit, FunctionEdit)]


def _ran(edit: FunctionEdit, source: Source | None, calls: Sequence[takers.Call]) -> Diagnostic:
    first, more = calls[0], len(calls) - 1
    others = f", and by {more} more module{'s' * (more > 1)}" if more else ""
    message = (
        f"`{edit.site.qualname}` is run by the import of `{first.module.name}` (line {first.line}: `{first.text}`)"
        f"{others}; what it returned or did there stays as the old code made it"
    )
    line = edit.code.first_line
    place = Place("", line) if source is None else _place(source, line)
    advice = "restart the process, or make it anew in an update hook"
    return as_warning(finding("BCP211", message, place, help=advice, site=edit.site))


def _place(source: Source, line: int) -> Place:
    return Place(source.path, line, text="".join(decoded(source).splitlines()[line - 1 : line]))


def in_circles(patch: Patch, sources: Iterable[Source]) -> Iterator[Diagnostic]:
    """Imports by which a start fails with the new ``sources``, and did not with those of the base (BCP220)."""
    imports = {part.module.name: [one for one in part.changes if isinstance(one, ImportEdit)] for part in patch.modules}
    if not any(imports.values()):
        return
    new = {source.module.name: source for source in sources}
    old = dict(new)
    for part in patch.modules:
        name = part.module.name
        new.setdefault(name, Source(part.module, part.module.path, part.source))
        old[name] = Source(part.module, "", b"" if part.is_new else splices.applied(part.back, part.source))
    for part in patch.modules:
        name, edits = part.module.name, [one for one in imports[part.module.name] if one.binding.runtime]
        targets = [target for one in edits for target in _imported(one.binding)]
        for found in circles.missing(name, targets, old, new) if edits else ():
            place = _place(new[name], found.lines.get(name, edits[0].line))
            message = (
                f"a start that imports `{found.first}` first fails now: `{found.taker}` takes `{found.name}` of "
                f"`{found.module}` (line {found.line}) before that has it"
            )
            yield finding("BCP220", message, place)


def still_used(patch: Patch, sources: Iterable[Source], said: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """Uses, in the new ``sources``, of names that a module of the patch has no more (BCP221).

    That a module has fewer names was ``said`` already, in notes, unless they are deleted.
    """
    deleted = any(isinstance(one, RemovalEdit) and not one.owner for part in patch.modules for one in part.changes)
    if not deleted and not any(one.code in ("BCP215", "BCP216") for one in said):
        return
    new = {source.module: source for source in sources}
    by_name = {module.name: source for module, source in new.items()}
    for part in patch.modules:
        owner, source = part.module.name, new.get(part.module, Source(part.module, part.module.path, part.source))
        base = b"" if part.is_new else splices.applied(part.back, part.source)
        old, tree = parsed(Source(part.module, "", base)), parsed(source)
        if old is None or tree is None:
            continue
        submodules = {last for package, _, last in (one.rpartition(".") for one in by_name) if package == owner}
        missing = gone.names(old, tree, part.module, by_name) - submodules
        if not missing:
            continue
        for name, line in gone.used_here(source, tree, missing).items():
            yield finding("BCP221", f"`{name}` is used here, and `{owner}` has it no more", _place(source, line))
        for other in (one for module, one in new.items() if module != part.module):
            for name, line in gone.used_by(other, owner, missing).items():
                message = f"`{name}` of `{owner}` is used here, which has it no more"
                yield finding("BCP221", message, _place(other, line))


def _imported(binding: Import) -> list[str]:
    """The modules that an import statement may import."""
    whole = binding.submodule or binding.module
    return [whole] if binding.attribute is None else [f"{whole}.{binding.attribute}", whole]


def read_elsewhere(
    owner: Module,
    gained: Sequence[Gained],
    modules: Iterable[ModulePatch],
    bases: Mapping[Module, Source],
    sources: Mapping[Module, Source],
    level: int,
) -> Iterator[Diagnostic]:
    """Where other modules of a patch read what objects of a class of one module get only now (BCP219)."""
    for part in modules:
        if part.module != owner and any(one.name.encode() in part.source for one in gained):
            base = decoded(bases[part.module]) if part.module in bases else ""
            yield from instances.elsewhere(outline(sources[part.module], level), base, owner.name, gained)
