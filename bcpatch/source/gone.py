"""Names that a module has no more, and who still uses them: a fresh start would not find them.

Reads syntax and scopes, by names alone. What is looked up by a text (`getattr`) is not seen; where a name may come from
elsewhere, nothing is said.
"""

from __future__ import annotations

import ast
import builtins
import symtable
from collections.abc import Iterable, Iterator, Mapping, Set

from bcpatch.model import Import, Module
from bcpatch.source import shape
from bcpatch.source.evaluated import binds
from bcpatch.source.outline import Source, decoded, parsed


def names(old: ast.Module, new: ast.Module, owner: Module, others: Mapping[str, Source]) -> frozenset[str]:
    """The names that a module's old text binds and its new one does not, as far as that can be told.

    Those may come with all names of another module, unless it is one of ``others``, by their names, and has them not. A
    submodule is bound in its package by whoever imports it.
    """
    before = _bound(old)
    after = _with_stars(new, owner, others, {owner.name})
    if after is None or any(isinstance(one, shape.DEFINITIONS) and one.name == "__getattr__" for one in new.body):
        return frozenset()
    stored = {name for node in ast.walk(new) if isinstance(node, ast.Global) for name in node.names}
    submodules = {one.name for one in _imports(ast.walk(old), owner) if _whole(one) == f"{owner.name}.{one.name}"}
    return frozenset(before - after - stored - submodules - {"*"})


def _bound(tree: ast.Module) -> set[str]:
    return {name for one in tree.body for name in binds(one)}


def _with_stars(tree: ast.Module, module: Module, others: Mapping[str, Source], known: set[str]) -> set[str] | None:
    """The names that a text binds, with those that it takes from others by ``*``; None where these are not known."""
    found = _bound(tree)
    for one in _imports(ast.walk(tree), module) if "*" in found else ():
        if one.attribute == "*" and one.module not in known:
            known.add(one.module)
            source = others.get(one.module)
            taken = parsed(source) if source is not None else None
            more = None if source is None or taken is None else _with_stars(taken, source.module, others, known)
            if more is None:
                return None
            found |= more
    return found


def used_here(source: Source, tree: ast.Module, gone: Set[str]) -> dict[str, int]:
    """The lines on which a module first reads names that are ``gone`` from it, or lists them in its ``__all__``."""
    found: dict[str, int] = {}
    reads = sorted((one.lineno, one.id) for one in _nodes(tree) if isinstance(one, ast.Name) and one.id in gone)
    for scope in _scopes(symtable.symtable(decoded(source), source.path, "exec")):
        for symbol in scope.get_symbols():
            name = symbol.get_name()
            if name in gone and symbol.is_referenced() and symbol.is_global() and not hasattr(builtins, name):
                lines = (line for line, read in reads if read == name and line >= scope.get_lineno())
                _first(found, name, lines)
    for statement in tree.body:
        if "__all__" in binds(statement):
            for node in ast.walk(statement):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in gone:
                    _first(found, node.value, [node.lineno])
    return found


def used_by(source: Source, owner: str, gone: Set[str]) -> dict[str, int]:
    """The lines on which another module first takes names that are ``gone`` from the ``owner``, or reads them as its
    attributes.
    """
    found: dict[str, int] = {}
    tree = parsed(source) if any(name.encode() in source.data for name in gone) else None
    if tree is None:
        return found
    nodes = list(_nodes(tree))
    bases: set[str] = set()
    for node in nodes:
        for one in _imports([node], source.module):
            if one.module == owner and one.attribute in gone:
                _first(found, str(one.attribute), [getattr(node, "lineno", 0)])
            if f"{owner}.".startswith(f"{_whole(one)}."):
                bases.add(one.name + owner.removeprefix(_whole(one)))
    local = {one.arg for one in nodes if isinstance(one, ast.arg)}
    local |= {one.id for one in nodes if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load)}
    bases = {one for one in bases if one.partition(".")[0] not in local}
    for node in nodes:
        if isinstance(node, ast.Attribute) and node.attr in gone and isinstance(node.ctx, ast.Load):
            if shape.dotted(node.value) in bases:
                _first(found, node.attr, [node.lineno])
    return found


def _whole(one: Import) -> str:
    """What an import binds, as a dotted name."""
    return one.module if one.attribute is None else f"{one.module}.{one.attribute}"


def _first(found: dict[str, int], name: str, lines: Iterable[int]) -> None:
    for line in lines:
        found[name] = min(line, found.get(name, line))


def _scopes(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for inner in table.get_children():
        yield from _scopes(inner)


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes that run at some time: not what type checkers alone see."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        is_typing = isinstance(node, ast.If) and shape.is_type_checking(node.test)
        waiting += node.orelse if isinstance(node, ast.If) and is_typing else ast.iter_child_nodes(node)


def _imports(nodes: Iterable[ast.AST], importer: Module) -> Iterator[Import]:
    for one in nodes:
        if isinstance(one, ast.Import | ast.ImportFrom):
            yield from shape.bindings(one, importer)
