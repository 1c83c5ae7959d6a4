"""What Python and the application derive from a class's names when they make the class, and would not renew later.

Says which names can't be given to a class that is made already, and renews what can be:
the set of abstract methods, and the answers that abstract base classes keep.
"""

from __future__ import annotations

import abc
import builtins
import dis
import inspect
import types
from abc import ABCMeta
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any, Final

from bcpatch.process.objects import class_namespace, is_class, is_function
from bcpatch.process.swap import ABSENT, Change, Kind, Row, Slot, held

_QUIET_INITIALIZERS: Final = frozenset({"builtins", "typing", "typing_extensions", "abc", "collections.abc"})
#: What types of generic aliases are of, which stand for the class that they are made from (PEP 560).
_ALIASES: Final = frozenset({"types", "typing", "typing_extensions", "collections.abc"})
#: Packages that leave plain methods alone when a class is made, but for those that their code names.
_QUIET_FOR_METHODS: Final = frozenset(
    {"enum", "django", "marshmallow", "pydantic", "sqlalchemy", "typing", "typing_extensions"}
)
#: The names that are Python's own between double underscores; others are some package's.
_OF_PYTHON: Final = frozenset(
    name for kind in (*vars(builtins).values(), *vars(types).values()) if isinstance(kind, type) for name in vars(kind)
).union(("__getattr__", "__missing__", "__aenter__", "__aexit__", "__fspath__", "__bytes__"))
#: What code calls that looks at the names of a class or of a namespace.
_LOOKS: Final = frozenset(
    """
    vars dir getattr hasattr getmembers getmembers_static getattr_static __dict__ items keys values get pop copy
    setdefault update get_type_hints __getattribute__
    """.split()
)
#: Where a class has none of these, a framework may put its own into it: then they are there already.
_SHOWING: Final = frozenset({"__str__", "__repr__", "__format__"})
_HOOKS: Final = ("__new__", "__init__", "__prepare__", "__call__")
_forget: Final[Callable[[type], None]] = getattr(abc, "_reset_caches")  # noqa: B009 (typeshed does not know it)
_PLAIN_METHODS: Final = (FunctionType, property, staticmethod, classmethod)


def with_subclasses(owner: type) -> list[type]:
    """A class and all that are derived from it, bases first."""
    found: dict[int, type] = {}
    waiting = [owner]
    for cls in waiting:
        if id(cls) not in found:
            found[id(cls)] = cls
            waiting += type.__subclasses__(cls)
    return sorted(found.values(), key=lambda cls: len(cls.__mro__))


# --- what stands against a change ------------------------------------------------------------


def reader_of_values(owner: type) -> str | None:
    """What looks at a class's attributes when the class is made: a metaclass, a base, or what stands for one."""
    if type(owner) not in (type, ABCMeta):
        return f"its metaclass `{type(owner).__qualname__}`"
    for one in class_namespace(owner).get("__orig_bases__", ()):  # types.resolve_bases
        if not is_class(one) and type(one).__module__ not in _ALIASES:
            return f"`{getattr(one, '__qualname__', type(one).__qualname__)}`, which stands for its base"
    for base in owner.__mro__[1:]:
        if "__init_subclass__" in class_namespace(base) and base.__module__ not in _QUIET_INITIALIZERS:
            return f"`{base.__qualname__}.__init_subclass__`"
    return None


def reader_of_methods(owner: type, names: Iterable[str]) -> str | None:
    """What has looked for methods of these names when a class, or what depends on it, was made."""
    if class_namespace(owner).get("_is_protocol"):
        return "the checks of its protocol"
    given = set(names)
    if issubclass(owner, type) and not given.isdisjoint((*_HOOKS, "mro")):
        return "the making of its classes"
    if "__init_subclass__" in given and type.__subclasses__(owner):
        return f"the making of `{type.__subclasses__(owner)[0].__qualname__}`"
    for meta in inspect.getmro(type(owner)):
        if meta in (type, ABCMeta):
            break
        for name in _HOOKS:
            if _reads(meta, name, owner, given):
                return f"its metaclass `{meta.__qualname__}`"
    for base in owner.__mro__[1:]:
        if base.__module__ not in _QUIET_INITIALIZERS and _reads(base, "__init_subclass__", owner, given):
            return f"`{base.__qualname__}.__init_subclass__`"
    return None


def _reads(maker: type, name: str, owner: type, given: set[str]) -> bool:
    """Whether what makes a class looks at methods of these names."""
    hook = class_namespace(maker).get(name)
    hook = getattr(hook, "__func__", hook)
    if maker.__module__.partition(".")[0] not in _QUIET_FOR_METHODS or not isinstance(hook, FunctionType):
        return _looks(hook, given)
    given = given - _SHOWING
    return any(
        (one.startswith("__") and one.endswith("__") and one not in _OF_PYTHON) or _is_marked(owner, one)
        for one in given
    ) or any(_names(code, given) for function in _with_called(hook) for code in _codes(function.__code__))


def _is_marked(owner: type, name: str) -> bool:
    """Whether a class has inherited a method with marks, which what makes classes may give to another one as well."""
    inherited = next((space[name] for one in owner.__mro__[1:] if name in (space := class_namespace(one))), None)
    return isinstance(inherited, _PLAIN_METHODS) and not is_plain_method(inherited)


def is_plain_method(value: object) -> bool:
    """Whether an attribute is a method that carries no mark which something could have looked for."""
    inner = getattr(value, "__func__", value) if isinstance(value, (staticmethod, classmethod)) else value
    marks = set(vars(inner)) - {"__wrapped__"} if isinstance(inner, FunctionType) else set()
    return isinstance(value, _PLAIN_METHODS) and not marks


def _looks(hook: object, names: set[str]) -> bool:
    """Whether a hook, or a function of its module that it calls, looks at the names of what is made."""
    if not isinstance(hook, FunctionType):
        return hook is not None
    return _takes_apart(hook.__code__) or any(
        not _LOOKS.isdisjoint(code.co_names) or _names(code, names)
        for function in _with_called(hook)
        for code in _codes(function.__code__)
    )


def _with_called(hook: FunctionType) -> Iterator[FunctionType]:
    """A function, and those that it may call by their names."""
    waiting, seen = [hook], {id(hook)}
    for function in waiting:
        yield function
        for code in _codes(function.__code__):
            for called in map(function.__globals__.get, code.co_names):
                if is_function(called) and id(called) not in seen:
                    seen.add(id(called))
                    waiting.append(called)


def _names(code: CodeType, names: set[str]) -> bool:
    return not names.isdisjoint((*code.co_names, *_texts(code)))


def _takes_apart(code: CodeType) -> bool:
    """Whether code iterates, subscripts or searches anything: it may be the namespace."""
    for inner in _codes(code):
        for one in dis.get_instructions(inner):
            if one.opname in ("GET_ITER", "CONTAINS_OP", "BINARY_SUBSCR") or one.argrepr == "[]":
                return True
    return False


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _texts(code: CodeType) -> Iterator[str]:
    return (constant for constant in code.co_consts if isinstance(constant, str))


# --- what is renewed ---------------------------------------------------------------------------


def abstract_changes(changes: Iterable[Change]) -> list[Change]:
    """The sets of abstract methods that differ once some names of classes have changed (``ABCMeta.__new__``)."""
    stores = {(id(one.slot.owner), one.slot.name): one.new for one in changes if one.slot.kind is Kind.CLASS}
    owners = {id(one.slot.owner): one.slot.owner for one in changes if one.slot.kind is Kind.CLASS}
    family = {id(cls): cls for owner in owners.values() if isinstance(owner, ABCMeta) for cls in with_subclasses(owner)}
    found: dict[int, frozenset[str]] = {}
    made = []
    for cls in sorted(family.values(), key=lambda one: len(one.__mro__)):
        space = _after(cls, stores)
        names = {name for name, value in space.items() if _is_abstract(value)}
        for base in cls.__bases__:
            inherited = found.get(id(base), class_namespace(base).get("__abstractmethods__", ()))
            names.update(name for name in inherited if _is_abstract(_found(cls, name, stores)))
        found[id(cls)] = frozenset(names)
        slot = Slot(Kind.CLASS, cls, "__abstractmethods__")
        if held(slot) != found[id(cls)]:
            made.append(Change(slot, held(slot), found[id(cls)]))
    return made


def _after(cls: type, stores: Mapping[tuple[int, str], object]) -> dict[str, object]:
    space = {**class_namespace(cls), **{name: value for (owner, name), value in stores.items() if owner == id(cls)}}
    return {name: value for name, value in space.items() if value is not ABSENT}


def _found(cls: type, name: str, stores: Mapping[tuple[int, str], object]) -> object:
    return next((space[name] for one in cls.__mro__ if name in (space := _after(one, stores))), None)


def _is_abstract(value: Any) -> bool:
    return bool(getattr(value, "__isabstractmethod__", False))


def forgotten_answers(changes: Iterable[Change]) -> list[Row]:
    """The calls that make abstract base classes forget which classes they took for theirs by what these say or have.

    A class asks those that are derived from it as well (``ABCMeta.__subclasscheck__``).
    """
    if not any(map(_decides, changes)):
        return []
    hooked = [cls for cls in with_subclasses(object) if "__subclasshook__" in class_namespace(cls)]
    asked = {id(one): one for cls in hooked for one in cls.__mro__ if isinstance(one, ABCMeta)}
    return [(_forget, cls) for cls in asked.values()]


def _decides(change: Change) -> bool:
    """Whether the answers may hang on a change: on a method that comes or goes, or on what is asked."""
    kind, owner, name = change.slot
    if kind is Kind.CLASS and name.startswith("__") and name.endswith("__"):
        return name == "__subclasshook__" or (change.old is ABSENT) != (change.new is ABSENT)
    return type(owner) is FunctionType and owner.__code__.co_name == "__subclasshook__"
