"""All that a patch must satisfy before anything of it runs: form, structure, references.

Building and loading ask the same question here. Only what is in the patch is read, so
the loading side need not trust the builder; a process is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from bcpatch.diagnostics import Diagnostic, Place, finding
from bcpatch.model import (
    AdditionEdit,
    AnnotationsEdit,
    Code,
    FunctionEdit,
    ImportEdit,
    Link,
    ModulePatch,
    Patch,
    Policy,
    RemovalEdit,
    ValueEdit,
)
from bcpatch.rules import access, names, needs, references, structure, wellformed
from bcpatch.rules.reach import Frame, Scope, importing
from bcpatch.rules.sourcetext import Text


def verify(patch: Patch) -> tuple[Diagnostic, ...]:
    """Every finding about a patch, in the order of its modules and edits.

    None of them: the code in it is well-formed (BCP3xx, BCP408) and reaches only what
    its policy allows (BCP1xx).
    """
    found = list(wellformed.check(patch))
    for part in patch.modules:
        found.extend(_module(part, patch.policy))
    return tuple({_key(one): one for one in reversed(found)}.values())[::-1]


def _key(found: Diagnostic) -> object:
    """What makes two findings one: a header is met again in the scope of a generic function."""
    if not found.column:
        return found
    return found.code, found.file, found.line, found.column, found.end_line, found.end_column


def links(module: ModulePatch) -> tuple[Link, ...]:
    """The names that a module's edits need to find in the process, sorted. Empty where its code is malformed."""
    text = Text(module.module, module.source)
    frames = []
    for unit in _units(module, Policy.LINKED, text):
        flow, _ = structure.check(unit.code, text, unit.scope.site)
        if flow is None:
            return ()
        if unit.runs:
            frames.append(Frame(flow, unit.scope))
    return needs.links(frames, text)


def _module(part: ModulePatch, policy: Policy) -> Iterator[Diagnostic]:
    text = Text(part.module, part.source)
    malformed = list(wellformed.edits(part))
    yield from malformed
    if not text.is_python:
        yield finding("BCP408", "the source that the patch carries is not Python", Place(part.module.path))
        return
    for one in part.imports:
        if one.name != "*" and one.name not in text.imported:
            message = f"the source that the patch carries does not import `{one.name}`"
            yield finding("BCP408", message, Place(part.module.path))
    if malformed:
        return
    frames = []
    broken = False
    for unit in _units(part, policy, text):
        flow, found = structure.check(unit.code, text, unit.scope.site)
        yield from found
        if flow is None:
            broken = True
            continue
        yield from references.check(flow, unit.scope)
        if unit.runs:
            frames.append(Frame(flow, unit.scope))
    if policy is Policy.STRICT:
        yield from _outside_of_code(part, text)
        yield from _beyond_functions(part)
    if not broken and needs.links(frames, text) != part.links:
        yield finding(
            "BCP408", "the names that the patch links to are not those that it reaches", Place(part.module.path)
        )


# --- code by code ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Unit:
    """A code object that an edit brings, and what it may use. ``runs`` is False where the process keeps its own."""

    code: Code
    scope: Scope
    runs: bool = True


def _beyond_functions(part: ModulePatch) -> Iterator[Diagnostic]:
    for edit in part.edits:
        if isinstance(edit, AdditionEdit | ValueEdit | RemovalEdit) or getattr(edit, "when", None) is not None:
            message = "a strict patch neither adds nor removes names, nor changes values"
            yield finding("BCP408", message, Place(part.module.path))


def _units(part: ModulePatch, policy: Policy, text: Text) -> Iterator[_Unit]:
    imports = importing(part.imports)
    for edit in part.edits:
        when = getattr(edit, "when", None)
        if when is not None:
            yield _Unit(when, Scope(text, policy, imports, None, "default"), runs=False)
        match edit:
            case FunctionEdit():
                scope = Scope(text, policy, imports, edit.site, around=edit.site.qualname.rpartition(".")[0])
                yield from _function(edit, scope)
            case AnnotationsEdit(qualname=qualname, annotations=annotations) if annotations.code is not None:
                yield _Unit(annotations.code, Scope(text, policy, imports, None, "annotation", around=qualname))
            case AdditionEdit(owner=owner):
                yield _Unit(edit.code, Scope(text, policy, imports, None, around=owner), runs=when is None)
            case ValueEdit(owner=owner):
                scope = Scope(text, policy, imports, None, "default", around=owner)
                yield _Unit(edit.code, scope, runs=when is None)
                yield _Unit(edit.replaces, scope, runs=False)


def _function(edit: FunctionEdit, scope: Scope) -> Iterator[_Unit]:
    yield _Unit(edit.code, scope)
    for default in (*edit.positional, *edit.keywords):
        yield _Unit(default.expression, replace(scope, role="default"), default.changed or default.follows)
    if edit.annotations.code is not None:
        yield _Unit(edit.annotations.code, replace(scope, role="annotation"), edit.annotations.changed)
    if edit.type_parameters is not None:
        yield _Unit(edit.type_parameters, replace(scope, role="type parameters"))


# --- what is no code ---------------------------------------------------------------------


def _outside_of_code(part: ModulePatch, text: Text) -> Iterator[Diagnostic]:
    """The rules about names that edits carry: of classes, of imports."""
    scope = Scope(text, Policy.STRICT, importing(part.imports), None)
    for edit in part.edits:
        match edit:
            case FunctionEdit(site=site, code=code):
                *classes, _ = site.qualname.split(".")
                private = next((name for name in classes if names.is_private(name)), None)
                if private:
                    message = f"a strict patch changes methods of public classes only; `{private}` is private"
                    yield finding("BCP109", message, text.header(code), site=site)
            case ImportEdit(binding=binding, line=line):
                place = Place(part.module.path, line, text=text.line(line))
                for rule, message in access.imported(binding, scope):
                    yield finding(rule, message, place)
