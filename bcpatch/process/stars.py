"""Modules that took whatever another one had (``from module import *``), when what it has to give changes.

A name that the module gives now is bound there too, where a fresh start would bind it;
where that can't be told it is refused. Nothing here changes anything.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType, ModuleType

import msgspec

from bcpatch.diagnostics import Diagnostic, Place, finding
from bcpatch.model import Import
from bcpatch.process.objects import all_modules, is_module, namespace_of
from bcpatch.process.swap import ABSENT, Change, Kind, Slot
from bcpatch.process.texts import Facts, Texts, bound
from bcpatch.source.evaluated import binds, evaluated


class Gift(msgspec.Struct, frozen=True):
    """A module, what it gave before the patch, and its names as they will be after the swap where these differ.

    ``deleted`` are names that are gone then, ``left`` those that no text has any more and that stay bound.
    """

    module: ModuleType
    before: frozenset[str]
    pending: Mapping[str, object]
    deleted: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()


def given(
    module: ModuleType, pending: Mapping[str, object] = MappingProxyType({}), deleted: Collection[str] = ()
) -> frozenset[str]:
    """The names that ``from module import *`` binds (Language Reference, "The import statement")."""
    space = namespace_of(module)
    listed = None if "__all__" in deleted else pending.get("__all__", space.get("__all__"))
    if isinstance(listed, list | tuple | set | frozenset):
        return frozenset(name for name in listed if isinstance(name, str))
    names: Iterable[object] = (*space, *pending)
    return frozenset(name for name in names if isinstance(name, str) and not name.startswith("_"))


def given_by(name: str) -> frozenset[str]:
    """What a module gives that can be imported by a name; nothing where none can be."""
    module = sys.modules.get(name)
    return given(module) if is_module(module) else frozenset()


def hidden(imports: Iterable[Import], module: ModuleType, name: str) -> Iterator[Diagnostic]:
    """Why a module's name can't go: a module that it takes all names of has another one (BCP520)."""
    for one in imports:
        origin = sys.modules.get(one.module) if one.name == "*" else None
        if is_module(origin) and name in given(origin):
            values = namespace_of(origin)
            if values.get(name, ABSENT) is not namespace_of(module).get(name):
                yield _refusal(module, f"`{name}` of `{module.__name__}` hides what `{one.module}` has, and is gone")


def covered(tree: ast.Module, module: ModuleType, names: Iterable[str], line: int) -> Iterator[Diagnostic]:
    """Why a statement on a line of the new text can't bind names: all names of a module are taken below it (BCP520)."""
    below = {name: origin for at, name, origin, _ in _taken(tree, module) if origin and at > line}
    for name in sorted(below.keys() & names):
        message = f"`{name}` is what `from {below[name]} import *` gives `{module.__name__}`, below this line"
        yield _refusal(module, message)


def given_below(tree: ast.Module, module: ModuleType, line: int) -> dict[str, str]:
    """The names that a module gets where it takes all names of another below a line of its text, with what gives them.

    Left out are those that it has there already by taking the same thing.
    """
    taken = [*_taken(tree, module)]
    above = {name: value for at, name, _, value in taken if at <= line}
    below = ((name, origin, value) for at, name, origin, value in taken if origin and at > line)
    return {name: origin for name, origin, value in below if above.get(name, ABSENT) is not value}


def _taken(tree: ast.Module, module: ModuleType) -> Iterator[tuple[int, str, str, object]]:
    """By lines: names that a module's text takes from other modules, and what these are there; with the module of which
    it takes all names, if it does.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for one in bound([node], module):
                origin = one.module if one.name == "*" else ""
                yield from ((node.lineno, name, origin, value) for name, value in _gives(one))


def _gives(one: Import) -> Iterator[tuple[str, object]]:
    """What an import of a name, or of all names, binds, as far as the module has it by itself."""
    origin = sys.modules.get(one.module)
    if is_module(origin):
        space = namespace_of(origin)
        names = given(origin) if one.name == "*" else (one.attribute,)
        yield from ((name if one.name == "*" else one.name, space[name]) for name in names if name in space)


def followed(texts: Texts, gift: Gift) -> Iterator[Change | Diagnostic]:
    """The stores that give a module's new names to those who took all it had, and why that can't be done (BCP520)."""
    after = given(gift.module, gift.pending, gift.deleted) - gift.deleted
    values = {**namespace_of(gift.module), **gift.pending}
    gained = {name: values.get(name, ABSENT) for name in sorted(after - gift.before)}
    if gained or gift.before - after:
        yield from _followed(texts, gift.module, gift.before, gained, gift.before - after, set())
    for other, tree, facts in _takers(texts, gift.module, gift.before) if gift.before & gift.left else ():
        origins, there = texts.names(gift.module), namespace_of(gift.module)
        elsewhere = {name for _, name, origin, _ in _taken(tree, other) if origin not in origins}
        for name in sorted(gift.before & gift.left & elsewhere.union(*map(binds, tree.body))):
            if namespace_of(other).get(name) is there.get(name) and not facts.hides(origins, name):
                message = (
                    f"`{gift.module.__name__}` has no `{name}` any more, which hides one that `{other.__name__}` has"
                )
                yield _refusal(other, message)


def _followed(
    texts: Texts,
    module: ModuleType,
    before: frozenset[str],
    gained: Mapping[str, object],
    lost: Collection[str],
    known: set[int],
) -> Iterator[Change | Diagnostic]:
    known.add(id(module))
    origins = texts.names(module)
    for other, tree, facts in _takers(texts, module, before):
        space = namespace_of(other)
        passed = {}
        for name, value in gained.items():
            if space.get(name, ABSENT) is value or (name in space and facts.hides(origins, name)):
                continue
            reason = _obstacle(tree, other, origins, name, value)
            if reason:
                yield _refusal(other, f"`{module.__name__}` has `{name}` for `{other.__name__}` now, {reason}")
                continue
            yield Change(Slot(Kind.NAMESPACE, space, name), ABSENT, value)
            passed[name] = value
        for name in sorted(lost):
            if name in space and not facts.hides(origins, name):
                yield _refusal(
                    other, f"`{other.__name__}` took `{name}` from `{module.__name__}`, which gives it no more"
                )
        passed = {name: value for name, value in passed.items() if name in given(other, passed)}
        if passed and id(other) not in known:
            yield from _followed(texts, other, given(other) - passed.keys(), passed, (), known)


def _refusal(importer: ModuleType, message: str) -> Diagnostic:
    return finding("BCP520", message, Place(str(namespace_of(importer).get("__file__"))))


def _obstacle(tree: ast.Module, importer: ModuleType, origins: Collection[str], name: str, value: object) -> str | None:
    """Why a name can't be bound in a module that took all names of another, which has these for itself."""
    if value is ABSENT:
        return "which it lists and does not have"
    if name in namespace_of(importer):
        return "which has another of that name"
    if hasattr(builtins, name) or "__getattr__" in namespace_of(importer):
        return "where something else answered for it"
    if not any(_is_star_of(one, importer, origins) for one in tree.body):
        return "which may have imported it or not"
    if any(isinstance(node, ast.Name) and node.id == name for one in tree.body for node in evaluated(one)):
        return "which used the name while it was imported"
    return None


def _takers(texts: Texts, module: ModuleType, before: frozenset[str]) -> Iterator[tuple[ModuleType, ast.Module, Facts]]:
    """Modules whose source takes all names of another. They have at least one that is no module, if there was any."""
    space = namespace_of(module)
    telling = {name for name in before if not is_module(space.get(name))} or before
    for other in all_modules():
        if other is module or (telling and telling.isdisjoint(namespace_of(other))):
            continue
        facts = texts.facts(other, ({"*"},))
        tree = texts.tree(other) if facts and facts.takes_all_of(texts.names(module)) else None
        if tree is not None and facts is not None:
            yield other, tree, facts


def _is_star_of(node: ast.AST, importer: ModuleType, origins: Collection[str]) -> bool:
    return any(one.name == "*" and one.module in origins for one in bound([node], importer))
