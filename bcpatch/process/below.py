"""What a line of a module's text would find otherwise in a fresh start: names that are bound again below it.

A patch runs what stands there now, after the whole module.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Mapping
from types import CodeType

import msgspec

from bcpatch.process import stars
from bcpatch.process.linked import LinkedModule
from bcpatch.process.stale import Rebound
from bcpatch.rules.sourcetext import Text
from bcpatch.source.evaluated import bound_above, bound_below


class Below(msgspec.Struct, frozen=True):
    """Names that are bound again below a line: each with the module that gives it there, "" for the module itself."""

    module: LinkedModule
    names: Mapping[str, str]
    again: Rebound

    def read_by(self, code: CodeType) -> str | None:
        """One of them that code of the module reads."""
        return self.again.read_by(code, self.module.namespace, self.names) if self.names else None

    def readers(self) -> Iterator[tuple[CodeType, str]]:
        """Code of this process that reads one of them, and which."""
        return self.again.readers() if self.names else iter(())

    def words(self, name: str) -> str:
        """How one of them is bound again."""
        origin = self.names[name.rpartition(".")[2]]
        return f"`from {origin} import *` below gives another one" if origin else "is bound again below"


def below(module: LinkedModule, line: int) -> Below:
    """Of a line of a module's new text."""
    above, section, rest = Text(module.part.module, module.part.source).around(line)
    tree, own = ast.parse(section.text), line - section.above
    known = {*dir(builtins), *above, *bound_above(tree, own)}
    names = dict.fromkeys(known & {*rest, *bound_below(tree, own)}, "")
    if any(one.name == "*" for one in module.part.imports):
        names |= stars.given_below(ast.parse(module.part.source), module.object, line)
    again = Rebound()
    for name in names:
        again.add(module.object, name)
    return Below(module, names, again)
