"""One access under the strict policy: a name, an import, an attribute.

Each function yields what is wrong with it. How code comes to an access (an
instruction, a constant name given to ``getattr``, a string annotation, a format text)
is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from bcpatch.diagnostics import Diagnostic, Step, finding
from bcpatch.flow.origins import Attribute, Called, Display, Item, Origin, Parameter
from bcpatch.model import Import
from bcpatch.rules import callables, names, routes
from bcpatch.rules.reach import Frame, Scope, global_paths, is_sure, named, only_asks, options, paths, receiver
from bcpatch.rules.sourcetext import quotation

#: The rule that an own-module name breaks, by what the code is.
OWN_NAME = {"function": "BCP101", "default": "BCP108", "annotation": "BCP107", "type parameters": "BCP107"}


def report(
    code: str, message: str, offset: int, frame: Frame, trail: tuple[Step, ...] = (), help: str | None = None
) -> Diagnostic:
    """A finding at an instruction; at what it quotes, where that is known."""
    place = frame.scope.text.place(frame.flow.position(offset))
    if frame.quoted:
        place = quotation(frame.quoted, place)
    return finding(code, message, place, site=frame.scope.site, trail=trail, help=help)


# --- names -------------------------------------------------------------------------------


def name(name: str, offset: int, frame: Frame) -> Iterator[Diagnostic]:
    """A name looked up in the module's namespace, then in the builtins."""
    scope = frame.scope
    if name in scope.class_names:
        message = f"`{name}` is a name of the class around it, and so of its own module"
        yield report(OWN_NAME[scope.role], message, offset, frame)
        return
    if _is_for_checkers(name, frame):
        message = f"`{name}` is imported for type checkers only: when the code runs, it is a name of its own module"
        yield report(OWN_NAME[scope.role], message, offset, frame)
        return
    reached = global_paths(name, scope)
    for path in reached:
        yield from dotted(path, offset, frame)
    if reached or name in names.FACTS:
        return
    if name in names.INSIDE:
        yield report("BCP113", f"`{name}` {names.INSIDE[name]}", offset, frame)
    elif "*" in scope.imports and name not in scope.text.bound:
        stars = " and ".join(sorted({f"`{one.module}`" for one in scope.imports["*"]}))
        message = f"`{name}` may come with the `*` imported from {stars}, or be a global of `{scope.module.name}`"
        yield report("BCP106", message, offset, frame, help=f"import `{name}` by its name")
    elif scope.role == "function" and name not in scope.text.bound:
        message = f"`{name}` is no builtin, and `{scope.module.name}` neither imports nor defines it"
        yield report("BCP110", message, offset, frame)
    else:
        yield report(OWN_NAME[scope.role], _own_name(name, scope), offset, frame)


def _is_for_checkers(name: str, frame: Frame) -> bool:
    """Whether a value is asked for by a name that only ``if TYPE_CHECKING:`` imports, and the module binds itself."""
    scope = frame.scope
    imports = scope.imports.get(name, ())
    if not imports or any(one.runtime for one in imports):
        return False
    return scope.role in ("function", "default") and not frame.quoted and scope.text.binds_itself(name)


def _own_name(name: str, scope: Scope) -> str:
    only = f"a strict patch uses builtins and imported names only{_ALSO[scope.role]}"
    hides = ", which hides the builtin" if name in names.BUILTINS else ""
    return f"{only}; `{name}` is a global of `{scope.module.name}`{hides}"


_ALSO = {
    "function": "",
    "default": ", in default values too",
    "annotation": ", in annotations too",
    "type parameters": ", in type parameters too",
}


def dotted(path: str, offset: int, frame: Frame) -> Iterator[Diagnostic]:
    """A path that imports lead to, with every part of it."""
    for code, message in (*_reached(path, frame.scope), *_spelling(path)):
        yield report(code, message, offset, frame)


def reached(path: str, offset: int, frame: Frame) -> Iterator[Diagnostic]:
    """What a path that imports lead to is: the module itself, or a way around the rules?"""
    for code, message in _reached(path, frame.scope):
        yield report(code, message, offset, frame)


def imported(binding: Import, scope: Scope) -> Iterator[tuple[str, str]]:
    """The rule and the words against an import statement of the module itself."""
    for path in filter(None, (binding.module, binding.submodule)):
        yield from _reached(path, scope)
        yield from _private_parts(path)
    if binding.attribute not in (None, "*"):
        path = f"{binding.module}.{binding.attribute}"
        yield from _reached(path, scope)
        if names.is_private(binding.attribute or ""):
            yield from _private_parts(path)


def _reached(path: str, scope: Scope) -> Iterator[tuple[str, str]]:
    path = routes.ALIASES.get(path, path)
    own = scope.text.own_path(path)
    if own:
        yield "BCP112", f"`{own}` is the module that the patch changes"
    elif path == "__main__":
        yield "BCP112", "`__main__` is the module that was started, which may be the one that the patch changes"
    leading, row = _rows(path)
    if leading:
        yield "BCP112", f"`{leading}` {names.OWN_MODULE[leading]}"
    if row and not (row in names.IN_ANNOTATIONS and scope.role in ("annotation", "type parameters")):
        yield "BCP111", f"`{row.removeprefix('builtins.')}` {names.REACHING[row]}"


@lru_cache(maxsize=1024)
def _rows(path: str) -> tuple[str | None, str | None]:
    """The rows of the tables of what reaches a path's own module, or around the rules."""
    return named(path, names.OWN_MODULE), named(path, names.REACHING)


@lru_cache(maxsize=1024)
def _spelling(path: str) -> tuple[tuple[str, str], ...]:
    """The rules and the words against the names in a path."""
    return (*_private_parts(path), *_inside_parts(path))


def _private_parts(path: str) -> Iterator[tuple[str, str]]:
    parts = path.split(".")
    for end, part in enumerate(parts, 1):
        if names.is_private(part) and not named(".".join(parts[:end]), names.PUBLIC_NAMES):
            where = f" of `{'.'.join(parts[: end - 1])}`" if end > 1 else ""
            yield "BCP103", f"a strict patch uses public names of other modules only (`{part}`{where})"
            return


def _inside_parts(path: str) -> Iterator[tuple[str, str]]:
    """``from shop import __dict__`` takes the inside of a module, as ``shop.__dict__`` does."""
    *_, last = path.split(".")
    if last in names.INSIDE:
        yield "BCP113", f"`{last}` {names.INSIDE[last]}"
    elif last in callables.BY_NAME_METHODS:
        yield "BCP106", f"`{last}` is imported: the names that it is called with can't be proved"


# --- attributes --------------------------------------------------------------------------


#: What a public attribute may be called that leads to what reaches around the rules, or to what an object keeps inside;
#: so may one that is called like the module.
TELLING: Final = routes.TELLING | names.INSIDE.keys()


def attribute(owner: Origin, name: str, offset: int, frame: Frame) -> Iterator[Diagnostic]:
    """An attribute of a value."""
    if name == "mro":
        if _is_class(owner, frame):
            message = "`mro` gives classes of the same module"
            yield report("BCP113", message, offset, frame, _trail(owner, offset, frame))
    elif name in names.INSIDE:
        if name not in names.CODES or not only_asks(frame, offset, names.DESCRIBING):
            yield report("BCP113", f"`{name}` {names.INSIDE[name]}", offset, frame, _trail(owner, offset, frame))
    elif names.is_private(name) and name not in names.PUBLIC_ATTRIBUTES:
        yield from _private(owner, name, offset, frame)
    elif name in TELLING or name in frame.scope.text.own_names:
        for path in sorted(paths(owner, frame)):
            yield from reached(f"{path}.{name}", offset, frame)
        yield from _of_unknown(owner, name, offset, frame)


def _is_class(origin: Origin, frame: Frame) -> bool:
    """Whether a value is seen to be a class: the receiver's, `type` itself, or what it gives."""
    for one, where in options(origin, frame):
        klass = one.callee if isinstance(one, Called) else one
        if "builtins.type" in paths(klass, where) or (isinstance(one, Attribute) and one.name == "__class__"):
            return True
    return False


def module_by_name(owner: Origin | None, name: str, offset: int, frame: Frame) -> Iterator[Diagnostic]:
    """By a name that is no attribute of an instruction: ``getattr(os, "sys")`` is a module that would be out of sight.

    Without an ``owner`` it is an attribute of what comes later.
    """
    found = [path for path in paths(owner, frame) if not path.startswith("builtins.")] if owner else []
    if any(named(f"{path}.{name}", routes.WATCHED_MODULES) for path in found) or (
        owner is None and name in routes.WATCHED_NAMES
    ):
        message = f"`{name}` is reached by name: a module that has functions that access by name"
        yield report("BCP106", message, offset, frame, help=f"import `{name}` by a statement")


def _of_unknown(owner: Origin, name: str, offset: int, frame: Frame) -> Iterator[Diagnostic]:
    """``anything.sys.modules``: the attribute of an unknown value may well be that module.

    So may ``anything.mock.patch`` be `unittest.mock.patch`.
    """
    for one, where in options(owner, frame):
        if isinstance(one, Item) and isinstance(one.owner, Display):
            for item in one.owner.items:
                yield from _of_unknown(item, name, offset, where)
        if isinstance(one, Attribute) and not paths(one, where):
            path = f"{one.name}.{name}"
            own = frame.scope.text.own_path(f"{_spelled(one)}.{name}")
            for row in (*routes.BY_TAIL.get(path, ()), *((own,) if own else ())):
                yield from reached(row, offset, frame)
                if row in callables.BY_NAME:
                    message = f"`{path}` of an unknown value: what it is called with can't be proved"
                    help = f"import `{row.rpartition('.')[0]}` by a statement"
                    yield report("BCP106", message, offset, frame, help=help)


def _spelled(origin: Origin) -> str:
    """The attributes that lead from a value that is not known: ``other.shop.eu`` is ``.shop.eu``."""
    return f"{_spelled(origin.owner)}.{origin.name}" if isinstance(origin, Attribute) else ""


def _private(owner: Origin, name: str, offset: int, frame: Frame) -> Iterator[Diagnostic]:
    found = [paths(one, where) for one, where in options(owner, frame)]
    if all(some and all(named(f"{path}.{name}", names.PUBLIC_NAMES) for path in some) for some in found):
        if is_sure(owner, frame):
            return
    if receiver(owner, frame) is not None:
        site = frame.scope.site
        of = f" of `{site.qualname.rpartition('.')[0]}`" if site else ""
        message = f"a strict patch uses public attributes of its receiver only (`{name}`{of})"
        yield report("BCP104", message, offset, frame, _trail(owner, offset, frame))
        return
    modules = sorted({path for some in found for path in some})
    if modules:
        message = f"a strict patch uses public names of other modules only (`{name}` of `{modules[0]}`)"
        yield report("BCP103", message, offset, frame)
    else:
        yield report("BCP105", f"a strict patch uses public attributes only (`{name}`)", offset, frame)


def _trail(owner: Origin, offset: int, frame: Frame) -> tuple[Step, ...]:
    """The chain from the receiver to the owner; none where the place itself shows it."""
    chain = receiver(owner, frame)
    if not chain:
        return ()
    place = frame.scope.text.place(frame.flow.position(offset))
    shown = isinstance(owner, Parameter) and place.text[place.column - 1 :].startswith(f"{owner.name}.")
    return () if shown else chain
