"""Other modules that took a name of a module: what their import statements bound, and what they did with it then.

Identity can't tell an importer from a stranger that holds an equal small integer, so the
import statements in the sources of loaded modules decide. Nothing here changes anything.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from types import BuiltinFunctionType, CodeType, EllipsisType, FunctionType, ModuleType, NoneType
from typing import Final

from bcpatch.diagnostics import Diagnostic, Place, finding
from bcpatch.model import Import, Module
from bcpatch.process.classes import with_subclasses
from bcpatch.process.objects import all_modules, class_namespace, is_class, is_function, is_module, namespace_of
from bcpatch.process.sources import is_opaque, text_of
from bcpatch.process.swap import Kind, Slot
from bcpatch.source import shape
from bcpatch.source.evaluated import evaluated


class Sources:
    """The sources of loaded modules, each read and parsed once at most."""

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}
        self._trees: dict[int, ast.Module | None] = {}

    def tree(self, module: ModuleType, words: Collection[str]) -> ast.Module | None:
        """A loaded module's source, if it says one of some words or imports whatever there is; else None."""
        key = id(module)
        if key not in self._texts:
            self._texts[key] = _text(module)
        text = self._texts[key]
        if not (any(word in text for word in words) or _STAR.search(text)):
            return None
        if key not in self._trees:
            self._trees[key] = _parsed(text)
        return self._trees[key]


def _text(module: ModuleType) -> str:
    """A loaded module's source, its identifiers as the parser reads them (PEP 3131); empty where there is none."""
    try:
        text = importlib.util.decode_source(text_of(module) or b"")
    except (SyntaxError, ValueError):
        return ""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


#: An import of whatever names there are.
_STAR: Final = re.compile(r"import[\s\\]*\*")
_MAKERS: Final = ("__init__", "__new__", "__post_init__", "__call__", "__set_name__")
_CONSTANTS: Final = (int, float, complex, str, bytes, tuple, frozenset, NoneType, EllipsisType)
_DEFINED: Final = (type, FunctionType, BuiltinFunctionType, ModuleType)
_DEFINITIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def slots(sources: Sources, module: ModuleType, name: str, value: object) -> Iterator[Slot]:
    """The names that ``from module import name`` bound to a value in other modules, and in the importers of these."""
    waiting = [(module, name)]
    known = {(id(module), name)}
    while waiting:
        origin, taken = waiting.pop()
        for other, tree in _holders(sources, origin, (value,), (taken,)):
            space = namespace_of(other)
            for alias in _imported_as(tree, other, origin.__name__, taken):
                if space.get(alias) is value and (id(other), alias) not in known:
                    known.add((id(other), alias))
                    waiting.append((other, alias))
                    yield Slot(Kind.NAMESPACE, space, alias)


def untold(module: ModuleType, name: str, value: object) -> Iterator[Diagnostic]:
    """Modules without a source that hold the value: whether they imported it can't be told (BCP522).

    Equal constants may be one object, and who has a class or a function may have it from where it was defined: these
    count under the same name only.
    """
    is_anywhere = isinstance(value, (*_CONSTANTS, *_DEFINED))
    for other in all_modules():
        space = namespace_of(other)
        held = [key for key, one in list(space.items()) if one is value and (key == name or not is_anywhere)]
        if held and other is not module and is_opaque(other):
            message = f"`{other.__name__}.{held[0]}` may be an import of `{module.__name__}.{name}`: no source tells"
            yield finding("BCP522", message)


def used_at_import(sources: Sources, module: ModuleType, name: str, value: object) -> Iterator[Diagnostic]:
    """Statements of other modules that used the value while these were imported: what came of it stays (BCP210).

    They may have used it by a function or a class of the module that reads it.
    """
    readers = _readers(namespace_of(module), name)
    words = (name, *readers)
    for other, tree in _holders(sources, module, (value, module, *readers.values()), words):
        space = namespace_of(other)
        names = {alias for alias in _imported_as(tree, other, module.__name__, name) if space.get(alias) is value}
        used = _Use(space, module, name, names, set(map(id, readers.values())))
        yield from used.findings(tree, f"`{other.__name__}` used `{module.__name__}.{name}` when it was imported")
    # what took it may have passed it on
    for slot in slots(sources, module, name, value):
        origin = next(one for one in all_modules() if namespace_of(one) is slot.owner)
        for other, tree in _holders(sources, origin, (value, origin), (slot.name,)):
            space = namespace_of(other)
            names = {one for one in _imported_as(tree, other, origin.__name__, slot.name) if space.get(one) is value}
            used = _Use(space, origin, slot.name, names, set())
            yield from used.findings(tree, f"`{other.__name__}` used `{module.__name__}.{name}` when it was imported")


def attribute_used_at_import(sources: Sources, module: ModuleType, owner: type, name: str) -> Iterator[Diagnostic]:
    """Statements of other modules that read an attribute of a class while these were imported (BCP210)."""
    owners = with_subclasses(owner)
    for other, tree in _holders(sources, module, (module, *owners), (name,)):
        used = _Use(namespace_of(other), None, name, set(), set(), frozenset(map(id, owners)))
        yield from used.findings(tree, f"`{other.__name__}` used `{owner.__qualname__}.{name}` when it was imported")


# --- loaded modules and their sources ------------------------------------------------------


def _holders(
    sources: Sources, module: ModuleType, values: Iterable[object], words: Collection[str]
) -> Iterator[tuple[ModuleType, ast.Module]]:
    """Other modules that have a name for one of some values, or for a package around, and say one of some words."""
    wanted = set(map(id, values))
    around = module.__name__
    while around:
        if around in sys.modules:
            wanted.add(id(sys.modules[around]))
        around = around.rpartition(".")[0]
    for other in all_modules():
        if other is not module and not wanted.isdisjoint(map(id, list(namespace_of(other).values()))):
            tree = sources.tree(other, words)
            if tree is not None:
                yield other, tree


def bound(body: Iterable[ast.AST], importer: ModuleType) -> Iterator[Import]:
    """What import statements among some nodes bind in a module."""
    own = Module(importer.__name__, f"{_package(importer).replace('.', '/')}/module.py")
    for node in body:
        if isinstance(node, ast.ImportFrom):
            yield from shape.bindings(node, own)


def _imported_as(tree: ast.Module, importer: ModuleType, module: str, name: str) -> set[str]:
    """The names under which a module's source imports a name of another module."""
    imports = set(bound(ast.walk(tree), importer))
    found = {one.name for one in imports if one.module == module and one.attribute == name}
    return found | ({name} if any(one.module == module and one.name == "*" for one in imports) else set())


def _package(importer: ModuleType) -> str:
    """The package that a module's relative imports start from (``importlib._bootstrap._calc___package__``)."""
    space = namespace_of(importer)
    parent = getattr(space.get("__spec__"), "parent", None)
    found = space.get("__package__") if parent is None else parent
    return found if isinstance(found, str) else ""


# --- what was used ---------------------------------------------------------------------------


class _Use:
    """How a module's import may have used a name of another: its own, by that module, or by what reads it there."""

    def __init__(
        self,
        space: dict[str, object],
        module: ModuleType | None,
        name: str,
        names: set[str],
        readers: set[int],
        owners: frozenset[int] = frozenset(),
    ) -> None:
        self._space, self._module, self._name = space, module, name
        self._names, self._readers, self._owners = names, readers, owners

    def findings(self, tree: ast.Module, message: str) -> Iterator[Diagnostic]:
        """The first statement that did, for a module's source."""
        own = self._own_readers(tree)
        for node in (node for statement in tree.body for node in evaluated(statement)):
            if self._reads(node) or self._calls(node, own):
                file = str(self._space.get("__file__"))
                yield finding("BCP210", message, Place(file, getattr(node, "lineno", 0)))
                return

    def _reads(self, node: ast.AST) -> bool:
        match node:
            case ast.Name(id=found, ctx=ast.Load()):
                return found in self._names
            case ast.Attribute(value=value, attr=attribute, ctx=ast.Load()) if attribute == self._name:
                held = self._resolved(value)
                return held is not None and (held is self._module or id(held) in self._owners)
        return False

    def _calls(self, node: ast.AST, own: set[str]) -> bool:
        """Whether it calls something that reads the name: a function, or a class whose making does."""
        called = node.func if isinstance(node, ast.Call) else None
        if called is None:
            return False
        return (isinstance(called, ast.Name) and called.id in own) or id(self._resolved(called)) in self._readers

    def _own_readers(self, tree: ast.Module) -> set[str]:
        """Functions and classes of the module itself that read the name, directly or by each other."""
        defined = {node.name: _run_by_call(node) for node in tree.body if isinstance(node, _DEFINITIONS)}
        found: set[str] = set()
        grown = True
        while grown:
            more = {
                name
                for name, nodes in defined.items()
                if name not in found and any(self._reads(node) or self._calls(node, found) for node in nodes)
            }
            found |= more
            grown = bool(more)
        return found

    def _resolved(self, node: ast.expr) -> object:
        """What a dotted expression holds, as far as it leads through modules and classes."""
        match node:
            case ast.Name(id=name):
                return self._space.get(name)
            case ast.Attribute(value=value, attr=attribute):
                held = self._resolved(value)
                if is_module(held):
                    return namespace_of(held).get(attribute)
                if is_class(held):
                    return class_namespace(held).get(attribute)
        return None


def _run_by_call(definition: ast.stmt) -> list[ast.AST]:
    """The code that a call of a function, or of a class, runs."""
    if isinstance(definition, ast.ClassDef):
        inner = [one for one in definition.body if isinstance(one, _DEFINITIONS) and one.name in _MAKERS]
        return [node for one in inner for node in ast.walk(one)]
    return [node for part in getattr(definition, "body", ()) for node in ast.walk(part)]


def _readers(space: dict[str, object], name: str) -> dict[str, object]:
    """The functions and classes of a module whose call reads one of its names, directly or by each other."""
    codes = {key: _codes(value, space) for key, value in list(space.items())}
    found: dict[str, object] = {}
    grown = True
    while grown:
        wanted = {name, *found}
        more = {
            key: space[key]
            for key, some in codes.items()
            if key not in found and any(not wanted.isdisjoint(_names(code)) for code in some)
        }
        found.update(more)
        grown = bool(more)
    return found


def _codes(value: object, space: dict[str, object]) -> list[CodeType]:
    """The code that calling a value of a module runs there."""
    if is_class(value) and class_namespace(value).get("__module__") == space.get("__name__"):
        made = [class_namespace(value).get(name) for name in _MAKERS]
        return [one.__code__ for one in made if is_function(one) and one.__globals__ is space]
    while is_function(value) and "__wrapped__" in vars(value):
        value = vars(value)["__wrapped__"]
    return [value.__code__] if is_function(value) and value.__globals__ is space else []


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
