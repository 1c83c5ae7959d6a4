"""A new function object in the place of an old one.

Needed where the new code captures other variables: CPython can't give a function other
cells. It is right only where the namespace is the function's one holder, because
everybody else would keep the old one; what has to be proved is handed back, for the
swap to prove it at its own instant. This module stores nothing.
"""

from __future__ import annotations

import functools
import opcode
import operator
from collections.abc import Mapping, Sequence
from types import CellType, CodeType, FunctionType
from typing import Any, Final

from bcpatch import pythons
from bcpatch.process.linked import LinkedSite
from bcpatch.process.objects import class_namespace, is_class, parts_of
from bcpatch.process.swap import ABSENT, Change, Kind, Slot, held


class Replacement:
    """A new function, the store that puts it in, and the objects that nobody else may hold."""

    __slots__ = ("function", "change", "sole")

    def __init__(self, function: FunctionType, change: Change, sole: tuple[object, ...]) -> None:
        self.function: Final = function
        self.change: Final = change
        self.sole: Final = sole


def replacement(
    site: LinkedSite, function: FunctionType, values: Mapping[str, Any], known: Mapping[str, CellType]
) -> Replacement | str:
    """A twin of ``function`` with other ``values``, its code above all, or the reason why there can't be one.

    ``known`` are cells that neither the function nor its class have, by name.
    """
    slot = namespace_slot(site)
    value = ABSENT if slot is None else held(slot)
    if slot is None or value is ABSENT:
        return "no namespace holds it under its name"
    cells = _cells(function, values["__code__"], slot, known)
    if isinstance(cells, str):
        return f"{cells} is not captured by the running function"
    new = twin(function, values, cells)
    wrapped = rewrapped(value, function, new)
    if wrapped is None:
        return "something else stands in its place in its namespace"
    sole = (function,) if value is function else (function, value)
    return Replacement(new, Change(slot, value, wrapped), sole)


def sole_objects(old: object, new: object) -> tuple[object, ...]:
    """What nobody but its slot may hold when ``old`` gives way to ``new`` there: functions that give way to twins."""
    given_up = [one for one, _ in twins_in(old, new)]
    return tuple({id(one): one for one in (*given_up, old)}.values()) if given_up else ()


def twins_in(old: object, new: object) -> list[tuple[FunctionType, FunctionType]]:
    """The functions of a value that gives way to another, each with the twin that goes on in its place.

    A function that gives way to something that has its name only, as when an import changes, has none.
    """
    if type(old) is not type(new):
        return []
    pairs = zip(parts_of(old), parts_of(new), strict=True)
    return [(one, other) for one, other in pairs if one and other and one is not other and _are_twins(one, other)]


def _are_twins(one: FunctionType, other: FunctionType) -> bool:
    return one.__dict__ is other.__dict__


_NAMED: Final = [
    name
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__type_params__")
    if hasattr(FunctionType, name)
]
_named: Final = operator.attrgetter(*_NAMED)


def twin(function: FunctionType, values: Mapping[str, Any], cells: Sequence[CellType]) -> FunctionType:
    """A new function like ``function``, with other values of some attributes. They share their ``__dict__``."""
    code: CodeType = values.get("__code__", function.__code__)
    defaults = values.get("__defaults__", function.__defaults__)
    keywords = values.get("__kwdefaults__", function.__kwdefaults__)
    new: Any = made(code, function.__globals__, defaults, keywords, cells)
    for name, old, has in zip(_NAMED, _named(function), _named(new), strict=True):
        value = values.get(name, old)
        if value is not has:
            setattr(new, name, value)
    annotate = values.get("__annotate__", getattr(function, "__annotate__", None))
    if "__annotations__" in values:
        new.__annotations__ = values["__annotations__"]
    elif annotate is not None:
        new.__annotate__ = annotate
    elif "__annotate__" not in values:
        new.__annotations__ = function.__annotations__
    new.__dict__ = function.__dict__
    found: FunctionType = new
    return found


def made(
    code: CodeType,
    namespace: dict[str, Any],
    defaults: tuple[Any, ...] | None,
    keywords: dict[str, Any] | None,
    cells: Sequence[CellType],
) -> FunctionType:
    """A function as the interpreter's own MAKE_FUNCTION makes it, with the very defaults that are given.

    One that ``types.FunctionType`` makes, and one whose defaults were assigned, has no
    version, and calls of it are never specialised (3.13+, ``_PyFunction_SetVersion``).
    """
    closure = tuple(cells) or None
    if not pythons.ASSIGNED_CODE_IS_SLOWER:
        function: Any = FunctionType(code, namespace, argdefs=defaults, closure=closure)
        function.__kwdefaults__ = keywords
    else:
        pattern = _maker(defaults is not None, keywords is not None, len(cells))
        given: list[object] = [one for one in (defaults, keywords) if one is not None]
        given += [None] * (pattern.co_argcount - 1 - len(given))
        maker: Any = FunctionType(pattern, namespace, closure=closure)
        function = maker(*given, code)
        function.__type_params__ = ()
    found: FunctionType = function
    return found


@functools.cache
def _maker(defaults: bool, keywords: bool, cells: int) -> CodeType:
    """The code of a function that makes one with so many cells, of a tuple of defaults and a dictionary for keywords.

    That is what the compiler has around a generic function, whose defaults are computed outside (PEP 695). But the
    code that it makes one of is no constant of it: it is passed last, in the place of the type parameter. Profilers
    keep the code of what was called for as long as they live, and with it all constants.
    """
    captured = [f"cell{number:06}" for number in range(cells)]  # captured names are kept in order of their names
    parameters = ", ".join(["p=0"] * defaults + ["*, q=0"] * keywords)
    text = (
        f"def outer({', '.join(captured)}):\n"
        f" def inner[T]({parameters}): return ({''.join(name + ', ' for name in captured)})\n"
    )
    module = compile(text, "<bcpatch maker>", "exec", dont_inherit=True, optimize=0)
    outer = module.co_consts[_code_in(module)]
    pattern: CodeType = outer.co_consts[_code_in(outer)]
    code = _code_in(pattern)
    place = pattern.co_varnames.index("T")
    bytecode = pattern.co_code
    for old, new in (
        (("LOAD_CONST", code), ("LOAD_FAST", place)),
        (("STORE_FAST", place), ("POP_TOP", 0)),
    ):
        bytecode = _exchanged(bytecode, _instruction(*old), _instruction(*new))
    return pattern.replace(co_code=bytecode, co_argcount=place + 1)


def _code_in(code: CodeType) -> int:
    """The number of the constant that is code."""
    return next(number for number, one in enumerate(code.co_consts) if type(one) is CodeType)


def _instruction(name: str, argument: int) -> bytes:
    return bytes((opcode.opmap[name], argument))


def _exchanged(bytecode: bytes, old: bytes, new: bytes) -> bytes:
    """Bytecode with another instruction in the place of one that it has once."""
    units = [bytecode[at : at + 2] for at in range(0, len(bytecode), 2)]
    units[units.index(old)] = new
    assert old not in units
    return b"".join(units)


def namespace_slot(site: LinkedSite) -> Slot | None:
    """Where a site's function stands by its qualified name, if every part but the last names a class."""
    return slot_of(site.module.namespace, site.edit.site.qualname)


def slot_of(namespace: dict[str, Any], qualname: str) -> Slot | None:
    """Where a function of a module stands by its qualified name, if every part but the last names a class."""
    if "." not in qualname:
        return Slot(Kind.NAMESPACE, namespace, qualname)
    *path, name = qualname.split(".")
    space: Mapping[str, Any] = namespace
    owner: Any = None
    for part in path:
        owner = space.get(part)
        if not is_class(owner):
            return None
        space = class_namespace(owner)
    return Slot(Kind.CLASS, owner, _mangled(owner, name))


def _mangled(owner: type, name: str) -> str:
    """The name under which a class body stores ``name`` (Language Reference, "Private name mangling")."""
    bare = owner.__name__.lstrip("_")
    private = name.startswith("__") and not name.endswith("__") and bare
    return f"_{bare}{name}" if private else name


def _cells(
    function: FunctionType, code: CodeType, slot: Slot, known: Mapping[str, CellType]
) -> tuple[CellType, ...] | str:
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    if slot.kind is Kind.CLASS and "__class__" in code.co_freevars and "__class__" not in cells:
        if pythons.SLOTS_LEAVE_SUPER_BEHIND and _is_copy(slot.owner):
            return "the class that `super()` means, which `dataclass(slots=True)` has copied here,"
        cells["__class__"] = CellType(slot.owner)
    cells = {**known, **cells}
    missing = [name for name in code.co_freevars if name not in cells]
    if missing:
        return ", ".join(missing)
    return tuple(cells[name] for name in code.co_freevars)


def _is_copy(owner: type) -> bool:
    """Whether ``dataclass(slots=True)`` has copied a class: its slots come after what the decorator adds."""
    marks = [name for name in class_namespace(owner) if name in ("__dataclass_params__", "__slots__")]
    return marks == ["__dataclass_params__", "__slots__"]


def rewrapped(value: Any, old: FunctionType, new: FunctionType) -> object | None:
    """What stands in a namespace for a function, made anew around its twin."""
    if value is old:
        return new
    if type(value) is staticmethod and value.__func__ is old:
        return staticmethod(new)
    if type(value) is classmethod and value.__func__ is old:
        return classmethod(new)
    if type(value) is property:
        parts: list[Any] = [value.fget, value.fset, value.fdel]
        if any(part is old for part in parts):
            getter: Any
            setter: Any
            deleter: Any
            getter, setter, deleter = (new if part is old else part for part in parts)
            taken = value.fget is old and value.__doc__ == old.__doc__  # and is taken from the getter again
            return property(getter, setter, deleter, None if taken else value.__doc__)
    return None
