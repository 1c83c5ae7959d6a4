"""Annotations written as text: in quotes, or all of them under ``from __future__ import annotations``.

They name types as much as annotations in code do. Only these texts are parsed, never
evaluated; which text is a type and which is a value (``Literal["red"]``) is known here.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from bcpatch.diagnostics import Diagnostic
from bcpatch.flow import Instruction
from bcpatch.flow.origins import (
    Attribute,
    Called,
    Computed,
    Constant,
    Display,
    Global,
    Item,
    Made,
    Origin,
    Unknown,
)
from bcpatch.flow.uses import SubscriptUse
from bcpatch.model import Tuple
from bcpatch.rules import access
from bcpatch.rules.reach import Frame, options, paths

_LONGEST = 10_000
"""Characters of an annotation that is read."""


def check(frame: Frame) -> Iterator[Diagnostic]:
    """The texts among the annotations of the functions that a code object makes, or that it gives."""
    for text, offset in _texts(frame):
        yield from _read(text, offset, replace(frame, quoted=text))


def are_given(frame: Frame) -> bool:
    """Whether a code object has annotations, or makes functions, which may have."""
    flow, role = frame.flow, frame.scope.role
    if flow.nested and flow.made:
        return True
    return (role != "function" and (role == "type parameters" or _computes(frame))) or _keeps(frame)


def _keeps(frame: Frame) -> bool:
    """Whether a code object is a class body that puts annotations where they are kept."""
    return _KEPT in frame.flow.code.names and frame.is_body


#: Where a class keeps them, up to Python 3.13.
_KEPT = "__annotations__"


def _computes(frame: Frame) -> bool:
    """Whether a code object is a function that computes annotations when they are asked for."""
    return frame.flow.code.name == "__annotate__" and frame.scope.role != "function"


# --- which texts are annotations -----------------------------------------------------------


def _texts(frame: Frame) -> Iterator[tuple[str, int]]:
    annotations = list(_annotations(frame))
    if not annotations:
        return
    subscripts = {use.offset: use for use in frame.flow.uses if isinstance(use, SubscriptUse)}
    found = [one for origin in annotations for one in _within(origin, subscripts, frame)]
    yield from (one for one in found if one is not None)
    if None in found:  # too large for its parts to be told apart
        keys = {origin.offset for origin in _alternating(frame, 0)}
        for instruction in frame.flow.instructions:
            if instruction.name == "LOAD_CONST" and instruction.offset not in keys:
                yield from _constant(_loaded(instruction, frame), frame)


def _loaded(instruction: Instruction, frame: Frame) -> Constant:
    value = frame.flow.code.constants[instruction.argument]
    return Constant(instruction.offset, instruction.argument, value if isinstance(value, str) else None)


def _annotations(frame: Frame) -> Iterator[Origin]:
    """The value of each annotation that a code object evaluates, and each bound of a type parameter."""
    yield from _alternating(frame, 1)
    if frame.scope.role != "type parameters":
        return
    for at, instruction in enumerate(frame.flow.instructions):
        if instruction.name == "RETURN_VALUE":
            yield from _worked_on(at, frame)
        elif instruction.name == "RETURN_CONST":
            yield _loaded(instruction, frame)


def _alternating(frame: Frame, start: int) -> Iterator[Origin]:
    """Of names and annotations in turn, those from ``start``: 0 the names, 1 the annotations."""
    for use in frame.flow.made:
        annotations = use.annotations
        if annotations is not None:
            yield from _given(annotations, start, frame)
    if _computes(frame):
        for at in frame.flow.reached("BUILD_MAP"):
            yield from _worked_on(at, frame)[start::2]
        for at in frame.flow.reached("STORE_SUBSCR"):  # of a class
            yield _worked_on(at, frame)[0 if start else 2]
    elif _keeps(frame):
        for at in frame.flow.reached("STORE_SUBSCR"):
            value, kept, name = _worked_on(at, frame)
            if isinstance(kept, Global) and kept.name == _KEPT:
                yield value if start else name


def _worked_on(at: int, frame: Frame) -> list[Origin]:
    """The origins of an instruction's operands, each by itself: together they may weigh too much."""
    return [frame.flow.graph.origin(value) for value in frame.flow.trace.operands[at] or ()]


def _given(annotations: Origin, start: int, frame: Frame) -> Iterator[Origin]:
    """The same of the tuple that MAKE_FUNCTION takes."""
    for one, where in options(annotations, frame):
        if isinstance(one, Made):
            continue  # the function that computes them is nested code
        if isinstance(one, Constant) and one.index >= 0:
            whole = where.flow.code.constants[one.index]
            for value in whole.items[start::2] if isinstance(whole, Tuple) else ():
                if isinstance(value, str):
                    yield Constant(one.offset, -1, value)
        else:
            offsets = [instruction.offset for instruction in where.flow.instructions]
            if one.offset in offsets:
                yield from _worked_on(offsets.index(one.offset), where)[start::2]
            else:
                yield Unknown(one.offset)


def _within(origin: Origin, subscripts: dict[int, SubscriptUse], frame: Frame) -> Iterator[tuple[str, int] | None]:
    """The texts in an annotation that stand for types; None for a part that is not known."""
    match origin:
        case Unknown():
            yield None
        case Constant():
            yield from _constant(origin, frame)
        case Item(owner=owner) if origin.offset in subscripts:
            yield from _within(owner, subscripts, frame)
            index = subscripts[origin.offset].index
            kind = _kind(paths(owner, frame))
            if kind == "Annotated" and isinstance(index, Display):
                yield from _within(index.items[0], subscripts, frame)
            elif kind == "Annotated" and isinstance(index, Constant):
                yield from _constant(index, frame, 1)
            elif kind != "Literal":
                yield from _within(index, subscripts, frame)
        case Computed() if frame.flow.graph.name(frame.flow.at(origin.offset)).startswith("CALL_INTRINSIC"):
            return  # a type parameter: its name is no type, and its bound is nested code
        case Computed(operands=parts) | Display(items=parts):
            for part in parts:
                yield from _within(part, subscripts, frame)
        case Called(callee=callee, arguments=arguments) if _kind(paths(callee, frame)) == "ForwardRef":
            for argument in arguments:
                yield from _within(argument, subscripts, frame)
        case _:
            for one, where in options(origin, frame):
                if one != origin:
                    yield from _within(one, subscripts, where)


def _constant(origin: Constant, frame: Frame, first: int | None = None) -> Iterator[tuple[str, int]]:
    """The texts of a constant: of the ``first`` items where it is a tuple."""
    if isinstance(origin.value, str):
        yield origin.value, origin.offset
    elif origin.index >= 0:
        whole = frame.flow.code.constants[origin.index]
        for item in whole.items[:first] if isinstance(whole, Tuple) else ():
            if isinstance(item, str):
                yield item, origin.offset


def _kind(found: Iterable[str]) -> str:
    """The last part of a name that means something to annotations, however it was imported."""
    return next((last for path in found if (last := path.rpartition(".")[2]) in _SPECIAL), "")


_SPECIAL = frozenset({"Literal", "Annotated", "ForwardRef"})


# --- what a text names -----------------------------------------------------------------------


def _read(text: str, offset: int, frame: Frame) -> Iterator[Diagnostic]:
    if len(text) > _LONGEST:
        message = f"an annotation of {len(text)} characters is not read"
        yield access.report("BCP107", message, offset, frame)
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stripped = text.strip()
            # `typing` reads an unpacked type in a subscript as well (PEP 646)
            tree = ast.parse(f"({stripped},)" if stripped.startswith("*") else stripped, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # no type checker and no `typing.get_type_hints` takes it for a type
    yield from _named(tree.body, offset, frame)


def _named(node: ast.AST, offset: int, frame: Frame) -> Iterator[Diagnostic]:
    match node:
        case ast.Name(id=name):
            if name not in frame.local_names:
                yield from access.name(name, offset, frame)
        case ast.Attribute(value=value, attr=attribute):
            yield from _named(value, offset, frame)
            yield from access.attribute(_origin(value, offset), attribute, offset, frame)
        case ast.Constant(value=str(text)):
            yield from _read(text, offset, frame)
        case ast.Subscript(value=value, slice=index):
            yield from _named(value, offset, frame)
            kind = _kind(paths(_origin(value, offset), frame))
            if kind == "Annotated" and isinstance(index, ast.Tuple) and index.elts:
                yield from _named(index.elts[0], offset, frame)
            elif kind != "Literal":
                yield from _named(index, offset, frame)
        case _:
            for child in ast.iter_child_nodes(node):
                yield from _named(child, offset, frame)


def _origin(node: ast.expr, offset: int) -> Origin:
    """What code that says the same would be said to do."""
    match node:
        case ast.Name(id=name):
            return Global(offset, name)
        case ast.Attribute(value=value, attr=attribute):
            return Attribute(offset, _origin(value, offset), attribute)
    return Unknown(offset)
