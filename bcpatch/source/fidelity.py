"""Whether a source text differs from its base only in what the edits of a strict patch say.

A module that is imported after its patch was applied runs the text that the patch
carries, as the compiler of the process makes it. That is what was verified if each
thing in it stands in the base or among the edits: functions, defaults, annotations and
imports by their code, and everything else that a body executes by its shape. Nothing
here knows rules or decides what an edit may be.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

import msgspec

from bcpatch import fingerprint
from bcpatch.model import AnnotationsEdit, Code, FunctionEdit, Import, ImportEdit, ModulePatch
from bcpatch.source import shape
from bcpatch.source.header import Header, header, variable_annotations
from bcpatch.source.outline import Class, Function, Unit

Piece: TypeAlias = tuple[str, ...]
"""What kind of thing, where, and what identifies it."""


def brought(part: ModulePatch) -> frozenset[Piece]:
    """Everything that the edits of a part bring."""
    found: set[Piece] = set()
    for edit in part.edits:
        match edit:
            case FunctionEdit(site=site):
                found.add(("function", site.qualname, edit.brings))
                found.update(
                    ("default", site.qualname, one.parameter, fingerprint.digest(one.expression))
                    for one in (*edit.positional, *edit.keywords)
                )
                found.add(("annotations", site.qualname, _digest(edit.annotations.code)))
                found.add(("type parameters", site.qualname, _digest(edit.type_parameters)))
            case ImportEdit(binding=binding):
                found.add(_import(binding))
            case AnnotationsEdit(qualname=qualname, annotations=annotations):
                found.add(("variables", qualname, _digest(annotations.code)))
    return frozenset(found)


def strays(old: Unit, new: Unit, known: frozenset[Piece], optimization: int) -> Iterator[str]:
    """What the new version has and neither the old one nor the edits do, in words."""
    for owner in _owners(old, new):
        yield from _statements(*owner, optimization)
    if Counter(map(_definition, old.functions)) != Counter(map(_definition, new.functions)):
        yield "its functions are others"
    if Counter(map(_head_of_class, old.classes)) != Counter(map(_head_of_class, new.classes)):
        yield "its classes are others"
    there = {*_codes(old), *_imports(old), *known}
    for kind, name, *_ in {*_codes(new), *_imports(new)} - there:
        yield f"the {kind} {name}"
    heads = {(function.site.qualname, _head(function)) for function in old.functions}
    for function in new.functions:
        if (function.site.qualname, _head(function)) not in heads:
            yield from _header(old, function, header(new, function, optimization), known, optimization)
    yield from _variables(old, new, known, optimization)


def _digest(code: Code | None) -> str:
    return "" if code is None else fingerprint.digest(code)


def _import(binding: Import) -> Piece:
    return ("import", binding.name, repr(msgspec.structs.astuple(binding)))


# --- what bodies execute -------------------------------------------------------------


def _owners(old: Unit, new: Unit) -> Iterator[tuple[ast.Module | ast.ClassDef, ast.Module | ast.ClassDef]]:
    """The bodies of both versions that are the same one."""
    yield old.tree, new.tree
    waiting: dict[str, list[Class]] = {}
    for made in old.classes:
        waiting.setdefault(made.qualname, []).append(made)
    for made in new.classes:
        if waiting.get(made.qualname):
            yield waiting[made.qualname].pop(0).node, made.node


def _statements(old: ast.Module | ast.ClassDef, new: ast.Module | ast.ClassDef, optimization: int) -> Iterator[str]:
    was, now = ([one for one in shape.body(body).statements if not _is_program(one.node)] for body in (old, new))
    if len(was) != len(now):
        yield "the number of statements that run when it is imported"
        return
    for one, other in zip(was, now, strict=True):
        if one.shape != other.shape and not compiled_alike(one.node, other.node, optimization):
            yield f"the statement on line {other.node.lineno}"


def _is_program(node: ast.stmt) -> bool:
    """Whether a statement is what an import leaves out: the program in a main guard."""
    return isinstance(node, ast.If) and shape.is_main_guard(node.test) and not node.orelse


def compiled_alike(one: ast.stmt, other: ast.stmt, optimization: int) -> bool:
    """Whether two statements compile to the same code: ``60 * 60`` is ``3600``."""
    if isinstance(one, shape.DEFINITIONS) or isinstance(other, shape.DEFINITIONS):
        return False
    codes = [
        compile(ast.Module([node], []), "", "exec", dont_inherit=True, optimize=optimization) for node in (one, other)
    ]
    return fingerprint.executed(codes[0]) == fingerprint.executed(codes[1])


def _definition(function: Function) -> Piece:
    return (function.site.qualname, *map(shape.shape, getattr(function.node, "decorator_list", ())))


def _head_of_class(made: Class) -> Piece:
    parts = (getattr(made.node, name, []) for name in ("decorator_list", "bases", "keywords", "type_params"))
    return (made.qualname, *(repr([ast.dump(one) for one in part]) for part in parts))


# --- things by their code -------------------------------------------------------------


def _codes(unit: Unit) -> Iterator[Piece]:
    for function in unit.functions:
        yield "function", function.site.qualname, fingerprint.of(function.code)
    for code in unit.unplaced:
        yield "function", code.co_qualname, fingerprint.of(code)


def _imports(unit: Unit) -> Iterator[Piece]:
    for statement in unit.body.imports:
        for binding in shape.bindings(statement, unit.source.module):
            yield _import(binding)


def _head(function: Function) -> str:
    parts = [function.node.args, getattr(function.node, "returns", None), *getattr(function.node, "type_params", ())]
    return repr([one and ast.dump(one) for one in parts])


def _header(old: Unit, function: Function, new: Header, known: frozenset[Piece], optimization: int) -> Iterator[str]:
    """What a definition evaluates, where it is written in another way than in the base."""
    name = function.site.qualname
    heads = [header(old, one, optimization) for one in old.functions if one.site.qualname == name]
    there = set(known)
    for head in heads:
        there.update(_evaluated(name, head))
    for kind, *rest in {*_evaluated(name, new)} - there:
        yield f"the {kind} of {'.'.join((name, *rest[1:-1]))}"


def _evaluated(name: str, head: Header) -> Iterator[Piece]:
    for parameter, code in (*head.positional, *head.keywords):
        yield "default", name, parameter, fingerprint.digest(code)
    if head.annotations is not None:
        yield "annotations", name, _digest(head.annotations)
    if head.type_parameters is not None:
        yield "type parameters", name, _digest(head.type_parameters)


def _variables(old: Unit, new: Unit, known: frozenset[Piece], optimization: int) -> Iterator[str]:
    """Annotations of variables, of the module and of its classes."""
    there = {*known, *_annotated(old, optimization)}
    for _, name, _ in {*_annotated(new, optimization)} - there:
        yield f"the annotations of {name or 'its variables'}"


def _annotated(unit: Unit, optimization: int) -> Iterator[Piece]:
    for owner in (None, *unit.classes):
        annotations = (owner or unit).body.annotations
        if annotations:
            code = variable_annotations(unit, owner, annotations, optimization)
            yield "variables", owner.qualname if owner else "", _digest(code)
