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
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

from bcpatch.diagnostics import Diagnostic, Place, finding
from bcpatch.model import Import, Module
from bcpatch.process.objects import is_module, namespace_of
from bcpatch.process.swap import Kind, Slot
from bcpatch.source import shape
from bcpatch.source.outline import executed

#: An import of whatever names there are.
_STAR: Final = re.compile(r"import[\s\\]*\*")


def slots(module: ModuleType, name: str, value: object) -> Iterator[Slot]:
    """The names that ``from module import name`` bound to a value in other modules."""
    for other in _others(module):
        space = namespace_of(other)
        aliases = _bound_to(space, value)
        text = _text(other) if aliases else ""
        tree = _parsed(text) if name in text or (name in aliases and _STAR.search(text)) else None
        if tree is not None:
            imported = _imported_as(tree, other, module.__name__, name)
            yield from (Slot(Kind.NAMESPACE, space, alias) for alias in aliases if alias in imported)


def used_at_import(module: ModuleType, name: str, value: object) -> Iterator[Diagnostic]:
    """Statements of other modules that used the value while these were imported: what came of it stays (BCP210)."""
    for other in _others(module):
        space = namespace_of(other)
        values, modules = _bound_to(space, value), _bound_to(space, module)
        text = _text(other) if values or modules else ""
        tree = _parsed(text) if name in text else None
        if tree is None:
            continue
        names = set(values) & _imported_as(tree, other, module.__name__, name)
        for node in _executed(tree.body):
            if _reads(node, names, set(modules), name):
                message = f"`{other.__name__}` used `{module.__name__}.{name}` when it was imported"
                yield finding("BCP210", message, Place(str(space.get("__file__")), node.lineno))
                break


def _others(module: ModuleType) -> list[ModuleType]:
    return [one for one in list(sys.modules.values()) if is_module(one) and one is not module]


def _bound_to(space: dict[str, object], value: object) -> list[str]:
    return [name for name, bound in list(space.items()) if bound is value]


def _text(module: ModuleType) -> str:
    """A loaded module's source, its identifiers as the parser reads them (PEP 3131); empty where there is none."""
    file = namespace_of(module).get("__file__")
    if not isinstance(file, str) or not file.endswith(".py"):
        return ""
    try:
        text = importlib.util.decode_source(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def _parsed(text: str) -> ast.Module | None:
    """The syntax tree of a source. Most are not parsed: a text that lacks a name neither imports nor reads it."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


def _imported_as(tree: ast.Module, importer: ModuleType, module: str, name: str) -> set[str]:
    """The names under which a module's source imports a name of another module."""
    own = Module(importer.__name__, f"{_package(importer).replace('.', '/')}/module.py")
    bound: set[Import] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            bound.update(shape.bindings(node, own))
    found = {one.name for one in bound if one.module == module and one.attribute == name}
    return found | ({name} if any(one.module == module and one.name == "*" for one in bound) else set())


def _package(importer: ModuleType) -> str:
    """The package that a module's relative imports start from (``importlib._bootstrap._calc___package__``)."""
    space = namespace_of(importer)
    parent = getattr(space.get("__spec__"), "parent", None)
    found = space.get("__package__") if parent is None else parent
    return found if isinstance(found, str) else ""


def _executed(body: list[ast.stmt]) -> Iterator[ast.expr]:
    """The expressions that executing a module and its class bodies evaluates, the main program aside."""
    for statement in body:
        if isinstance(statement, ast.If) and shape.is_main_guard(statement.test):
            continue
        yield from (node for node in executed([statement]) if isinstance(node, ast.expr))
        if isinstance(statement, ast.ClassDef):
            yield from _executed(statement.body)


def _reads(node: ast.expr, names: set[str], modules: set[str], name: str) -> bool:
    match node:
        case ast.Name(id=found, ctx=ast.Load()):
            return found in names
        case ast.Attribute(value=ast.Name(id=found), attr=attribute, ctx=ast.Load()):
            return found in modules and attribute == name
    return False
