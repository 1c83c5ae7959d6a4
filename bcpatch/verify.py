"""All that a patch must satisfy before anything of it runs: form, structure, references.

Building and loading ask the same question here. Only what is in the patch is read, so
the loading side need not trust the builder; a process is not looked at. Which names a
patch links to is found on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from bcpatch.diagnostics import Diagnostic, Place, finding
from bcpatch.fingerprint import Digests
from bcpatch.flow import Flow
from bcpatch.flow.literals import is_literal
from bcpatch.model import (
    AdditionEdit,
    AnnotationsEdit,
    Code,
    CreationEdit,
    FunctionEdit,
    ImportEdit,
    Link,
    Module,
    ModulePatch,
    Patch,
    Policy,
    RemovalEdit,
    ValueEdit,
)
from bcpatch.rules import access, names, needs, references, structure, wellformed
from bcpatch.rules.reach import Frame, Scope, importing
from bcpatch.rules.sourcetext import Text, last_read


class Verified(NamedTuple):
    """A patch that tells which names its edits reach, and every finding about it.

    Of a part with an error, the names are those that it told, if it told any.
    """

    patch: Patch
    diagnostics: tuple[Diagnostic, ...]


def verify(patch: Patch) -> tuple[Diagnostic, ...]:
    """Every finding about a patch, in the order of its modules and edits.

    None of them: the code in it is well-formed (BCP3xx, BCP408) and reaches only what
    its policy allows (BCP1xx).
    """
    return verified(patch).diagnostics


def verified(patch: Patch, digests: Digests | None = None) -> Verified:
    """The same, and the patch with the names that its edits reach. ``digests`` of texts, as far as they are known."""
    digests = Digests() if digests is None else digests
    for part in patch.modules:
        last_read(part.module, digests)
    found = list(wellformed.check(patch, digests))
    parts = []
    for part in patch.modules:
        links, said = _module(part, patch.policy, Text(part.module, part.source, digests))
        found += said
        parts.append(part if links == part.links else replace(part, links=links))
    return Verified(
        replace(patch, modules=tuple(parts)), tuple({_key(one): one for one in reversed(found)}.values())[::-1]
    )


def _key(found: Diagnostic) -> object:
    """What makes two findings one: a header is met again in the scope of a generic function."""
    if not found.column:
        return found
    return found.code, found.file, found.line, found.column, found.end_line, found.end_column


def prepare(module: Module, source: bytes) -> bool:
    """Find out what the verification of a patch that carries the next version of a source will ask, if it is one."""
    return Text(module, source).is_python


def _module(part: ModulePatch, policy: Policy, text: Text) -> tuple[tuple[Link, ...] | None, list[Diagnostic]]:
    """The names that the edits of a module reach, and what is wrong with them: then the names are those told."""
    found = list(wellformed.edits(part))
    malformed = bool(found)
    if not text.is_python:
        found.append(_malformed("the source that the patch carries is not Python", part))
        return part.links, found
    found += (
        _malformed(f"the source that the patch carries does not import `{one.name}`", part)
        for one in part.imports
        if one.name != "*" and one.name not in text.imported
    )
    if malformed:
        return part.links, found
    needed: set[Link] = set()
    is_whole = True
    for unit in units(part, policy, text):
        found += unit.faults
        if unit.frame is None:
            is_whole = False
            continue
        if unit.runs:  # first of all: what is known of a value in a loop may depend on what was asked before
            needed.update(needs.links(unit.frame))
        found += references.check(unit.frame)
    if policy is Policy.STRICT:
        found += _outside_of_code(part, text)
        found += _beyond_functions(part)
    if not is_whole:
        return part.links, found
    links = tuple(sorted(needed))
    if part.links is not None and links != part.links:
        found.append(_malformed("the names that the patch links to are not those that it reaches", part))
    return links, found


def _malformed(message: str, part: ModulePatch) -> Diagnostic:
    return finding("BCP408", message, Place(part.module.path))


# --- code by code ------------------------------------------------------------------------


class Unit(msgspec.Struct, frozen=True):
    """A code object that an edit brings, and what it may use. ``runs`` is False where the process keeps its own.

    ``frame`` is None where the structure has ``faults``.
    """

    runs: bool
    frame: Frame | None
    faults: tuple[Diagnostic, ...]

    @property
    def flow(self) -> Flow | None:
        return None if self.frame is None else self.frame.flow


def _unit(code: Code, scope: Scope, runs: bool = True) -> Unit:
    flow, faults = structure.check(code, scope.text, scope.site)
    return Unit(runs, None if flow is None else Frame(flow, scope), faults)


def _expression(code: Code, scope: Scope, runs: bool) -> Iterator[Unit]:
    """The code of a default or a value; of a literal there is nothing to ask."""
    if not is_literal(code):
        yield _unit(code, scope, runs)


_BEYOND: Final = frozenset((AdditionEdit, ValueEdit, RemovalEdit, CreationEdit))


def _beyond_functions(part: ModulePatch) -> Iterator[Diagnostic]:
    for edit in part.changes:
        if type(edit) in _BEYOND or getattr(edit, "when", None) is not None:
            yield _malformed("a strict patch neither adds nor removes names or modules, nor changes values", part)


def units(part: ModulePatch, policy: Policy, text: Text) -> Iterator[Unit]:
    """The code that a module's edits bring, but for literals, each looked at as it is asked for; the edits are
    well-formed.

    Whoever lets go of each before the next never holds much: what is known of thousands of functions would be given
    back in one go, and all other threads would stand still meanwhile.
    """
    imports = importing(part.imports)
    for edit in part.changes:
        when = getattr(edit, "when", None)
        if when is not None:
            yield from _expression(when, Scope(text, policy, imports, None, "default"), runs=False)
        match edit:
            case FunctionEdit():
                scope = Scope(text, policy, imports, edit.site, around=edit.site.qualname.rpartition(".")[0])
                yield from _function(edit, scope)
            case AnnotationsEdit(qualname=qualname, annotations=annotations) if annotations.code is not None:
                yield _unit(annotations.code, Scope(text, policy, imports, None, "annotation", around=qualname))
            case AdditionEdit(owner=owner):
                yield _unit(edit.code, Scope(text, policy, imports, None, around=owner), runs=when is None)
            case ValueEdit(owner=owner):
                scope = Scope(text, policy, imports, None, "default", around=owner)
                yield from _expression(edit.code, scope, runs=when is None)
                yield from _expression(edit.replaces, scope, runs=False)


def _function(edit: FunctionEdit, scope: Scope) -> Iterator[Unit]:
    yield _unit(edit.code, scope)
    defaults = (*edit.positional, *edit.keywords)
    given = replace(scope, role="default") if defaults else scope
    for default in defaults:
        yield from _expression(default.expression, given, default.changed or default.follows)
    if edit.annotations.code is not None:
        yield _unit(edit.annotations.code, replace(scope, role="annotation"), edit.annotations.changed)
    if edit.type_parameters is not None:
        yield _unit(edit.type_parameters, replace(scope, role="type parameters"))


# --- what is no code ---------------------------------------------------------------------


def _outside_of_code(part: ModulePatch, text: Text) -> Iterator[Diagnostic]:
    """The rules about names that edits carry: of classes, of imports."""
    scope = Scope(text, Policy.STRICT, importing(part.imports), None)
    for edit in part.changes:
        match edit:
            case FunctionEdit(site=site, code=code):
                private = _private_class(site.qualname)
                if private:
                    message = f"a strict patch changes methods of public classes only; `{private}` is private"
                    yield finding("BCP109", message, text.header(code), site=site)
            case ImportEdit(binding=binding, line=line):
                place = Place(part.module.path, line, text=text.line(line))
                for rule, message in access.imported(binding, scope):
                    yield finding(rule, message, place)


def _private_class(qualname: str) -> str | None:
    """The first class around a method that is private."""
    if "_" not in qualname or "." not in qualname:
        return None
    return next(filter(names.is_private, qualname.split(".")[:-1]), None)
