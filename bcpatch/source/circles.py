"""Imports in a circle: whether a start that imports some module first finds what each module takes of the others.

Goes through import statements and bindings as executing the modules would, by their names: a module that has begun and
not ended has what stands above (Language Reference, "The import system"; CPython's Lib/importlib/_bootstrap.py). What
functions do is not looked at. Where an import may not run, or a handler may catch that it fails, nothing is missing.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import lru_cache
from itertools import accumulate
from typing import Final

import msgspec

from bcpatch import pythons
from bcpatch.source import shape
from bcpatch.source.evaluated import binds, evaluated
from bcpatch.source.outline import Source, parsed
from bcpatch.source.shape import last_name

#: Import statements, at any depth: what they are of, and their names.
_IMPORT: Final = re.compile(
    rb"^[ \t]*(?:from[ \t]+(\.*)[ \t]*([\w.]*)[ \t]+import\b[ \t]*(\([^)]*\)|[^\n]*)|import[ \t]+([^\n]*))",
    re.MULTILINE,
)
_WORD: Final = re.compile(rb"[\w.]+")
_CAUGHT: Final = frozenset({"ImportError", "AttributeError", "Exception", "BaseException"})

#: Sources of which it is kept what they import.
_KEPT: Final = 4096


class Missing(msgspec.Struct, frozen=True):
    """What a start that imports ``first`` first does not find: a ``name`` of ``module`` that ``taker`` takes on a line.

    ``lines`` are those that the modules which have begun have come to.
    """

    first: str
    taker: str
    line: int
    module: str
    name: str
    lines: Mapping[str, int]

    @property
    def place(self) -> object:
        """What makes two of them one."""
        return self.taker, self.module, self.name


def missing(
    changed: str, targets: Iterable[str], old: Mapping[str, Source], new: Mapping[str, Source]
) -> Iterator[Missing]:
    """What starts do not find with the ``new`` sources, by the names of their modules, and found with the ``old``.

    They begin with a module that is ``changed``, or with one of the ``targets`` of its imports.
    """
    circle = _circle(changed, new)
    if len(circle) == 1:
        return
    told = set()
    for first in dict.fromkeys((changed, *targets)):
        if first in circle:
            found = _started(first, new, circle)
            if found is not None and found.place not in told and _started(first, old, circle) is None:
                told.add(found.place)
                yield found


def _started(first: str, sources: Mapping[str, Source], circle: Set[str]) -> Missing | None:
    start = _Start(sources, circle)
    try:
        start.begin(first)
    except _NotFoundError as error:
        return Missing(first, error.taker, start.lines[error.taker], error.module, error.name, start.lines)
    except RecursionError:
        return None
    return None


# --- which modules lead to each other --------------------------------------------------------


def _circle(module: str, sources: Mapping[str, Source]) -> Set[str]:
    """The modules that a module leads to by imports, and that lead to it; with itself."""
    leading = defaultdict(set)
    waiting, reached = [module], {module}
    while waiting:
        one = waiting.pop()
        for other in (*_parents(one), *_imported(sources[one])):
            if other in sources and other != one:
                leading[other].add(one)
                if other not in reached:
                    reached.add(other)
                    waiting.append(other)
    waiting, circle = [module], {module}
    while waiting:
        news = leading[waiting.pop()] - circle
        circle |= news
        waiting += news
    return circle


def _parents(module: str) -> list[str]:
    return list(accumulate(module.split("."), "{}.{}".format))[:-1]


@lru_cache(maxsize=_KEPT)
def _imported(source: Source) -> frozenset[str]:
    """The modules that a text may import anywhere, and names that may be such."""
    found: set[str] = set()
    for dots, origin, names, plain in _IMPORT.findall(source.data):
        words = [word.decode("utf-8", "replace") for word in _WORD.findall(names or plain)]
        if plain:
            found.update(words)
            continue
        module = shape.absolute(origin.decode("utf-8", "replace"), len(dots), source.module)
        found.update((module, *(f"{module}.{word}" for word in words)))
    return frozenset(found.union(*map(_parents, found)))


# --- what executing a module does ------------------------------------------------------------


class _Step(msgspec.Struct, frozen=True):
    """What is imported, which name of it is taken, what is bound, and which attributes of modules are read before.

    ``import`` takes nothing of the module; the name that it binds stands for one. What is ``caught`` may fail, or may
    not run.
    """

    line: int
    module: str = ""
    taken: str = ""
    stands_for: str = ""
    bound: tuple[str, ...] = ()
    reads: tuple[tuple[str, ...], ...] = ()
    caught: bool = False


@lru_cache(maxsize=_KEPT)
def _steps(source: Source) -> tuple[_Step, ...]:
    """What executing a module does, in its order; nothing where it is no Python."""
    tree = parsed(source)
    try:
        return () if tree is None else tuple(_Steps(source, _keeps_text(tree)).of(tree.body, False))
    except RecursionError:
        return ()


def _keeps_text(tree: ast.Module) -> bool:
    """Whether annotations are not evaluated when the module is executed (PEP 563, PEP 649)."""
    futures = (one for one in tree.body if isinstance(one, ast.ImportFrom) and one.module == "__future__")
    return pythons.LAZY_ANNOTATIONS or any(name.name == "annotations" for one in futures for name in one.names)


class _Steps:
    def __init__(self, source: Source, keeps_text: bool) -> None:
        self._source = source
        self._imported: set[str] = set()
        self._keeps_text = keeps_text

    def of(self, block: Iterable[ast.stmt], caught: bool) -> Iterator[_Step]:
        for statement in block:
            match statement:
                case ast.If(test=test, orelse=orelse) if shape.is_type_checking(test):
                    yield from self.of(orelse, caught)
                case ast.If(test=test) if shape.is_main_guard(test):
                    pass
                case ast.Import() | ast.ImportFrom():
                    yield from self._import(statement, caught)
                case ast.Try() | ast.TryStar():
                    yield from self.of(statement.body, caught or any(map(_catches, statement.handlers)))
                    for handler in statement.handlers:
                        yield from self.of(handler.body, True)
                    for block in (statement.orelse, statement.finalbody):
                        yield from self.of(block, caught)
                case _:
                    yield from self._other(statement, caught)

    def _import(self, statement: ast.Import | ast.ImportFrom, caught: bool) -> Iterator[_Step]:
        for one in shape.bindings(statement, self._source.module):
            self._imported.add(one.name)
            bound = () if one.name == "*" else (one.name,)
            module, stands_for = one.submodule or one.module, "" if one.attribute else one.module
            yield _Step(statement.lineno, module, one.attribute or "", stands_for, bound, caught=caught)

    def _other(self, statement: ast.stmt, caught: bool) -> Iterator[_Step]:
        blocks = [] if isinstance(statement, shape.DEFINITIONS) else list(shape.nested_statements(statement))
        header = [one for one in ast.iter_child_nodes(statement) if isinstance(one, (ast.expr, ast.withitem))]
        reads = {path for part in (header if blocks else [statement]) for path in self._read(part)}
        bound = () if blocks else tuple(binds(statement))
        yield _Step(statement.lineno, bound=bound, reads=tuple(sorted(reads)), caught=caught)
        runs = isinstance(statement, ast.With) and not any(
            last_name(one.context_expr) == "suppress" for one in statement.items
        )
        for block in blocks:
            yield from self.of(block, caught or not runs)
        if blocks:
            yield _Step(statement.lineno, bound=tuple(binds(statement)), caught=caught)

    def _read(self, node: ast.AST) -> Iterator[tuple[str, ...]]:
        """The attributes of what is imported that evaluating a node reads."""
        for one in evaluated(node, annotations=not self._keeps_text):
            if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Load):
                path = shape.dotted(one).split(".")
                if path[0] in self._imported:
                    yield tuple(path)


def _catches(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    some = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return not _CAUGHT.isdisjoint(map(last_name, some))


class _NotFoundError(Exception):
    def __init__(self, taker: str, module: str, name: str) -> None:
        self.taker, self.module, self.name = taker, module, name
        super().__init__(f"{taker} takes {name} of {module}")


#: What a module has before anything of it is executed.
_GIVEN: Final = ("__dict__", "__doc__", "__file__", "__loader__", "__name__", "__package__", "__path__", "__spec__")


class _Start:
    """A process that begins. Of its modules those in the ``circle`` are executed; of all others everything is there."""

    def __init__(self, sources: Mapping[str, Source], circle: Set[str]) -> None:
        self._sources = sources
        self._circle = circle
        #: By module that has begun: its names; and by name, which module that is.
        self._names: dict[str, set[str]] = {}
        self._modules: dict[str, dict[str, str]] = {}
        #: Modules that have ended; and those that take all names of one of which these are not known.
        self._ended: set[str] = set()
        self._open: set[str] = set()
        self.lines: dict[str, int] = {}

    def begin(self, module: str) -> None:
        """Import a module. Raises _NotFoundError."""
        for name in (*_parents(module), module):
            if name in self._circle and name in self._sources and name not in self._names:
                self._execute(name)
                parent, _, last = name.rpartition(".")
                if parent in self._names:
                    self._names[parent].add(last)
                    self._modules[parent][last] = name

    def _execute(self, module: str) -> None:
        names = self._names[module] = set(_GIVEN)
        self._modules[module] = {}
        for step in _steps(self._sources[module]):
            self.lines[module] = step.line
            try:
                for path in step.reads:
                    self._read(module, path)
                if step.module:
                    self._import(module, step)
            except _NotFoundError:
                if not step.caught:
                    del self._names[module]
                    raise
            else:
                names.update(step.bound)
        self._ended.add(module)
        self.lines.pop(module, None)

    def _import(self, module: str, step: _Step) -> None:
        self.begin(step.module)
        whole = f"{step.module}.{step.taken}"
        if step.taken == "*":
            self._names[module].update(self._names.get(step.module, ()))
            if step.module in self._open or step.module not in self._names:
                self._open.add(module)
        elif step.taken:
            if not self._has(step.module, step.taken) and whole not in self._sources:
                raise _NotFoundError(module, step.module, step.taken)
            self.begin(whole)
            if whole in self._sources:
                self._modules[module][step.bound[0]] = whole
        else:
            self._modules[module][step.bound[0]] = step.stands_for

    def _has(self, module: str, name: str) -> bool:
        """Whether a module has a name, or nothing in its text says that it comes to have it."""
        names = self._names.get(module)
        if names is None or module in self._ended | self._open or name in names or "__getattr__" in names:
            return True
        return not any(name in step.bound for step in _steps(self._sources[module]))

    def _read(self, module: str, path: tuple[str, ...]) -> None:
        owner = self._modules[module].get(path[0])
        for name in path[1:]:
            if owner is None:
                return
            whole = f"{owner}.{name}"
            is_beginning = whole in self._names and whole not in self._ended  # its package has it when it has ended
            if is_beginning or not self._has(owner, name):
                raise _NotFoundError(module, owner, name)
            owner = whole if whole in self._names else self._modules.get(owner, {}).get(name)
