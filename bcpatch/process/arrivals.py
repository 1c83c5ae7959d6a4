"""Modules that are imported after their patch was applied: an import hook of bcpatch's own.

A patch may change a module that the process has not imported yet, or bring one that its
disk does not have. Then nothing is swapped: whoever imports the module later, or loads it
again, gets the text that the patch carries, compiled by the process's own `compile` as an
import compiles any text. So what happens while the module executes happens as in a fresh
process, which code objects put into an old module could not give: additions, values and
imports are statements. Compiled files on the disk are never used for it.

- What the disk has must be the text that some patch of the generation replaces or brings;
  an import with another text raises ImportError, as does one by a loader that may make
  something else of a source than its code.
- The text of a strict patch is compared with its base first (`bcpatch.source.fidelity`): each
  function in it is one that was verified, or one of the base.
- Which text that is says the current generation, read once when the module begins to
  execute. A swap that would change the answer is not made while the module is being
  imported (`guards.not_being_imported`); an import never waits for a patch.

The hook is in ``sys.meta_path`` only while the current generation has a text for some
module, and nothing of it stays in a module: its loader is the one that found its file.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import _abc  # `importlib.abc` imports a good part of the standard library, up to 3.13
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import decode_source, spec_from_file_location
from types import CodeType, ModuleType
from typing import Any, Final, TypeAlias
from zipimport import zipimporter

import msgspec

from bcpatch import fingerprint
from bcpatch.diagnostics import Diagnostic, Place, Refused, finding, text
from bcpatch.model import Module, ModulePatch, Policy
from bcpatch.process import sources
from bcpatch.process.history import History
from bcpatch.process.objects import is_module, namespace_of, with_nested
from bcpatch.process.records import Arrival, Version
from bcpatch.process.swap import ABSENT, Change, Kind, Slot, held
from bcpatch.source.fidelity import brought, strays
from bcpatch.source.outline import Source, Unit, outline
from bcpatch.status import ModuleStatus, Presence

logger = logging.getLogger("bcpatch")

Line: TypeAlias = tuple[tuple[int, Version], ...]
"""The texts of one module in a generation, oldest first, each with the number of the generation that it came with."""

_READABLE: Final = (SourceFileLoader, zipimporter)
"""Loaders that execute the code of a source and nothing else; classes derived from them may do more."""


def version(part: ModulePatch, policy: Policy, *, is_on_disk: bool) -> Version:
    """The text that a part of a patch has for its module; ``is_on_disk`` where that is loaded from just this text."""
    pieces = brought(part) if policy is Policy.STRICT and not is_on_disk else frozenset()
    source = None if is_on_disk else part.source
    return Version(part.module, part.replaces, part.brings, policy, part.is_new, pieces, source)


def lines(history: History, number: int) -> dict[str, Line]:
    """The texts that a generation has, by the names of their modules."""
    found: dict[str, list[tuple[int, Version]]] = {}
    for record in history.line(number):
        for one in record.versions:
            found.setdefault(one.module.name, []).append((record.generation.number, one))
    return {name: tuple(line) for name, line in found.items()}


# --- what stands in the way -----------------------------------------------------------


def look(name: str) -> ModuleSpec | None:
    """Where an import of a module would find it on the disk, as far as that shows without importing anything."""
    path: Sequence[str] | None = None
    parts = name.split(".")
    for count in range(1, len(parts)):
        around = ".".join(parts[:count])
        parent = sys.modules.get(around)
        if is_module(parent):
            inside = namespace_of(parent).get("__path__")
        else:
            spec = PathFinder.find_spec(around, path)
            inside = None if spec is None else spec.submodule_search_locations
        try:
            path = list(inside or ())
        except KeyError:  # a namespace package asks for its parent, which is not imported
            return None
        if not path:
            return None
    return PathFinder.find_spec(name, path)


def content(spec: ModuleSpec | None) -> bytes | Diagnostic | None:
    """The source that a loader would execute; None where there is none, a finding where that can't be told."""
    if spec is None or spec.loader is None:
        return None
    loader: Any = spec.loader
    if type(loader) not in _READABLE or not str(spec.origin).endswith((".py", ".pyw")):
        kind = loader if isinstance(loader, type) else type(loader)
        message = f"`{spec.name}` is loaded by {kind.__module__}.{kind.__qualname__}, not from its source alone"
        return finding("BCP518", message, Place(str(spec.origin or "")))
    try:
        data: bytes = loader.get_data(spec.origin)
    except OSError as error:
        return finding("BCP518", f"`{spec.name}` can't be read: {error}", Place(str(spec.origin)))
    return data


def obstacle(line: Line, data: bytes | None, file: str) -> Diagnostic | None:
    """Why a module that has ``data`` in its file can't run its last text; ``data`` is None where it has no file."""
    last = line[-1][1]
    known = {one.brings: one.source for _, one in line}
    start = "" if data is None else fingerprint.blake(data)
    if data is not None:
        if start not in known and all(one.replaces != start for _, one in line):
            wanted = " or ".join(sorted({str(one.replaces) for _, one in line if one.replaces} | set(known)))
            message = f"the file of `{last.module.name}` has the text {start}, not {wanted}"
            return finding("BCP516", message, Place(file))
        known[start] = data
    if known[last.brings] is None:
        message = f"the file of `{last.module.name}` had the text {last.brings}, which it has no more"
        return finding("BCP516", message, Place(file))
    for number, one in _to_come(line, start):
        if one.policy is Policy.STRICT:
            base, text = known.get(one.replaces or ""), known[one.brings]
            if base is None or text is None:
                message = f"a text of `{one.module.name}` in generation {number} is not kept, so it can't be compared"
                return finding("BCP516", message, Place(file))
            found = _beyond_edits(one, base, text, file)
            if found is not None:
                return found
    return None


def _to_come(line: Line, start: str) -> Line:
    """The texts that lie between the one of a file and the last."""
    brings = [index for index, (_, one) in enumerate(line) if one.brings == start]
    replaced = [index for index, (_, one) in enumerate(line) if one.replaces == start]
    return line[brings[-1] + 1 :] if brings else line[replaced[0] :] if replaced else line


def _beyond_edits(one: Version, base: bytes, text: bytes, file: str) -> Diagnostic | None:
    """What the text of a strict patch has that neither its base nor its edits have."""
    level = sys.flags.optimize
    try:
        old, new = (_outlined(one.module, data, file, level) for data in (base, text))
    except Refused as refused:
        return refused.diagnostics[0]
    stray = next(strays(old, new, one.brought, level), None)
    if stray is None:
        return None
    message = f"the source that the patch carries for `{one.module.name}` changes more than its edits: {stray}"
    return finding("BCP408", message, Place(file))


def _outlined(module: Module, data: bytes, file: str, level: int) -> Unit:
    return outline(Source(module, file, data), level)


def is_the_same(part: ModulePatch, module: ModuleType, history: History) -> bool:
    """Whether a loaded module runs just the text of a part: it arrived with it, or its file has it and its code too."""
    arrival = arrival_of(history, part.module.name, module)
    if arrival is not None and arrival.text == part.brings:
        return True
    if not sources.is_on_disk(module, part.source):
        return False
    space = namespace_of(module)
    code = compile(part.source, part.module.path, "exec", dont_inherit=True)
    made = {fingerprint.of(one) for one in with_nested(code)}
    codes = [getattr(one, "__code__", None) for one in list(space.values()) if getattr(one, "__globals__", 0) is space]
    return all(fingerprint.of(one) in made for one in codes if isinstance(one, CodeType))


# --- the hook --------------------------------------------------------------------------


class Coming(msgspec.Struct, eq=False):
    """The texts of a patch that is being applied: the thread that prepares it may import them already."""

    thread: int
    number: int
    versions: dict[str, Version]
    arrivals: list[Arrival] = msgspec.field(default_factory=list)


class Finder:
    """What stands in ``sys.meta_path``: finds the modules that the current generation has a text for."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.coming: Coming | None = None
        self._known: tuple[int, dict[str, Line]] = (0, {})

    def line(self, name: str) -> Line:
        """The texts of a module: those of the current generation, and of the patch that this thread prepares."""
        coming = self._coming(name)
        if coming is None and name not in self.history.texts:
            return ()
        number = self.history.current
        known = self._known
        if known[0] != number:
            known = self._known = (number, lines(self.history, number))
        found = known[1].get(name, ())
        return found if coming is None else (*found, (coming.number, coming.versions[name]))

    def _coming(self, name: str) -> Coming | None:
        coming = self.coming
        mine = coming is not None and coming.thread == threading.get_ident() and name in coming.versions
        return coming if mine else None

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The place of a module as the other finders see it, with a loader that executes its last text."""
        line = self.line(name)
        if not line:
            return None
        spec = _found_by_others(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = Loader(self, spec.loader)
            return spec
        if not any(one.is_new for _, one in line):
            return spec
        loader = Loader(self, None)
        file = self._place(name, path, line[-1][1])
        inside = [os.path.dirname(file)] if line[-1][1].module.is_package else None
        return spec_from_file_location(name, file, loader=loader, submodule_search_locations=inside)

    def _place(self, name: str, path: Sequence[str] | None, one: Version) -> str:
        """Where the file of a new module would be."""
        folder = self._root() if path is None else next(iter(path), "")
        tail = name.rpartition(".")[2]
        return os.path.join(folder, *((tail, "__init__.py") if one.module.is_package else (f"{tail}.py",)))

    def _root(self) -> str:
        """The import root of the patched modules that are loaded from files."""
        coming = self.coming.versions.values() if self.coming else ()
        for one in (*(each for line in self._known[1].values() for _, each in line), *coming):
            module = sys.modules.get(one.module.name)
            file = sources.file_of(module).replace("\\", "/") if is_module(module) else ""
            if file.endswith("/" + one.module.path):
                return file[: -len(one.module.path)]
        return sys.path[0] if sys.path else ""

    def arrived(self, name: str, line: Line, on_disk: bool) -> None:
        """Note that a module runs its last text now: what stands for it, for it may have put something there itself."""
        module: Any = sys.modules.get(name)
        if module is None:  # someone executes a copy of his own
            return
        coming = self._coming(name)
        since = len(self.history.records) - (coming is None)
        number, one = line[-1]
        new = next((number for number, each in line if each.is_new), 0)
        if new and not on_disk:
            arrival = Arrival(name, module, one.brings, on_disk, since, new, tuple(_announced(name, module)))
        else:
            arrival = Arrival(name, module, one.brings, on_disk, since)
        (self.history.arrivals if coming is None else coming.arrivals).append(arrival)
        where = "from its file" if on_disk else "from the patch"
        logger.info("module %s was imported with its text of generation %d, %s", name, number, where)


def _found_by_others(name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
    for finder in list(sys.meta_path):
        find = None if isinstance(finder, Finder) else getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = None if find is None else find(name, path, target)
        if spec is not None:
            return spec
    return None


def _announced(name: str, module: object) -> Iterator[Change]:
    """The stores by which a process knows a module: as one that is imported, and as an attribute of its package."""
    yield Change(Slot(Kind.NAMESPACE, sys.modules, name), ABSENT, module)
    around, _, tail = name.rpartition(".")
    parent = sys.modules.get(around)
    if is_module(parent):
        yield Change(Slot(Kind.NAMESPACE, namespace_of(parent), tail), ABSENT, module)


class Loader(_abc.Loader):
    """Executes a module's last text instead of what its own loader would, and leaves the module to that."""

    def __init__(self, finder: Finder, original: Any) -> None:
        self._finder, self._original = finder, original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """None: the usual kind of module. Raises ImportError where its own loader does not read a source."""
        if self._finder.line(spec.name):
            self._text(spec)
            return None
        made: ModuleType | None = None if self._original is None else self._original.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Execute the text that the current generation has for a module. Raises ImportError where it can't have it."""
        spec: Any = module.__spec__
        self._give_back(module, spec)
        line = self._finder.line(spec.name)
        if not line:
            if self._original is None:
                raise ModuleNotFoundError(f"No module named {spec.name!r}", name=spec.name)
            self._original.exec_module(module)
            return
        code, text, on_disk = self._code(spec, line)
        sources.remember(module, text)
        exec(code, namespace_of(module))
        self._finder.arrived(spec.name, line, on_disk)

    def get_code(self, name: str) -> CodeType:
        """What ``python -m`` and ``runpy`` execute."""
        line = self._finder.line(name)
        if line:
            return self._code(self._spec(name), line)[0]
        found: CodeType = self._original.get_code(name)
        return found

    def get_source(self, name: str) -> str | None:
        """The text that is executed."""
        line = self._finder.line(name)
        if line:
            return decode_source(self._code(self._spec(name), line)[1])
        found: str | None = self._original.get_source(name)
        return found

    def _spec(self, name: str) -> ModuleSpec:
        file = None if self._original is None else self._original.get_filename(name)
        return ModuleSpec(name, self, origin=file)

    def _give_back(self, module: ModuleType, spec: ModuleSpec) -> None:
        """Let the module have the loader that found it."""
        if self._original is not None:
            spec.loader = self._original
            if "__loader__" in namespace_of(module):
                module.__loader__ = self._original

    def _text(self, spec: ModuleSpec) -> bytes | None:
        """What the module's file has. Raises ImportError."""
        found = content(ModuleSpec(spec.name, self._original, origin=spec.origin))
        if isinstance(found, Diagnostic):
            raise _failure(found, spec)
        return found

    def _code(self, spec: ModuleSpec, line: Line) -> tuple[CodeType, bytes, bool]:
        """The code of the last text, the text, and whether the module's file has just that."""
        data = self._text(spec)
        file = spec.origin or line[-1][1].module.path
        found = obstacle(line, data, file)
        if found is not None:
            raise _failure(found, spec)
        last = line[-1][1]
        source = last.source
        if source is None or data == source:
            assert data is not None  # else there was an obstacle
            return compile(data, file, "exec", dont_inherit=True), data, True
        own = sources.name_for(file, source)
        store, *arguments = sources.published(own, source)
        store(*arguments)
        self._finder.history.files[own] = file
        return compile(source, own, "exec", dont_inherit=True), source, False


def _failure(found: Diagnostic, spec: ModuleSpec) -> ImportError:
    logger.error("the import of %s fails:\n%s", spec.name, text(found))
    error = ImportError(text(found), name=spec.name, path=spec.origin)
    error.__cause__ = Refused([found])
    return error


# --- for those who swap ------------------------------------------------------------------


@contextmanager
def imported_early(history: History, versions: Sequence[Version]) -> Iterator[list[Arrival]]:
    """Let this thread import what a patch has before it is live; what came so is gone again where that fails.

    The caller is `History.exclusive`. Gives the list of modules that came.
    """
    finder = next((one for one in sys.meta_path if isinstance(one, Finder) and one.history is history), None)
    finder = finder or Finder(history)
    coming = Coming(threading.get_ident(), len(history.records), {one.module.name: one for one in versions})
    serial = history.serial
    finder.coming = coming
    if versions:
        _install(finder)
    try:
        yield coming.arrivals
    except BaseException:
        if history.serial == serial:
            _forget(coming.arrivals)
        raise
    finally:
        finder.coming = None
        settle(history)


def settle(history: History) -> None:
    """Have the hook while a generation is live: each has a text for some module."""
    known = [one for one in sys.meta_path if isinstance(one, Finder) and one.history is history]
    if history.current:
        _install(known[0] if known else Finder(history))
    else:
        for one in known:
            sys.meta_path.remove(one)


def _install(finder: Finder) -> None:
    if not any(one is finder for one in sys.meta_path):
        sys.meta_path.insert(0, finder)


def _forget(arrivals: Sequence[Arrival]) -> None:
    """Undo imports, newest first. A module that its file gave stays."""
    for arrival in reversed([one for one in arrivals if not one.on_disk]):
        for change in _announced(arrival.name, arrival.module):
            if held(change.slot) is arrival.module:
                change.slot.owner.pop(change.slot.name, None)


def arrival_of(history: History, name: str, module: object) -> Arrival | None:
    """How a loaded module came in, where a patch had a text for it."""
    return next((one for one in reversed(list(history.arrivals)) if one.name == name and one.module is module), None)


def strangers(history: History, to: int) -> Iterator[Diagnostic]:
    """Modules that don't run the text of a generation, and no swap leads there: each was imported in another one."""
    if not history.arrivals and not history.late:
        return
    line = history.line(to)
    turned = history.turned(history.way(to))
    for name in list(history.texts):
        slot = Slot(Kind.NAMESPACE, sys.modules, name)
        module = turned[slot.key].new if slot.key in turned else held(slot)
        if not is_module(module):
            continue
        arrival = arrival_of(history, name, module)
        since = -1 if arrival is None else arrival.since
        late = [record for record in line if record.generation.number > since and name in record.generation.pending]
        texts = [
            one.brings
            for record in line
            if record.generation.number <= since
            for one in record.versions
            if one.module.name == name
        ]
        wanted = texts[-1] if texts else None
        if not late and (arrival is None or wanted == arrival.text or (wanted is None and arrival.on_disk)):
            continue
        runs = "the text of its file" if arrival is None else f"the text {arrival.text}"
        message = f"`{name}` was imported with {runs}, and generation {to} has another one"
        yield finding("BCP613", message, Place(sources.file_of(module)))


def modules(history: History) -> Iterator[ModuleStatus]:
    """The modules that were not imported when the current generation got a text for them, and what became of them."""
    if not history.arrivals and not history.late:
        return
    pending = {name for record in history.line(history.current) for name in record.generation.pending}
    for name, line in sorted(lines(history, history.current).items()):
        module = sys.modules.get(name)
        arrival = arrival_of(history, name, module) if is_module(module) else None
        if name in pending or arrival is not None:
            new = any(one.is_new for _, one in line)
            yield ModuleStatus(name, line[-1][0], new, _presence(module, arrival))


def _presence(module: object, arrival: Arrival | None) -> Presence:
    if arrival is not None:
        return Presence.DISK if arrival.on_disk else Presence.CARRIED
    return Presence.BYPASSED if is_module(module) else Presence.PENDING
