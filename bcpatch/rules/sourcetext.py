"""The source text that a patch carries: for the words of a finding, and for what the module binds.

Knows lines, columns and the symbol table of a text; nothing of code objects or rules.
"""

from __future__ import annotations

import ast
import io
import re
import symtable
import sys
import tokenize
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Set
from functools import cached_property, lru_cache
from typing import Final

import msgspec

from bcpatch import sections
from bcpatch.diagnostics import Place
from bcpatch.fingerprint import Digests
from bcpatch.flow import Position
from bcpatch.model import Code, Module
from bcpatch.rules import names


class Text(msgspec.Struct, frozen=True, eq=False, dict=True):
    """The source text that a patch carries: for the words of a finding, and for what the module binds."""

    module: Module
    source: bytes
    digests: Digests = msgspec.field(default_factory=Digests)

    @property
    def digest(self) -> str:
        return self.digests.of(self.source)

    @cached_property
    def _decoded(self) -> str | None:
        """The text; None where it is none."""
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(self.source).readline)
            return self.source.decode(encoding)
        except (SyntaxError, UnicodeDecodeError):
            return None

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The lines as the interpreter counts them, without their ends; none where it is no text."""
        return tuple((self._decoded or "").replace("\r\n", "\n").replace("\r", "\n").split("\n"))

    def line(self, number: int) -> str:
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def place(self, position: Position | None) -> Place:
        """A finding's place: columns in characters from 1."""
        if position is None or position.line < 1:
            return Place(self.module.path)
        line = self.line(position.line)
        if position.column < 0 or position.end_column < 0:
            return Place(self.module.path, position.line, text=line)
        column = _characters(line, position.column)
        end = _characters(self.line(position.end_line), position.end_column)
        return Place(self.module.path, position.line, column + 1, position.end_line, end + 1, line)

    def header(self, code: Code) -> Place:
        """Where a function's name stands in its definition; code objects begin at the first decorator."""
        name = "lambda" if code.name == "<lambda>" else code.name
        words = re.compile(rf"\b(?:def\s+(?={re.escape(name)}\b)|(?=lambda\b))")
        for number in range(code.first_line, code.first_line + _DECORATORS):
            line = self.line(number)
            found = words.search(line)
            if found:
                start = found.end() + 1
                return Place(self.module.path, number, start, number, start + len(name), line)
        return Place(self.module.path, code.first_line, text=self.line(code.first_line))

    @cached_property
    def _read(self) -> _Read:
        """The text in its sections, and what they bind: found out anew where the module's last text had it not."""
        before = _latest.get(self.module, _NOTHING)
        if before is not _NOTHING and before.source == self.source:
            _remember(self.module, before)
            return before
        text = self._decoded
        if text is None:
            return _Read(self.source, self.digest, sections.NOTHING, _Bound((None,)))
        asked: dict[str, _Bindings | None] = {}

        def bindings(section: str) -> _Bindings | None:
            if section not in asked:
                asked[section] = _bindings(section)
            return asked[section]

        found = sections.split(text, lambda section: bindings(section) is not None, before.sections)
        bound = _Bound(found.carried(before.bound.of, bindings))
        same = bound.of == before.bound.of
        read = _Read(self.source, self.digest, found.sections, before.bound if same else bound)
        _remember(self.module, read)
        return read

    def _defining(self, name: str) -> Iterator[str]:
        """The sections that may define a class or function of this name."""
        parts = self._read.sections
        if not parts.text.isascii():
            yield from (one.text for one in parts if name in one.text or not one.text.isascii())
            return
        position = parts.text.find(name)
        while 0 <= position < len(parts.text):
            number = bisect_right(parts.ends, position)
            yield parts[number].text
            position = parts.text.find(name, parts.ends[number])

    @cached_property
    def own_paths(self) -> frozenset[str]:
        """Dotted names under which the module can be imported."""
        parts = self.module.path.removesuffix(".py").split("/")
        if len(parts) > 1 and parts[-1] in ("__init__", "__main__"):
            parts.pop()
        return frozenset({self.module.name, ".".join(parts)})

    def own_path(self, path: str) -> str | None:
        """The dotted name of the module that a path ends with: other modules have it as an attribute of its package."""
        if path.rpartition(".")[2] not in self.own_names:
            return None
        for own in self.own_paths:
            if path == own or ("." in own and path.endswith(f".{own}")):
                return own
        return None

    @cached_property
    def packages(self) -> frozenset[str]:
        """Packages that have the module as an attribute, or one that has."""
        parts = [path.split(".") for path in self.own_paths]
        return frozenset(".".join(some[:end]) for some in parts for end in range(1, len(some)))

    @cached_property
    def package_names(self) -> frozenset[str]:
        """The names that these packages have in the packages around them."""
        return names.last_parts(self.packages)

    @cached_property
    def own_names(self) -> frozenset[str]:
        """The names of attributes that may lead to this module, or to a package that has it."""
        return names.last_parts(self.own_paths, self.packages)

    @property
    def is_python(self) -> bool:
        """Whether the text parses, so that what it binds is known."""
        return None not in self._read.bound.of

    @property
    def bound(self) -> frozenset[str]:
        """Names that the module binds in its namespace: by statements of its own, or by ``global``."""
        return self._read.bound.bound

    @property
    def imported(self) -> frozenset[str]:
        """Names that import statements of the module bind in its namespace."""
        return self._read.bound.imported

    @property
    def certain(self) -> frozenset[str]:
        """Names that executing the module binds whatever it finds: no statement around them decides."""
        return self._read.bound.certain

    def around(self, line: int) -> tuple[frozenset[str], sections.Section, frozenset[str]]:
        """The section that holds a line; the names that those above it bind when they execute, and those below it."""
        parts, of = self._read.sections, self._read.bound.of
        number = bisect_left(parts.above, line) - 1
        above, below = (
            frozenset(name for one in some if one is not None for name in one.executed)
            for some in (of[:number], of[number + 1 :])
        )
        return above, parts[number], below

    def binds_itself(self, name: str) -> bool:
        """Whether the module binds a name by something else than an import statement."""
        return any(name in _bound_itself(section) for section in self._defining(name))

    def bound_in_class(self, qualname: str) -> frozenset[str]:
        """Names that the bodies of the class ``qualname`` bind."""
        known = self._classes.get(qualname)
        if known is None:
            sections = self._defining(qualname.partition(".")[0])
            known = frozenset().union(*(_bound_in_class(section, qualname) for section in sections))
            self._classes[qualname] = known
        return known

    @cached_property
    def _classes(self) -> dict[str, frozenset[str]]:
        """By qualified name: what the classes bind that were asked for."""
        return {}

    def type_parameters(self, qualname: str) -> frozenset[str]:
        """Names of the type parameters (PEP 695) of a function and of the classes around it."""
        sections = self._defining(qualname.partition(".")[0])
        return frozenset().union(*(_type_parameters(section, qualname) for section in sections))


_DECORATORS = 50
"""Lines of decorators in which a function's name is looked for."""

_KEPT = 16 << 20
"""Bytes of texts of which it is remembered what they bind."""

_DEFINITIONS = 256
"""Classes and functions of which it is remembered what the table of their section says."""

_GENERIC = ("type parameter", "type parameters")
"""What the table of a generic definition's parameters is called: by 3.12, and since 3.13."""


def quotation(words: str, place: Place) -> Place:
    """Where, on the line of a place, some words stand in quotes; the place itself where they don't."""
    found = re.compile(rf"([\"']){re.escape(words)}\1").search(place.text, max(place.column - 1, 0))
    if not found:
        return place
    return place._replace(column=found.start() + 1, end_line=place.line, end_column=found.end() + 1)


def _characters(line: str, offset: int) -> int:
    """A column in characters from one in UTF-8 bytes."""
    return offset if line.isascii() else len(line.encode("utf-8", "replace")[:offset].decode("utf-8", "ignore"))


# --- what sections bind -----------------------------------------------------------------


class _Bindings(msgspec.Struct, frozen=True):
    """Names that a section binds in the module: by any statement, by imports, and in any case. Those of ``stored`` are
    bound by functions alone, by ``global``.
    """

    bound: tuple[str, ...]
    imported: tuple[str, ...]
    certain: tuple[str, ...]
    stored: tuple[str, ...] = ()

    @property
    def executed(self) -> Iterator[str]:
        """The names that executing the section itself may bind."""
        return (name for name in self.bound if name not in self.stored)


class _Bound(msgspec.Struct, frozen=True, eq=False, dict=True):
    """What the sections of a text bind, in their order; None of one that is not Python."""

    of: tuple[_Bindings | None, ...]

    @cached_property
    def bound(self) -> frozenset[str]:
        return frozenset(name for one in self.of if one is not None for name in one.bound)

    @cached_property
    def imported(self) -> frozenset[str]:
        return frozenset(name for one in self.of if one is not None for name in one.imported)

    @cached_property
    def certain(self) -> frozenset[str]:
        return frozenset(name for one in self.of if one is not None for name in one.certain)


class _Read(msgspec.Struct, frozen=True):
    """A text, its digest, its sections, and what these bind."""

    source: bytes
    digest: str
    sections: sections.Sections
    bound: _Bound


_NOTHING: Final = _Read(b"", "", sections.NOTHING, _Bound(()))
_latest: dict[Module, _Read] = {}


def _remember(module: Module, read: _Read) -> None:
    """Keep what the last text of each module binds: of older ones nothing is kept, nor of modules long ago."""
    _latest.pop(module, None)
    _latest[module] = read
    size = sum([len(one.source) for one in list(_latest.values())])  # another thread may verify as well
    for other in list(_latest)[:-1]:
        if size <= _KEPT:
            break
        size -= len(_latest.pop(other, _NOTHING).source)


def last_read(module: Module, digests: Digests) -> None:
    """Tell of the digest of the last text of a module, if there was one."""
    read = _latest.get(module)
    if read is not None:
        digests.add(read.source, read.digest)


def _bindings(section: str) -> _Bindings | None:
    """What a section binds; None where it is not Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the application's own import says them
            body = ast.parse(section).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    certain = frozenset(name for statement in body for name in _binds(statement))
    if ":=" not in section and "global" not in section and all(map(_only_defines, body)):
        return _Bindings(_sorted(certain), (), _sorted(certain))  # most sections: no need of a symbol table
    table = _table(section)
    if table is None:
        return None
    symbols = table.get_symbols()
    bound = {one.get_name() for one in symbols if one.is_assigned() or one.is_declared_global()}
    stored = set(_globals(table)) - bound if "global" in section else set()
    imported = {one.get_name() for one in symbols if one.is_imported()}
    return _Bindings(_sorted(bound | stored), _sorted(imported), _sorted(certain), _sorted(stored))


def _sorted(names: Set[str]) -> tuple[str, ...]:
    return tuple(sorted(map(sys.intern, names)))


def _only_defines(statement: ast.stmt) -> bool:
    return isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))


def _table(section: str) -> symtable.SymbolTable | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the application's own import says them
            return symtable.symtable(section, "", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _binds(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in aliases)
        case ast.Assign(targets=targets):
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
            yield name


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    """Names that code inside of a scope declares to be the module's."""
    for child in table.get_children():
        yield from (symbol.get_name() for symbol in child.get_symbols() if symbol.is_declared_global())
        yield from _globals(child)


@lru_cache(maxsize=_DEFINITIONS)
def _bound_itself(section: str) -> frozenset[str]:
    """Names that a section binds in the module, but for its import statements."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(section)]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
                found.update(name for one in ast.walk(node) if isinstance(one, ast.Global) for name in one.names)
                continue
            case ast.Name(id=name, ctx=ast.Store()) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                found.add(name)
        waiting.extend(ast.iter_child_nodes(node))
    return frozenset(found)


@lru_cache(maxsize=_DEFINITIONS)
def _bound_in_class(section: str, qualname: str) -> frozenset[str]:
    """Names that the bodies of a class bind which a section defines."""
    tables = [table for table in (_table(section),) if table is not None]
    for part in qualname.split("."):
        tables = [child for table in tables for child in _classes(table) if child.get_name() == part]
    return frozenset(symbol.get_name() for table in tables for symbol in table.get_symbols() if symbol.is_assigned())


@lru_cache(maxsize=_DEFINITIONS)
def _type_parameters(section: str, qualname: str) -> frozenset[str]:
    """Names of the type parameters of a function that a section defines, and of the classes around it."""
    found: set[str] = set()
    scopes = [table for table in (_table(section),) if table is not None]
    for part in qualname.split("."):
        generic = [child for table in scopes for child in table.get_children() if child.get_type() in _GENERIC]
        generic = [child for child in generic if child.get_name() == part]
        found.update(symbol.get_name() for table in generic for symbol in table.get_symbols())
        inside = [child for table in (*scopes, *generic) for child in table.get_children()]
        scopes = [child for child in inside if child.get_type() == "class" and child.get_name() == part]
    return frozenset(found)


def _classes(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    """The tables of the classes that executing a body makes, those with type parameters included."""
    for child in table.get_children():
        if child.get_type() == "class":
            yield child
        elif child.get_type() != "function":
            yield from _classes(child)
