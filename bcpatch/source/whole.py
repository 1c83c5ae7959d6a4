"""Statements that read a namespace as a whole: all names of the module, or of a class, whatever they are.

``vars(Shop)``, ``dir()``, ``globals()`` and their like name nothing of what they give. Reads syntax only.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator

from bcpatch.source.calls import given_to, holder
from bcpatch.source.shape import last_name

#: They give the names of what they are given; without an argument those of where they stand.
_LISTERS = frozenset({"vars", "dir", "getmembers", "getmembers_static", "classify_class_attrs"})
#: They read those of a module by its name (``enum``).
_BY_MODULE_NAME = frozenset({"_convert_", "_convert"})
_OF_HERE = frozenset({"vars", "dir", "locals"})
#: Methods of a namespace that change it and give nothing but what they are asked for.
_STORING = frozenset({"update", "setdefault", "__setitem__"})


def looks(nodes: Iterable[ast.AST], here: str, owners: Collection[str], foreign: Collection[str]) -> str | None:
    """What some evaluated nodes read as a whole of the ``owners``: a class's qualified name, or "" for the module.

    ``here`` is the owner of the body that they stand in; ``foreign`` are names of other modules' things. What no
    name tells of may be any class of the owners.
    """
    every = [*nodes]
    spared = {id(one) for node in every for one in _spared(node)}
    found = (one for node in every if id(node) not in spared for one in _looked_at(node, here))
    return next((one for found_at in found for one in _among(found_at, owners, foreign)), None)


def looks_of_called(nodes: Iterable[ast.AST], statement: Iterable[ast.AST], owners: Collection[str]) -> str | None:
    """The same of a function that a statement has run: the module's names, and those of classes that it was given."""
    every = [*nodes]
    spared = {id(one) for node in every for one in _spared(node)}
    reads = [one for node in every if id(node) not in spared for one in _looked_at(node, None)]
    if "" in owners and any(_is_module(one) for one in reads):
        return ""
    if not any(isinstance(one, ast.expr) and not _is_module(one) for one in reads):
        return None
    given = {name for node in statement if isinstance(node, ast.Call) for name in given_to(node)}
    return next((one for one in owners if one and one.rpartition(".")[2] in given), None)


def _looked_at(node: ast.AST, here: str | None) -> Iterator[ast.expr | str]:
    """What a node reads as a whole: an expression, or the owner of a body."""
    match node:
        case ast.Call(func=ast.Name(id="globals"), args=[], keywords=[]):
            yield ""
        case ast.Call(func=ast.Name(id=name), args=[], keywords=[]) if name in _OF_HERE and here is not None:
            yield here
        case ast.Call(func=func, args=[first, *_]) if last_name(func) in _LISTERS:
            yield first
        case ast.Call(func=func) if last_name(func) in _BY_MODULE_NAME:
            yield ""
        case ast.Attribute(value=value, attr="__dict__", ctx=ast.Load()):
            yield value


def _spared(node: ast.AST) -> Iterator[ast.AST]:
    """A namespace that is only stored into, or asked for a name that stands there."""
    match node:
        case ast.Subscript(value=value, ctx=ast.Store() | ast.Del()):
            yield value
        case ast.Subscript(value=value, slice=ast.Constant()):
            yield value
        case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in _STORING:
            yield value
        case ast.Call(func=ast.Attribute(value=value, attr="get" | "pop"), args=[ast.Constant(), *_]):
            yield value


def _is_module(looked_at: ast.expr | str) -> bool:
    """Whether it is this module: ``sys.modules[__name__]``, or what stands for it."""
    match looked_at:
        case str():
            return not looked_at
        case ast.Subscript(value=ast.Attribute(attr="modules") | ast.Name(id="modules"), slice=ast.Name(id="__name__")):
            return True
        case ast.Call(func=func, args=[ast.Name(id="__name__")]) if last_name(func) == "import_module":
            return True
    return False


def _among(looked_at: ast.expr | str, owners: Collection[str], foreign: Collection[str]) -> Iterator[str]:
    if isinstance(looked_at, str) or _is_module(looked_at):
        wanted = looked_at if isinstance(looked_at, str) else ""
        yield from [wanted] if wanted in owners else []
    elif last_name(holder(looked_at)) not in foreign:
        classes = [one for one in owners if one]
        yield from [one for one in classes if one.rpartition(".")[2] == last_name(looked_at)] or classes
