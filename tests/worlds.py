"""Modules made from text, and patches between two texts, for tests of what patches do to a process."""

from __future__ import annotations

import inspect
import linecache
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from textwrap import dedent
from types import FunctionType, ModuleType
from typing import Any

from bcpatch import builder, fingerprint, splices
from bcpatch import compile as compiler
from bcpatch.apply import apply
from bcpatch.diagnostics import Refused, errors
from bcpatch.link import Plan, link
from bcpatch.model import Import, Module, ModulePatch, Patch, Policy
from bcpatch.process.history import History
from bcpatch.process.records import Generation
from bcpatch.source.outline import Source, outline


def module_patch(old: str | None, new: str, name: str = "world", imports: tuple[Import, ...] = ()) -> ModulePatch:
    """The edits between two texts of one module, as strict as the compiler makes them."""
    module = Module(name, name.replace(".", "/") + ".py")
    before = None if old is None else outline(Source(module, module.path, dedent(old).encode()), 0)
    after = outline(Source(module, module.path, dedent(new).encode()), 0)
    found = compiler.changes(before, after, Policy.STRICT, 0)
    if errors(found.diagnostics):
        raise Refused(found.diagnostics)
    base = None if before is None else before.source.digest
    data = after.source.data
    back = () if before is None else splices.between(data, before.source.data)
    return ModulePatch(module, base, after.source.digest, imports, (), found.edits, data, back)


def patch(*parts: ModulePatch, policy: Policy = Policy.STRICT) -> Patch:
    return Patch(fingerprint.this_interpreter(), policy, 1, None, parts)


@contextmanager
def world(text: str, folder: Path, name: str = "world") -> Iterator[ModuleType]:
    """A module imported from a file; forgotten afterwards."""
    try:
        yield imported(text, folder, name)
    finally:
        sys.modules.pop(name, None)


def imported(text: str, folder: Path, name: str = "world") -> ModuleType:
    """A module imported from a file."""
    file = folder / f"{name}.py"
    file.write_text(dedent(text), "utf-8")
    spec = spec_from_file_location(name, file)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    linecache.checkcache(str(file))
    exec(compile(dedent(text), str(file), "exec", dont_inherit=True), vars(module))
    return module


def plan(change: Patch, history: History, scan: str | None = None) -> Plan:
    return link(change, history, scan="heap" if scan else None)


def applied(old: str, new: str, history: History, name: str = "world") -> Generation:
    """Build, link and apply the difference between two texts."""
    with history.exclusive():
        return apply(link(patch(module_patch(old, new, name)), history), history)


def linked(old: str, new: str, name: str = "world") -> Patch:
    """A patch as `bcpatch build --policy linked` makes it. Raises Refused."""
    module = Module(name, name.replace(".", "/") + ".py")
    before, after = (Source(module, module.path, text.encode()) for text in (old, new))
    outcome = builder.compare([before], [after], policy="linked")
    if outcome.patch is None:
        raise Refused(outcome.diagnostics)
    return outcome.patch


def portrait(module: ModuleType, *functions: FunctionType, renewed: bool = False) -> dict[str, object]:
    """Everything that a patch could set: what the namespaces of a module and its classes hold, and its functions.

    Where functions may be ``renewed``, a twin that has all its values is as good as a function itself: it has
    default values in a tuple and a dictionary of its own.
    """
    seen: dict[str, object] = {}
    spaces: dict[str, Mapping[str, object]] = {"": vars(module)}
    for name, value in vars(module).items():
        if isinstance(value, type) and value.__module__ == module.__name__:
            spaces[name] = vars(value)
    for prefix, space in spaces.items():
        for name, value in space.items():
            if name == "__annotate__" and value is None:
                continue  # a module says so without the name as well
            inner = _functions_in(value)
            seen[f"{prefix}.{name}"] = type(value) if renewed and inner else id(value)
            for function in inner:
                seen[f"{prefix}.{name}()"] = _values(function) if renewed else _attributes(function)
    for number, function in enumerate(functions):
        seen[f"{number}()"] = _attributes(function)
    seen["linecache"] = sorted(name for name in linecache.cache if "bcpatch" in name)
    return seen


def _functions_in(value: object) -> list[FunctionType]:
    parts = [value, *(getattr(value, name, None) for name in ("__func__", "fget", "fset", "fdel"))]
    return [part for part in parts if isinstance(part, FunctionType)]


def _values(function: FunctionType) -> tuple[object, ...]:
    code, _, _, *rest = _attributes(function)
    keywords = {name: id(value) for name, value in (function.__kwdefaults__ or {}).items()}
    return code, tuple(map(id, function.__defaults__ or ())), keywords, *rest


def _attributes(function: FunctionType) -> tuple[object, ...]:
    names = ("__code__", "__defaults__", "__kwdefaults__", "__doc__", "__annotate__", "__type_params__")
    return tuple(id(getattr(function, name, None)) for name in names)


def functions(value: object, module: str, seen: set[int]) -> list[FunctionType]:
    """The functions in a value of a namespace, in the order in which they are found."""
    if id(value) in seen:
        return []
    seen.add(id(value))
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return [value, *(one for inner in (*cells, vars(value)) for one in functions(inner, module, seen))]
    inner: list[Any] = []
    if isinstance(value, (staticmethod, classmethod)):
        inner = [value.__func__]
    elif isinstance(value, property):
        inner = [value.fget, value.fset, value.fdel]
    elif isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, (list, tuple)):
        inner = list(value)
    elif isinstance(value, type) and value.__module__ == module:
        inner = list(vars(value).values())
    elif hasattr(value, "__wrapped__"):
        inner = [value.__wrapped__]
    elif hasattr(value, "func"):
        inner = [value.func]
    return [one for part in inner for one in functions(part, module, seen)]


def described(module: ModuleType, *, lines: bool) -> dict[str, object]:
    """All that a patch can reach in a module, in a form that is equal for equal modules."""
    seen: dict[str, object] = {"doc": module.__doc__, "annotations": inspect.get_annotations(module)}
    for name, value in vars(module).items():
        if name.startswith("__"):
            continue
        if isinstance(value, type) and value.__module__ == module.__name__:
            for cls in (value, *(one for one in vars(value).values() if isinstance(one, type))):
                seen[f"{cls.__qualname__}"] = cls.__doc__, inspect.get_annotations(cls)
                seen[f"{cls.__qualname__} line"] = lines and getattr(cls, "__firstlineno__", None)
        for number, function in enumerate(
            sorted(functions(value, module.__name__, set()), key=lambda one: one.__qualname__)
        ):
            if function.__module__ != module.__name__ or function.__name__ == "__annotate__":
                continue
            code = function.__code__
            seen[f"{name} {number}"] = (
                function.__qualname__,
                fingerprint.of(code),
                function.__defaults__,
                function.__kwdefaults__,
                function.__doc__,
                inspect.get_annotations(function),
                inspect.signature(function),
                lines and list(code.co_positions()),
                lines and inspect.getsource(function),
            )
    return seen
