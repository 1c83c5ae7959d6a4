"""What the texts of loaded modules say of imports, and what their import read by name.

A process has hundreds of modules, and parsing them is a stall: what was found in a text is kept as long as the
module has the same text. Nothing here judges, and nothing here changes anything.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import unicodedata
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Final, NamedTuple

from bcpatch.model import Import, Module
from bcpatch.process.objects import class_namespace, is_class, is_function, is_module, namespace_of, qualname_of
from bcpatch.process.sources import state_of, text_of
from bcpatch.source import calls, shape
from bcpatch.source.evaluated import binds, evaluated


class Facts(NamedTuple):
    """What a module's text imports, and what its import may have read: an upper bound of it.

    ``imports`` has the module, the name there (or ``*``) and the name here, of each ``from`` statement at any depth.
    ``hidden`` are those of them whose name another statement surely binds below, and has ``*`` with each such name.
    ``stars`` has for those of them that have any the modules of which surely all names are taken below.
    ``reads`` has names, and dotted names that begin with one, calls on the way left out: of the code that an import
    runs, and of the functions and classes of the module itself that such code calls by their names.
    """

    imports: frozenset[tuple[str, str, str]]
    hidden: frozenset[tuple[str, str, str]]
    stars: Mapping[tuple[str, str, str], frozenset[str]]
    reads: frozenset[str]

    def takes_all_of(self, modules: Collection[str]) -> bool:
        """Whether the text has ``from module import *`` anywhere."""
        return any((module, "*", "*") in self.imports for module in modules)

    def hides(self, modules: Collection[str], name: str) -> bool:
        """Whether the text has another thing by a name that it gets by ``from module import *``."""
        return any((module, "*", name) in self.hidden for module in modules)


_kept: Final[weakref.WeakKeyDictionary[ModuleType, tuple[object, Facts]]] = weakref.WeakKeyDictionary()


class Texts:
    """The texts of loaded modules, each read and parsed once at most, and not at all where its facts are known."""

    def __init__(self) -> None:
        self._states: dict[int, object] = {}
        self._texts: dict[int, str] = {}
        self._trees: dict[int, ast.Module | None] = {}
        self._facts: dict[int, Facts] = {}
        self._names: dict[int, frozenset[str]] = {}

    def names(self, module: ModuleType) -> frozenset[str]:
        """The names by which a module can be imported: its own, and those that somebody put it under."""
        key = id(module)
        if key not in self._names:
            under = (name for name, one in list(sys.modules.items()) if one is module)
            self._names[key] = frozenset((module.__name__, *under))
        return self._names[key]

    def facts(self, module: ModuleType, *ways: Sequence[Collection[str]]) -> Facts | None:
        """What a module's text says, or None where it has none.

        None too where it need not be parsed to know that it is of no interest: each of some ways to be of interest
        needs one identifier out of each of some groups (``*`` stands for an import of all names).
        """
        key = id(module)
        if key not in self._facts:
            found = self._known(module)
            if found is None:
                text = self._text(module)
                if not any(all(says(text, words) for words in way) for way in ways):
                    return None
                tree = self.tree(module)
                if tree is None:
                    return None
                found = _facts(tree, module)
                if self._states[key] is not None:
                    _kept[module] = self._states[key], found
            self._facts[key] = found
        return self._facts[key]

    def tree(self, module: ModuleType) -> ast.Module | None:
        """A module's text, parsed; None where it has none."""
        key = id(module)
        if key not in self._trees:
            self._trees[key] = _parsed(self._text(module))
        return self._trees[key]

    def _known(self, module: ModuleType) -> Facts | None:
        """The facts of a module whose text is the same as when they were found."""
        key = id(module)
        if key not in self._states:
            state = state_of(module)
            self._states[key] = None if state is None else (state, package_of(module))
        kept = _kept.get(module)
        return kept[1] if kept is not None and kept[0] == self._states[key] else None

    def _text(self, module: ModuleType) -> str:
        """A module's text. Its state is asked for before: what changes in between has another state next time."""
        key = id(module)
        if key not in self._texts:
            source = text_of(module)
            if source is None:
                self._states[key] = None
            self._texts[key] = _decoded(source or b"")
        return self._texts[key]


def _decoded(source: bytes) -> str:
    """A text, its identifiers as the parser reads them (PEP 3131); empty where it is none."""
    try:
        text = importlib.util.decode_source(source)
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
#: What stands in a text between characters that no identifier of ASCII has.
_RUN: Final = re.compile(r"[A-Za-z0-9_]+")


def says(text: str, words: Collection[str]) -> bool:
    """Whether a text may have one of some identifiers, or import all names (``*``); surely not where the answer is no.

    Beside letters that are not of ASCII nothing is told apart: what ends an identifier there is a matter of tables.
    """
    if "*" in words and _STAR.search(text):
        return True
    found = [word for word in words if word in text and word != "*"]
    if not found:
        return False
    return not all(map(str.isascii, found)) or not set(found).isdisjoint(_RUN.findall(text))


def _facts(tree: ast.Module, module: ModuleType) -> Facts:
    seen: set[tuple[str, str, str]] = set()
    hidden: set[tuple[str, str, str]] = set()
    stars: dict[tuple[str, str, str], frozenset[str]] = {}
    below: set[str] = set()
    taken: frozenset[str] = frozenset()
    for statement in reversed(tree.body):
        imports = {*_from(statement, module)}
        for one in imports - seen:
            if one[1] == "*":
                hidden.update((*one[:2], name) for name in below)
            elif one[2] in below:
                hidden.add(one)
            if taken:
                stars[one] = taken
        seen |= imports
        if isinstance(statement, shape.DEFINITIONS) or not any(shape.nested_statements(statement)):
            below.update({*binds(statement)} - {"*"})
            taken |= {one[0] for one in imports if one[1] == "*"}
    return Facts(frozenset(seen), frozenset(hidden), stars, frozenset(_reads(tree)))


def _from(statement: ast.stmt, module: ModuleType) -> Iterator[tuple[str, str, str]]:
    for one in bound(ast.walk(statement), module):
        if one.attribute is not None:
            yield one.module, one.attribute, one.name


def _reads(tree: ast.Module) -> Iterator[str]:
    """The dotted names that importing a module may read, one by one."""
    waiting: list[Iterable[ast.AST]] = [evaluated(statement) for statement in tree.body]
    own = definitions(tree)
    while waiting:
        for node in waiting.pop():
            if isinstance(node, ast.Name) and node.id in own:
                waiting += map(ast.walk, run_by_call(own.pop(node.id)))
            if isinstance(node, ast.Lambda):
                waiting.append(ast.walk(node.body))
            if isinstance(node, shape.DEFINITIONS) and node.decorator_list and node.name in own:
                waiting += map(ast.walk, run_by_call(own.pop(node.name)))
            if shape.is_read(node):
                yield shape.through(node)


def definitions(tree: ast.Module) -> dict[str, ast.stmt]:
    """The functions and classes of a module's body by their names."""
    return {node.name: node for node in tree.body if isinstance(node, shape.DEFINITIONS)}


def run_by_call(definition: ast.stmt) -> list[calls.Callable]:
    """The functions that a call of a function, or of a class, runs."""
    inside = definition.body if isinstance(definition, ast.ClassDef) else [definition]
    functions = [one for one in inside if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [one for one in functions if one is definition or one.name in calls.MAKERS]


def definition(texts: Texts, value: object) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | None:
    """Where the text of its module defines a function or a class; None where that can't be told."""
    home: object = None
    qualname = ""
    if is_function(value):
        home, qualname = value.__globals__.get("__name__"), value.__code__.co_qualname
    elif is_class(value):
        home, qualname = class_namespace(value).get("__module__"), qualname_of(value)
    module = sys.modules.get(home) if isinstance(home, str) else None
    tree = texts.tree(module) if is_module(module) else None
    body: list[ast.stmt] = [] if tree is None else tree.body
    *outer, name = qualname.split(".")
    for part in outer:
        inner = [one.body for one in body if isinstance(one, ast.ClassDef) and one.name == part]
        body = [statement for statements in inner for statement in statements]
    found = [one for one in body if isinstance(one, shape.DEFINITIONS) and one.name == name]
    if is_function(value):
        found = [one for one in found if shape.first_line(one) == value.__code__.co_firstlineno]
    return found[-1] if found else None


def bound(body: Iterable[ast.AST], importer: ModuleType) -> Iterator[Import]:
    """What ``from`` statements among some nodes bind in a module."""
    own = Module(importer.__name__, f"{package_of(importer).replace('.', '/')}/module.py")
    for node in body:
        if isinstance(node, ast.ImportFrom):
            yield from shape.bindings(node, own)


def package_of(importer: ModuleType) -> str:
    """The package that a module's relative imports start from (``importlib._bootstrap._calc___package__``)."""
    space = namespace_of(importer)
    parent = getattr(space.get("__spec__"), "parent", None)
    found = space.get("__package__") if parent is None else parent
    return found if isinstance(found, str) else ""
