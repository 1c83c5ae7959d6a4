"""Other modules of the same sources that take names of a module, and which of these their own import calls.

Found by names: import statements say what a name is, through modules that pass it on. Not seen is what is reached by an
object that another module has made, nor what a function calls that a third module has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Set
from functools import lru_cache
from itertools import compress
from operator import not_
from typing import Final

import msgspec

from bcpatch.diagnostics import Refused
from bcpatch.model import Import, Module
from bcpatch.source import importtime, shape
from bcpatch.source.outline import Source, outline

#: What takes names of the package around it, which it need not name; and what takes all that there are.
_RELATIVE: Final = rb"\bfrom[\s\\]*\."
_STAR: Final = rb"\bimport[\s\\]*\*"


#: Sources of which it is kept what they import and call.
_KEPT: Final = 4096


class Call(msgspec.Struct, frozen=True):
    """A statement that calls something of another module, by its dotted name there, when its own module is imported."""

    module: Module
    line: int
    text: str
    called: str


class _Read(msgspec.Struct, frozen=True):
    """What a module imports, and what its import calls: line, statement, and the names that lead to what is called."""

    imports: tuple[Import, ...]
    called: tuple[tuple[int, str, tuple[str, ...]], ...]


def calls(sources: Iterable[Source], wanted: Set[tuple[str, str]], optimization: int) -> Iterator[Call]:
    """The calls of some names, or of something of theirs, that importing any of some sources makes.

    ``wanted`` are pairs of a module and one of its names. Only modules that may have taken one are compiled.
    """
    origins = {f"{module}.{name}": f"{module}.{name}" for module, name in wanted}
    for source, read in _takers(sources, origins, optimization):
        paths = importtime.paths(_with_stars(read.imports, origins))
        for line, text, (first, *rest) in read.called:
            found = _at_origin([*paths.get(first, "").split("."), *rest], origins)
            if found is not None:
                yield Call(source.module, line, text, found)


def prepare(source: Source, optimization: int) -> None:
    """Find out what `calls` will ask of a source."""
    _read(source, optimization)


def _takers(sources: Iterable[Source], origins: dict[str, str], optimization: int) -> list[tuple[Source, _Read]]:
    """The modules that may take some names; ``origins`` has these, and gets the names that they have elsewhere."""
    names = _any_of((name.rpartition(".")[2] for name in origins), _STAR)
    left = [source for source in sources if names.search(source.data)]
    found: list[tuple[Source, _Read]] = []
    size = 0
    while size < len(origins):
        size = len(origins)
        modules = _any_of((name.split(".")[-2] for name in origins), _RELATIVE)
        is_near = [modules.search(source.data) is not None for source in left]
        read = ((source, _read(source, optimization)) for source in compress(left, is_near))
        found += [(source, one) for source, one in read if one is not None]
        left = list(compress(left, map(not_, is_near)))
        for source, one in found:
            for taken in _with_stars(one.imports, origins):
                origin = origins.get(f"{taken.module}.{taken.attribute}")
                if origin is not None:
                    origins.setdefault(f"{source.module.name}.{taken.name}", origin)
    return found


def _any_of(words: Iterable[str], *more: bytes) -> re.Pattern[bytes]:
    found = b"|".join(sorted(re.escape(word.encode()) for word in set(words)))
    return re.compile(b"|".join((rb"\b(?:%s)\b" % found, *more)))


@lru_cache(maxsize=_KEPT)
def _read(source: Source, optimization: int) -> _Read | None:
    try:
        unit = outline(source, optimization)
    except Refused:
        return None
    called = dict.fromkeys((statement.lineno, names) for statement, names in importtime.called(unit))
    return _Read(
        shape.imports(unit.tree, source.module, unit.own_names),
        tuple((line, unit.line(line).strip(), names) for line, names in called),
    )


def _with_stars(imports: Iterable[Import], origins: Iterable[str]) -> list[Import]:
    """Imports, and for each of all names (``*``) those of the wanted ones that it takes."""
    found = list(imports)
    for one in imports:
        if one.name == "*":
            names = (name.rpartition(".") for name in origins)
            found += [Import(name, module, name) for module, _, name in names if module == one.module]
    return found


def _at_origin(parts: list[str], origins: dict[str, str]) -> str | None:
    """A dotted name as the module has it that defines what it begins with; None of what is not wanted."""
    for end in range(len(parts), 1, -1):
        origin = origins.get(".".join(parts[:end]))
        if origin is not None:
            return ".".join((origin, *parts[end:]))
    return None
