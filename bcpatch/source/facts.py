"""What a section of a source says by itself: found out once, whatever becomes of the text around it.

Lines are counted within the section. Knows one version of one section; what follows for a
module is put together elsewhere.
"""

from __future__ import annotations

import ast
import re
import symtable
import sys
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain
from types import CodeType
from typing import Final

import msgspec

from bcpatch import fingerprint, pythons
from bcpatch.diagnostics import Refused
from bcpatch.model import Import, Module, Positions
from bcpatch.sections import Section
from bcpatch.source import calls, shape
from bcpatch.source.importtime import with_comprehensions
from bcpatch.source.outline import Source, Surroundings, nested, part

#: Sections that facts are kept of.
_KEPT: Final = 50_000


class Names(msgspec.Struct, frozen=True):
    """The names of a section.

    ``own`` and ``imports`` are those that it binds in the module, ``defined`` those of its functions and
    classes, and perhaps more: such as strings have. Executing it may call what is ``called``, and gives to a name that
    it calls what is ``handed`` with it.
    ``imported`` is what import statements bind wherever they stand in the module's own code. A
    ``special`` section changes how the compiler sees others: by a ``global`` of the module's own
    code, or by ``super`` in it (CPython ``can_optimize_super_call``). ``future`` is whether it mentions
    ``__future__``.
    """

    own: frozenset[str]
    imports: tuple[Import, ...]
    defined: frozenset[str]
    called: frozenset[str]
    handed: frozenset[tuple[str, str]]
    imported: frozenset[str]
    special: bool
    future: bool


class Standing(msgspec.Struct, frozen=True):
    """A function, and where it stands."""

    qualname: str
    print: str
    positions: Positions


class Recorded(msgspec.Struct, frozen=True):
    """A class, and what its body records of its place and of its methods' attributes (CPython 3.13+)."""

    qualname: str
    first_line: int
    attributes: tuple[str, ...]


class Standings(msgspec.Struct, frozen=True):
    """The functions and classes of a section, in source order.

    ``movable`` is False where code says on which line it stands: then it is other code on another line.
    """

    functions: tuple[Standing, ...]
    classes: tuple[Recorded, ...]
    movable: bool


@lru_cache(maxsize=_KEPT)
def names(text: str, module: Module) -> Names | None:
    """The names of a section; None where it does not stand alone. Whoever asks keeps warnings quiet."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    outer = list(_at_module_level(tree.body))
    executed = list(_executed_at_import(tree.body))
    imports = [one for one in outer if isinstance(one, (ast.Import, ast.ImportFrom))]
    return Names(
        shape.own_names(tree, stores_globals="global" in text),
        shape.imports(tree, module, frozenset()),
        frozenset(_DEFINITION.findall(_normal(text))),
        frozenset((*_called(executed), *_given_a_name(executed))),
        frozenset(_handed(executed)),
        frozenset(alias.asname or alias.name.partition(".")[0] for one in imports for alias in one.names) - {"*"},
        any(isinstance(one, ast.Global) for one in outer) or ("super" in text and _uses(text, "super")),
        "__future__" in text,
    )


_DEFINITION: Final = re.compile(r"\b(?:def|class)[\s\\]+(\w+)")
_WORD: Final = re.compile(r"\w+")


def _normal(text: str) -> str:
    """A text with its names as the parser reads them (Language Reference, "Identifiers and keywords")."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


@lru_cache(maxsize=_KEPT)
def may_call(text: str) -> frozenset[str]:
    """The names by which any code in a section may call something, or whoever calls what the section defines."""
    nodes = list(ast.walk(_parsed(text)))
    return frozenset(map(sys.intern, (*_called(nodes), *_behind(nodes))))


@lru_cache(maxsize=_KEPT)
def handed(text: str) -> frozenset[tuple[str, str]]:
    """The names of what any code in a section calls, each with the names of what it gives to it."""
    return frozenset(_handed(ast.walk(_parsed(text))))


@lru_cache(maxsize=_KEPT)
def callers(text: str) -> frozenset[str]:
    """The functions and classes of a section that may call what they are given, by name."""
    return frozenset(
        outer.name
        for outer in _at_module_level(_parsed(text).body)
        if isinstance(outer, shape.DEFINITIONS)
        and any(calls.calls_its_arguments(one) for one in ast.walk(outer) if isinstance(one, calls.CALLABLES))
    )


@lru_cache(maxsize=_KEPT)
def given(text: str) -> frozenset[str]:
    """The names by which any call in a section gets something (see `bcpatch.source.calls.given_to`)."""
    some = (node for node in ast.walk(_parsed(text)) if isinstance(node, ast.Call))
    return frozenset(name for call in some for name in calls.given_to(call))


def _parsed(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)


@lru_cache(maxsize=_KEPT)
def mentioned(text: str, wanted: frozenset[str]) -> frozenset[str]:
    """Those of some names that a section may use."""
    return wanted.intersection(_WORD.findall(_normal(text)))


def _executed_at_import(body: Iterable[ast.stmt]) -> Iterator[ast.AST]:
    """Every node that executing a body evaluates, class bodies included; not the program in a main guard."""
    for statement in body:
        if isinstance(statement, ast.If) and shape.is_main_guard(statement.test):
            continue
        for node in with_comprehensions(statement):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _executed_at_import(node.body)


def _at_module_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        yield statement
        if not isinstance(statement, shape.DEFINITIONS):
            for block in shape.nested_statements(statement):
                yield from _at_module_level(block)


def _uses(text: str, name: str) -> bool:
    """Whether the module's own code knows a name at all; so it is where the compiler refuses the text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return name in symtable.symtable(text, "", "exec").get_identifiers()
    except SyntaxError:
        return True


def _called(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The names by which some nodes may call something (see `bcpatch.source.calls`).

    Objects of which operators call methods are there by a call of their class.
    """
    some = list(nodes)
    yield from (name for run in calls.runs(some) if run.methods is calls.CALLED for name in _leading_to(run.of))
    for node in some:
        if isinstance(node, ast.Attribute):
            yield node.attr  # of a property
        elif isinstance(node, ast.For | ast.comprehension):
            yield from _leading_to(node.iter)


def _handed(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    """The names of what some nodes call, each with the names of what they give to it."""
    for node in nodes:
        if isinstance(node, ast.Call):
            callee = shape.last_name(node.func) or ""
            given = (one for argument in calls.arguments(node) for one in calls.held(argument))
            for name in chain.from_iterable(map(_leading_to, given)) if callee else ():
                yield callee, name


def _leading_to(expression: ast.expr) -> Iterator[str]:
    """The names by which an expression gives something, or takes it out of what holds it."""
    ends = [expression]
    if isinstance(expression, ast.Subscript | ast.Call):
        ends.append(calls.holder(expression))
    yield from (name for name in map(shape.last_name, ends) if name is not None)


def _behind(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The names of what displays hold and of what classes derive from: calls of items, and of the class, lead there."""
    for node in nodes:
        behind: list[ast.expr | None] = []
        match node:
            case ast.List(elts=inner) | ast.Tuple(elts=inner) | ast.Set(elts=inner) | ast.Dict(values=inner):
                behind += inner
            case ast.ClassDef(bases=inner) | ast.Call(args=inner):
                behind += inner
        yield from (name for name in map(shape.last_name, filter(None, behind)) if name is not None)


def _given_a_name(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """What an assignment may give another name: it may be called by that."""
    for one in nodes:
        if isinstance(one, ast.Assign | ast.AnnAssign | ast.NamedExpr) and one.value is not None:
            names = (node for node in ast.walk(one.value) if isinstance(node, ast.Name | ast.Attribute))
            yield from filter(None, map(shape.last_name, names))


@lru_cache(maxsize=_KEPT)
def standings(text: str, around: Surroundings) -> Standings | None:
    """Where the functions and classes of a section stand; None where that can't be told for it alone."""
    source = Source(Module("", ""), "", b"")
    try:
        unit = part(source, text, [Section(text, 0)], around, Counter())
    except Refused:
        return None
    if unit.unplaced:
        return None
    functions = sorted(unit.functions, key=lambda one: one.code.co_firstlineno)
    return Standings(
        tuple(Standing(one.site.qualname, fingerprint.of(one.code), positions(one.code)) for one in functions),
        tuple(Recorded(one.qualname, *recorded(one.code)) for one in unit.classes),
        not pythons.CLASS_BODY_POSITIONS or not any(_has_class_body(one.code) for one in functions),
    )


def positions(code: CodeType) -> Positions:
    """The positions of code that is as it was, but for its line."""
    return Positions(code.co_firstlineno, None, tuple(map(positions, nested(code))))


def moved(standing: Positions, lines: int) -> Positions:
    """The positions of code that stands some lines further down."""
    nested = standing.nested and tuple(moved(one, lines) for one in standing.nested)
    return Positions(standing.first_line + lines, None, nested)


def recorded(body: CodeType) -> tuple[int, tuple[str, ...]]:
    """The line and the attributes that a class body stores about itself (CPython 3.13+)."""
    attributes = fingerprint.stored_constant(body, "__static_attributes__")
    return body.co_firstlineno, tuple(sorted(attributes)) if isinstance(attributes, tuple) else ()


def _has_class_body(code: CodeType) -> bool:
    return any(not one.co_flags & fingerprint.OPTIMIZED or _has_class_body(one) for one in nested(code))
