"""Where the name of a site leads now, and whether what it leads to is the site's.

What has a function's name and code need not be what runs: the application may have bound
the name anew, by a reload or by hand, and then the old function is still somewhere.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import compress
from types import FunctionType
from typing import Any, Final

from bcpatch import splices
from bcpatch.model import ModulePatch, Site
from bcpatch.process import guards
from bcpatch.process.accounting import Walk
from bcpatch.process.guards import NO_NAMES, Names
from bcpatch.process.history import Own
from bcpatch.process.objects import class_namespace, functions_in, is_class
from bcpatch.process.swap import ABSENT

_BEHIND: Final = 500
"""Objects that are looked at behind a name, which may hold a wrapper of the function."""


def led(namespace: Mapping[str, Any], qualname: str, walk: Walk) -> list[FunctionType]:
    """The functions of a name that the name leads to now; none where it leads nowhere, as those in functions do.

    ``walk`` says what is never entered on the way.
    """
    if "<" in qualname or not (value := bound(namespace, qualname)):
        return []
    plain = [one for one in functions_in(value[0]) if _is_of(one, namespace, qualname)]
    if plain:
        return plain
    behind = Walk(walk.names, walk.beyond)
    behind.enter(value, _BEHIND, narrow=True)
    return [one for one in behind.functions if _is_of(one, namespace, qualname)]


def bound(namespace: Mapping[str, Any], qualname: str) -> Sequence[object]:
    """What a dotted name is bound to in a module and its classes, or nothing."""
    if "." not in qualname:
        return (namespace[qualname],) if qualname in namespace else ()
    *classes, name = qualname.split(".")
    space, private = namespace, ""
    for one in classes:
        value = space.get(_mangled(one, private))
        if not is_class(value):
            return ()
        space, private = class_namespace(value), one
    name = _mangled(name, private)
    return (space[name],) if name in space else ()


def leading(named: Iterable[tuple[dict[str, Any], Site]]) -> Names:
    """What the names that lead to some sites are bound to; each site comes with the namespace of its module."""
    found: list[tuple[Callable[..., object], str, str, object]] = []
    known: dict[tuple[int, str], object] = {}
    for namespace, site in named:
        lookup: Callable[..., object] = namespace.get
        owner, private = id(namespace), ""
        words = site.module
        for part in site.qualname.partition(".<")[0].split("."):
            name, words = _mangled(part, private), f"{words}.{part}"
            value = known.get((owner, name))
            if value is None:
                value = known[owner, name] = lookup(name, ABSENT)
                found.append((lookup, name, words, value))
            if not is_class(value):
                break
            lookup, owner, private = class_namespace(value).get, id(value), part
    return Names._make(zip(*found, strict=True)) if found else NO_NAMES


def _mangled(name: str, private: str) -> str:
    """A name as the body of the class ``private`` binds it (language reference, "Identifiers")."""
    around = private.lstrip("_")
    return f"_{around}{name}" if around and name.startswith("__") and not name.endswith("__") else name


def _is_of(function: FunctionType, namespace: Mapping[str, Any], qualname: str) -> bool:
    return function.__globals__ is namespace and function.__code__.co_qualname == qualname


def left_over(functions: Sequence[FunctionType], own: Own) -> list[FunctionType]:
    """Those that nobody holds but bcpatch, and ``functions``."""
    counts = [own[id(one)] for one in functions]
    return list(compress(functions, list(guards.counted(functions, counts))))


def is_bound_last(site: Site, part: ModulePatch) -> bool:
    """Whether the base has no definition of the site's name after the site's own, which the name would lead to."""
    try:
        tree = ast.parse(splices.applied(part.back, part.source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True
    *classes, name = site.qualname.split(".")
    return site.ordinal + 1 >= sum(1 for _ in _definitions(tree, classes, name))


def _definitions(node: ast.AST, classes: Sequence[str], name: str) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                if not classes and child.name == name:
                    yield child
            case ast.ClassDef():
                if classes and child.name == classes[0]:
                    yield from _definitions(child, classes[1:], name)
            case ast.stmt() | ast.ExceptHandler() | ast.match_case():
                yield from _definitions(child, classes, name)
