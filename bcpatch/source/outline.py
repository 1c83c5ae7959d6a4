"""A module source, compiled, with the definitions that executing it makes.

This module pairs what the compiler made (code objects) with what was written (syntax
trees). It knows nothing of a second version of the source, nor of rules.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from types import CodeType
from typing import NamedTuple, TypeAlias

import msgspec
from msgspec.structs import replace

from bcpatch import pythons
from bcpatch.diagnostics import Place, Refused, finding
from bcpatch.fingerprint import blake
from bcpatch.model import Module, Site
from bcpatch.sections import Section
from bcpatch.source import shape
from bcpatch.source.evaluated import assigned, iterated

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_GENERIC = "<generic parameters of "


class Source(msgspec.Struct, frozen=True):
    """One module source as it was read. ``path`` is the one to show to people."""

    module: Module
    path: str
    data: bytes

    @property
    def digest(self) -> str:
        return _digest(self.data)


#: What is saved is soon the base of what is saved next.
_digest = lru_cache(maxsize=32)(blake)


class Class(msgspec.Struct, frozen=True, dict=True):
    """A class that executing the module's body makes; ``code`` is its body."""

    node: ast.ClassDef
    qualname: str
    code: CodeType
    chain: tuple[ast.ClassDef, ...]
    """The classes around it, outermost first, itself last."""

    @cached_property
    def body(self) -> shape.Body:
        return shape.body(self.node)


class Function(msgspec.Struct, frozen=True, dict=True):
    """A function that executing the module's body, or one of its class bodies, makes.

    ``generic`` is the code of its type parameters (PEP 695), ``chain`` the classes around it,
    ``statement`` the one of the body that makes it.
    """

    node: FunctionNode
    statement: ast.stmt
    site: Site
    code: CodeType
    generic: CodeType | None
    chain: tuple[ast.ClassDef, ...]

    @property
    def name(self) -> str:
        return self.code.co_name

    @cached_property
    def header(self) -> object:
        """What its definition writes as arguments, annotations and type parameters; equal where that is the same."""
        parts = [getattr(self.node, name, None) for name in ("args", "returns", "type_params")]
        return shape.dumped(parts)


class Unit(msgspec.Struct, frozen=True, dict=True):
    """A parsed and compiled module source, or a part of one, and its definitions in source order.

    ``text`` is that of the whole module, ``own_text`` that of the part. ``unplaced`` is the code of
    lambdas that no place in the source could be found for. ``merged`` are lambdas that share the code of another
    one of their line, and its site with it. ``around`` are the names that the module imports around the part.
    """

    source: Source
    tree: ast.Module
    code: CodeType
    text: str
    own_text: str
    classes: tuple[Class, ...]
    functions: tuple[Function, ...]
    unplaced: tuple[CodeType, ...]
    merged: tuple[Function, ...]
    around: frozenset[str] = frozenset()

    @cached_property
    def imported(self) -> frozenset[str]:
        """Names that import statements of the module bind, wherever these stand in its own code."""
        return self.around.union(
            {one.name for one in shape.imports(self.tree, self.source.module, frozenset())} - {"*"}
        )

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The source lines as the interpreter counts them, without their ends."""
        return tuple(self.text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))

    @cached_property
    def body(self) -> shape.Body:
        return shape.body(self.tree)

    @cached_property
    def own_names(self) -> frozenset[str]:
        """Names that the module defines rather than imports."""
        return shape.own_names(self.tree, stores_globals="global" in self.own_text)

    @cached_property
    def by_name(self) -> Mapping[str, list[Function]]:
        """The functions by the name that their definition gives them."""
        found: dict[str, list[Function]] = {}
        for function in self.functions:
            found.setdefault(function.name, []).append(function)
        return found

    @cached_property
    def _at(self) -> Mapping[int, Function]:
        return {id(one.node): one for one in (*self.functions, *self.merged)}

    def function_around(self, node: FunctionNode) -> Function | None:
        """The function of the module that a definition is, or stands in; None for what was never compiled."""
        found = self._at.get(id(node))
        if found is not None:
            return found
        outer = [one for one in self._at.values() if _is_inside(node, one.node)]
        return max(outer, key=lambda one: one.node.lineno, default=None)

    @cached_property
    def aliases(self) -> Mapping[str, list[str]]:
        """By a name of the module: the dotted names of what assignments give to it (``name = other``)."""
        found: dict[str, list[str]] = {}
        for name, values in self.assigned.items():
            there = [*filter(None, map(shape.dotted, values))]
            if there:
                found[name] = there
        return found

    @cached_property
    def assigned(self) -> Mapping[str, list[ast.expr]]:
        """By a name of the module: what its own statements assign to it."""
        return assigned(executed(self.tree.body))

    @cached_property
    def class_values(self) -> Mapping[str, list[ast.expr]]:
        """By a name: what the bodies of classes assign to it."""
        return assigned(node for made in self.classes for node in executed(made.node.body))

    @cached_property
    def iterated(self) -> Mapping[str, list[ast.expr]]:
        """By a name: what loops and comprehensions go through whose items they give to it."""
        return iterated(ast.walk(self.tree))

    def meanings(self, name: str) -> list[str]:
        """A name, and those that it may be another one for."""
        found = [name]
        for one in found:
            found += [other for other in self.aliases.get(one, ()) if other not in found]
        return found

    @cached_property
    def stored_globals(self) -> frozenset[str]:
        """Names that functions of the module may bind anew, by a ``global`` statement."""
        if "global" not in self.own_text:
            return frozenset()
        return frozenset(name for node in ast.walk(self.tree) if isinstance(node, ast.Global) for name in node.names)

    def line(self, number: int) -> str:
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def place(self, node: ast.AST | None = None) -> Place:
        """Where a syntax tree stands; for a definition its first line, decorators aside."""
        if not isinstance(node, (ast.stmt, ast.expr, ast.arg, ast.keyword)):
            return Place(self.source.path)
        line = self.line(node.lineno)
        start = _characters(line, node.col_offset)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            named = re.compile(rf"(?:def|class)\s+(?={node.name}\b)").search(line, start)
            at = named.end() if named else start
            return Place(self.source.path, node.lineno, at + 1, node.lineno, at + 1 + len(node.name), line)
        end_line = node.end_lineno or node.lineno
        end = _characters(self.line(end_line), node.end_col_offset or node.col_offset)
        return Place(self.source.path, node.lineno, start + 1, end_line, end + 1, line)


def _characters(line: str, offset: int) -> int:
    """A column in characters from one in UTF-8 bytes, which is what syntax trees count."""
    return offset if line.isascii() else len(line.encode("utf-8", "replace")[:offset].decode("utf-8", "ignore"))


# --- reading a source ------------------------------------------------------------------


def outline(source: Source, optimization: int) -> Unit:
    """Parse and compile a module source.

    ``optimization`` is the level of ``compile()``: 0, 1 (-O) or 2 (-OO). Raises Refused
    (BCP001, BCP002) where the text is not a Python source.
    """
    text = decoded(source)
    with _refusing(source):
        tree = ast.parse(source.data, source.path)
        code = compile(tree, source.path, "exec", dont_inherit=True, optimize=optimization)
    return Unit(source, tree, code, text, text, *_definitions(tree, code, source.module.name, Counter()))


class Surroundings(NamedTuple):
    """What decides how a part of a module is compiled, besides its own text.

    ``flags`` are what ``from __future__`` imports make of the compiler. ``imported`` are names that the
    module imports: methods of these are called by other instructions (CPython ``is_import_originated``).
    """

    flags: int
    optimization: int
    imported: frozenset[str]


def part(
    source: Source,
    text: str,
    sections: Sequence[Section],
    around: Surroundings,
    ordinals: dict[str, int],
) -> Unit:
    """Parse and compile neighbouring sections of a source, as they are compiled in their place.

    ``text`` is that of the whole module, ``ordinals`` how many functions of each qualified name
    stand above; those of the sections are counted there. Raises Refused (BCP001).
    """
    own_text = "".join([one.text for one in sections])
    with _refusing(source):
        tree = ast.parse(own_text, source.path)
        if sections and sections[0].above:
            ast.increment_lineno(tree, sections[0].above)
        known = [_import(name) for name in sorted(around.imported)]
        whole = ast.Module([*tree.body, *known], [])
        code = compile(whole, source.path, "exec", around.flags, dont_inherit=True, optimize=around.optimization)
    made = _definitions(tree, code, source.module.name, ordinals)
    return Unit(source, tree, code, text, own_text, *made, around=around.imported)


def _import(name: str) -> ast.Import:
    return ast.Import([ast.alias(name, lineno=1, col_offset=0)], lineno=1, col_offset=0)


def importing(names: Iterable[str]) -> ast.If:
    """A statement that imports some names, never runs and leaves no code behind: it tells the compiler of them."""
    return ast.If(ast.Constant(0, lineno=1, col_offset=0), [*map(_import, names)], [], lineno=1, col_offset=0)


@contextmanager
def _refusing(source: Source) -> Iterator[None]:
    """What the compiler says against a text becomes a refusal, and its warnings nothing: the import says them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except SyntaxError as error:
        raise Refused([finding("BCP001", error.msg, _syntax_place(source, error))]) from error
    except (RecursionError, MemoryError) as error:
        message = ": ".join(filter(None, ("nested too deeply for the compiler", str(error))))
        raise Refused([finding("BCP001", message, Place(source.path))]) from error


def decoded(source: Source) -> str:
    """The text of a source. Raises Refused (BCP002) where it is none."""
    if b"\0" in source.data:
        line = source.data[: source.data.index(b"\0")].count(b"\n") + 1
        raise Refused([finding("BCP002", "it contains a null byte", Place(source.path, line))])
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source.data).readline)
        return source.data.decode(encoding)
    except UnicodeDecodeError as error:
        line = source.data[: error.start].count(b"\n") + 1
        message = f"byte 0x{source.data[error.start]:02x} is not {error.encoding.upper()}: {error.reason}"
        raise Refused([finding("BCP002", message, Place(source.path, line))]) from error
    except SyntaxError as error:  # an unknown or contradictory encoding declaration
        raise Refused([finding("BCP002", error.msg, Place(source.path, 1))]) from error


def parsed(source: Source) -> ast.Module | None:
    """A source's syntax; None where it is no Python, or nested too deeply to be read."""
    try:
        return ast.parse(decoded(source))
    except (Refused, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _syntax_place(source: Source, error: SyntaxError) -> Place:
    line, column = error.lineno or 0, error.offset or 0
    text = (error.text or "").rstrip("\n")
    end_line = line if error.end_lineno in (None, 0, -1) else error.end_lineno or line
    end_column = error.end_offset if error.end_offset and error.end_offset > 0 else 0
    return Place(source.path, line, max(column, 0), end_line, end_column, text)


# --- definitions -------------------------------------------------------------------------


class _Made:
    """The code objects among one code's constants, handed out by name and line in order."""

    def __init__(self, code: CodeType) -> None:
        self._left: dict[tuple[str, int], list[tuple[CodeType, CodeType | None]]] = {}
        for made in nested(code):
            if made.co_name.startswith(_GENERIC):
                inner_name = made.co_name[len(_GENERIC) : -1]
                for inner in nested(made):
                    if inner.co_name == inner_name and inner.co_firstlineno == made.co_firstlineno:
                        self._add(inner, made)
            else:
                self._add(made, None)

    def _add(self, code: CodeType, generic: CodeType | None) -> None:
        self._left.setdefault((code.co_name, code.co_firstlineno), []).append((code, generic))

    def take(self, name: str, node: ast.AST) -> tuple[CodeType, CodeType | None] | None:
        """The code of a definition; None where the compiler left the definition out.

        A lambda may share its line with others, also with some of a comprehension that
        the compiler inlined (PEP 709): the place of its body tells it apart.
        """
        left = self._left.get((name, shape.first_line(node)), [])
        for number, (code, _) in enumerate(left):
            if not isinstance(node, ast.Lambda) or _stands_at(code, node.body):
                return left.pop(number)
        if isinstance(node, ast.Lambda):
            for tells in (_stands_within, _only_returns):
                for number, (code, _) in enumerate(left):
                    if tells(code, node.body):
                        return left.pop(number)
        return None

    def left(self) -> Iterator[CodeType]:
        """What was not handed out."""
        return (code for some in self._left.values() for code, _ in some)


def _stands_at(code: CodeType, node: ast.expr) -> bool:
    """Whether an instruction of the code stands exactly where the expression does."""
    wanted = node.lineno, node.end_lineno, node.col_offset, node.end_col_offset
    return any(position in (wanted, (*wanted[:2], None, None)) for position in code.co_positions())


def _stands_within(code: CodeType, node: ast.expr) -> bool:
    """Whether an instruction stands in the expression: compilers leave but a part of ``a if True else b``."""
    begin, end = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
    for line, end_line, column, end_column in code.co_positions():
        places = (line, column, end_line, end_column)
        if None not in places and begin <= (line, column) < (end_line, end_column) <= end:
            return True
    return False


def _only_returns(code: CodeType, node: ast.expr) -> bool:
    """Whether the code returns the constant that the expression comes to.

    CPython 3.12 gives that no place of its own, be it written as one (``1``) or computed (``-1``, ``(0, 0)``).
    """
    constants = compile(ast.Expression(node), "", "eval").co_consts
    return bool(constants) and not code.co_freevars and constants[-1] in code.co_consts


def nested(code: CodeType) -> Iterator[CodeType]:
    """The code objects among a code's constants."""
    return (constant for constant in code.co_consts if isinstance(constant, CodeType))


Definitions: TypeAlias = "tuple[tuple[Class, ...], tuple[Function, ...], tuple[CodeType, ...], tuple[Function, ...]]"
"""Classes, functions, the code of lambdas without a place, and lambdas without code of their own."""


def _definitions(tree: ast.Module, code: CodeType, module: str, ordinals: dict[str, int]) -> Definitions:
    classes: list[Class] = []
    functions: list[Function] = []
    unplaced: list[CodeType] = []
    merged: list[Function] = []

    def visit(body: list[ast.stmt], made: _Made, chain: tuple[ast.ClassDef, ...]) -> None:
        for statement in body:
            for node in executed([statement]):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
                    define(node, statement, made, chain)
        unplaced.extend(code for code in made.left() if code.co_name == "<lambda>")

    def define(
        node: FunctionNode | ast.ClassDef, statement: ast.stmt, made: _Made, chain: tuple[ast.ClassDef, ...]
    ) -> None:
        found = made.take("<lambda>" if isinstance(node, ast.Lambda) else node.name, node)
        if found is None:
            if pythons.EQUAL_CODE_IS_SHARED and isinstance(node, ast.Lambda):
                merged.extend(_sharing(node, statement, functions, chain))
            return
        code, generic = found
        qualname = code.co_qualname
        if isinstance(node, ast.ClassDef):
            classes.append(Class(node, qualname, code, (*chain, node)))
            visit(node.body, _Made(code), (*chain, node))
            return
        ordinal = ordinals[qualname]
        ordinals[qualname] = ordinal + 1
        functions.append(Function(node, statement, Site(module, qualname, ordinal), code, generic, chain))

    visit(tree.body, _Made(code), ())
    return tuple(classes), tuple(functions), tuple(unplaced), tuple(merged)


def _sharing(
    node: ast.Lambda, statement: ast.stmt, functions: Sequence[Function], chain: tuple[ast.ClassDef, ...]
) -> Iterator[Function]:
    """A lambda without code of its own, as the one of its line whose code it shares; none if it is left out itself.

    Others may be written as it is, or come to the same (``1 + 1`` and ``2``).
    """
    near = [one for one in functions if isinstance(one.node, ast.Lambda) and one.chain == chain]
    near = [one for one in near if one.node.lineno == node.lineno]
    alike = [one for one in near if ast.dump(one.node) == ast.dump(node)]
    for one in (alike or near)[:1]:
        yield replace(one, node=node, statement=statement)


def _is_inside(node: FunctionNode, outer: FunctionNode) -> bool:
    """Whether a definition stands in another one, by their lines and columns."""
    begins_in = (outer.lineno, outer.col_offset) <= (node.lineno, node.col_offset)
    ends = [(one.end_lineno or 0, one.end_col_offset or 0) for one in (node, outer)]
    return begins_in and ends[0] <= ends[1]


def executed(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Every node that executing some statements evaluates, in source order.

    The insides of functions, classes, lambdas and comprehensions are code of their own;
    those of a definition's decorators, defaults, annotations and bases are not. What
    ``if TYPE_CHECKING:`` guards is never executed.
    """
    for statement in body:
        yield from _executed(statement)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    waiting = [(node, False)]
    while waiting:
        one, is_last = waiting.pop()
        inner: Iterable[ast.AST | None] = ()
        match one:
            case _ if is_last:
                yield one
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                inner = (*one.decorator_list, one.args, one.returns)
                waiting.append((one, True))
            case ast.Lambda():
                inner = (one.args,)
                waiting.append((one, True))
            case ast.ClassDef():
                inner = (*one.decorator_list, *one.bases, *one.keywords)
                waiting.append((one, True))
            case ast.If(test=test, orelse=orelse) if shape.is_type_checking(test):
                yield one
                inner = orelse
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                yield one
                inner = (one.generators[0].iter,)
            case _:
                yield one
                inner = ast.iter_child_nodes(one)
        waiting += [(child, False) for child in inner if child is not None][::-1]
