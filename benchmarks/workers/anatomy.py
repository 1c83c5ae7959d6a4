"""What some modules hold: all that can be reached from their names, in a form that is equal for equal modules.

Nothing of what is looked at is called. Uses the standard library and bcpatch's fingerprints.
"""

from __future__ import annotations

import collections
import functools
import hashlib
import inspect
import re
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

from bcpatch import fingerprint

_PLAIN = (bool, int, float, complex, str, bytes, bytearray, type(None), type(...), range, slice, type(NotImplemented))
#: What the interpreter keeps beside a namespace's own names.
_PASSED = frozenset(
    """
    __builtins__ __cached__ __loader__ __spec__ __warningregistry__ __annotations__ __annotate__ __annotate_func__
    __annotations_cache__ __conditional_annotations__ __dict__ __weakref__ __module__ __doc__ __qualname__ _abc_impl
    """.split()
)
#: Class and static methods that nobody has marked as such: what ``type`` makes of them has no attributes.
_IMPLICIT = ("__class_getitem__", "__init_subclass__", "__new__")
_LISTS = (list, tuple, collections.deque)
_SETS = (set, frozenset)
_MAPPINGS = (dict, types.MappingProxyType)
#: Descriptors and wrappers, with the attributes that hold what is in them.
_PARTS: tuple[tuple[type, tuple[str, ...]], ...] = (
    (property, ("fget", "fset", "fdel")),
    (staticmethod, ("__func__",)),
    (classmethod, ("__func__",)),
    (types.MethodType, ("__func__", "__self__")),
    (functools.partial, ("func", "args", "keywords")),
    (functools.partialmethod, ("func", "args", "keywords")),
    (functools.cached_property, ("func", "attrname")),
    (functools.singledispatchmethod, ("func", "dispatcher")),
    (type(functools.lru_cache(len)), ("__wrapped__",)),
    (re.Pattern, ("pattern", "flags")),
)


def portrait(
    modules: Iterable[ModuleType], texts: Mapping[str, str], allowed: Mapping[str, Iterable[str]] | None = None
) -> dict[str, Any]:
    """Everything that some modules hold, by the path to it.

    ``texts`` are those of files that may have changed: the lines of code that was not compiled from them, but made by
    something else under their name, are its maker's business. ``allowed`` are, by module, the names to look at; all
    where it says nothing of a module.
    """
    some = [*modules]
    look = _Look({one.__name__ for one in some}, texts)
    for module in some:
        names = None if allowed is None else allowed.get(module.__name__)
        look.namespace(module, None if names is None else frozenset(names))
    return look.found


class _Look:
    def __init__(self, modules: set[str], texts: Mapping[str, str]) -> None:
        self.modules = modules
        self.compiled = {file: _prints(compile(text, file, "exec", dont_inherit=True)) for file, text in texts.items()}
        self.namespaces = {id(vars(sys.modules[name])): name for name in modules}
        self.found: dict[str, Any] = {}
        self.paths: dict[int, str] = {}
        self.kept: list[object] = []  # what an address stands for must not go while the address is known

    def namespace(self, module: ModuleType, names: frozenset[str] | None) -> None:
        path = module.__name__
        space = dict(vars(module))
        self.found[path] = module.__doc__, _annotations(module)
        for name in sorted(space.keys() - _PASSED):
            if names is None or name in names:
                self.found[f"{path}:{name}"] = self.described(space[name], f"{path}:{name}")

    def described(self, value: object, path: str) -> Any:
        """A value, as what equal ones have in common; what has an identity is looked at where it is met first."""
        kind = type(value)
        if kind in _PLAIN:
            return repr(value)
        if issubclass(kind, ModuleType):
            return "module", value.__name__  # type: ignore[attr-defined]
        if kind is CodeType:
            return self.code(value)  # type: ignore[arg-type]
        if kind is dict and id(value) in self.namespaces:
            return "namespace", self.namespaces[id(value)]
        if isinstance(value, type) and _module(value) not in self.modules:
            return "type", _named(value)
        if kind is types.BuiltinFunctionType:
            return "builtin", _named(value)
        if kind is not tuple and kind is not frozenset:
            if id(value) in self.paths:
                return "see", self.paths[id(value)]
            self.paths[id(value)] = path
        self.kept.append(value)
        if kind is FunctionType:
            return self.function(value, path)  # type: ignore[arg-type]
        if isinstance(value, type):
            return self.class_(value, path)
        return kind.__qualname__, *self.instance(value, kind, path)

    def instance(self, value: Any, kind: type, path: str) -> Iterable[Any]:
        if kind in _LISTS or (isinstance(value, tuple) and kind.__module__ in self.modules):
            return [self.described(one, f"{path}[{at}]") for at, one in enumerate(value)]
        if kind in _SETS:
            return sorted(repr(self.described(one, f"{path}{{}}")) for one in value)
        if kind in _MAPPINGS or kind in (collections.OrderedDict, collections.defaultdict):
            return [
                (self.described(key, f"{path}.key"), self.described(one, f"{path}[{_short(key)}]"))
                for key, one in [*value.items()]
            ]
        for wrapper, names in _PARTS:
            if kind is wrapper:
                parts = [self.described(getattr(value, name, None), f"{path}.{name}") for name in names]
                return parts if path.endswith(_IMPLICIT) else [*parts, self._own(value, path)]
        return [self._own(value, path)]

    def _own(self, value: object, path: str) -> Any:
        """The attributes that a value has for itself; those of other packages' values are their own business."""
        if type(value).__module__ not in self.modules and not hasattr(value, "__wrapped__"):
            return None
        try:
            own = dict(object.__getattribute__(value, "__dict__"))
        except (AttributeError, TypeError, ValueError):
            return None
        passed = {"__dict__", "__weakref__", *(["__doc__"] if _copies(getattr(value, "__func__", None)) else [])}
        found = [(name, self.described(own[name], f"{path}.{name}")) for name in sorted(own.keys() - passed, key=str)]
        return {"state": found}

    def function(self, value: FunctionType, path: str) -> Any:
        if value.__module__ not in self.modules and value.__globals__.get("__name__") not in self.modules:
            return "function", _named(value), self._cells(value, path)
        return {
            "name": (value.__module__, value.__qualname__, value.__name__),
            "code": self.code(value.__code__),
            "defaults": self.described(value.__defaults__, f"{path}.defaults"),
            "keywords": self.described(value.__kwdefaults__, f"{path}.keywords"),
            "closure": self._cells(value, path),
            "doc": None if _copies(value) else value.__doc__,
            "annotations": _annotations(value),
            "parameters": repr(getattr(value, "__type_params__", ())),
            "own": [
                (name, self.described(one, f"{path}.{name}")) for name, one in sorted(vars(value).items(), key=str)
            ],
        }

    def _cells(self, value: FunctionType, path: str) -> list[Any]:
        """What a function has captured; the namespace of a class is described with the class."""
        names = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        return [self._cell(cell, path) for name, cell in names if name != "__classdict__"]

    def _cell(self, cell: types.CellType, path: str) -> Any:
        content = _content(cell)
        # a decorator may have made another class from this one, which is of no use then (``dataclass(slots=True)``)
        return ("type", _named(content)) if isinstance(content, type) else self.described(content, f"{path}.closure")

    def code(self, code: CodeType) -> tuple[Any, ...]:
        """What a code object means, and where it stands."""
        meaning = fingerprint.of(code)
        known = self.compiled.get(code.co_filename)
        if code.co_name == "__annotate__" or (known and meaning not in known):
            return code.co_qualname, meaning  # ``functools.wraps`` has kept the one that was there
        return code.co_qualname, meaning, *_places(code)

    def class_(self, value: type, path: str) -> Any:
        members = {}
        for name, one in sorted(vars(value).items()):
            if name == "__static_attributes__":
                members[name] = sorted(one)
            elif name not in _PASSED:
                members[name] = self.described(one, f"{path}.{name}")
        return {
            "name": (value.__module__, value.__qualname__, type(value).__qualname__),
            "order": [_named(one) for one in type.mro(value)] if type(value) is type else [],
            "doc": vars(value).get("__doc__") if isinstance(vars(value).get("__doc__"), str) else None,
            "annotations": _annotations(value),
            "members": members,
        }


def _copies(value: object) -> bool:
    """Whether a function wraps another one in a way of its own: nobody knows that it has copied its documentation."""
    if type(value) is not FunctionType or hasattr(value, "__wrapped__"):
        return False
    return any(type(_content(cell)) is FunctionType for cell in value.__closure__ or ())


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return "empty"


def _module(value: type) -> str:
    return str(vars(value).get("__module__", ""))


def _named(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"


def _short(key: object) -> str:
    return repr(key)[:40] if isinstance(key, _PLAIN) else type(key).__name__


def _places(code: CodeType) -> tuple[int, str]:
    found = hashlib.blake2b(digest_size=8)
    for one in _with_nested(code):
        found.update(repr((one.co_firstlineno, [*one.co_positions()], one.co_filename)).encode())
    return code.co_firstlineno, found.hexdigest()


def _prints(code: CodeType) -> frozenset[str]:
    return frozenset(map(fingerprint.of, _with_nested(code)))


def _with_nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _with_nested(one)


def _annotations(value: Any) -> str:
    try:
        return _without_addresses(repr(inspect.get_annotations(value)))
    except Exception as error:  # noqa: BLE001 - a name that only type checkers know
        return f"{type(error).__name__}: {error}"


def _without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


# --- what some functions do --------------------------------------------------------------------------

_OPERATIONS: dict[str, Any] = {
    "__len__": len,
    "__bool__": bool,
    "__hash__": hash,
    "__repr__": repr,
    "__str__": str,
    "__iter__": iter,
    "__next__": next,
    "__call__": lambda one: one(),
    "__eq__": lambda one: one == 0,
    "__lt__": lambda one: one < 0,
    "__add__": lambda one: one + 0,
    "__contains__": lambda one: 0 in one,
    "__getitem__": lambda one: one[0],
    "__getattr__": lambda one: one.no_such_attribute,
    "__enter__": lambda one: one.__enter__(),
    "__get__": lambda one: type("Owner", (), {"one": one})().one,
}


def called(module: ModuleType, qualname: str) -> str:
    """What calling a function comes to, whose body has been replaced by one that does no harm."""
    owner: Any = module
    *path, name = qualname.split(".")
    try:
        for part in path:
            owner = getattr(owner, part)
        if not isinstance(owner, type):
            return _told(lambda: _filled(getattr(owner, name)))
        made = object.__new__(owner)
    except Exception as error:  # noqa: BLE001 - it stands in a function, or its class makes no empty instances
        return _without_addresses(f"not reached: {type(error).__name__} {error}")
    operation = _OPERATIONS.get(name)
    said = _told(lambda: operation(made)) if operation else ""
    return f"{said} {_told(lambda: _filled(getattr(made, name)))}"


def _filled(function: Any) -> Any:
    """What a function returns for as many None as it demands; an attribute of another kind is what it is."""
    if not callable(function):
        return function
    count = {"positional": 0}
    names = {}
    for name, one in inspect.signature(function).parameters.items():
        if one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD):
            count["positional"] += 1
        elif one.default is one.empty and one.kind is one.KEYWORD_ONLY:
            names[name] = None
    return function(*[None] * count["positional"], **names)


def _told(function: Any) -> str:
    try:
        value = function()
    except Exception as error:  # noqa: BLE001 - what it raises is what is compared
        return _without_addresses(f"{type(error).__name__}: {error}")
    if inspect.iscoroutine(value):
        value.close()
    return repr(value) if type(value) in _PLAIN else type(value).__qualname__
