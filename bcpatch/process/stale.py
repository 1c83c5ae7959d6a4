"""What code reads that a swap is about to bind anew: it would still get the old value.

Reads code objects and the namespaces that they run in. A name is known exactly. An attribute is known where names lead
to what it is of, and else goes by its name.
"""

from __future__ import annotations

import dis
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Set
from itertools import chain, pairwise
from types import CodeType, ModuleType
from typing import Final, NamedTuple

import msgspec

from bcpatch.process.behind import Behind
from bcpatch.process.objects import (
    all_modules,
    class_namespace,
    is_class,
    is_module,
    mro_of,
    namespace_of,
    qualname_of,
    values_of,
    with_nested,
)

_NAMES: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_GLOBALS"})
_ATTRIBUTES: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"})
_LOCALS: Final = frozenset(
    {
        "LOAD_FAST", "LOAD_FAST_BORROW", "LOAD_FAST_BORROW_LOAD_FAST_BORROW", "LOAD_FAST_CHECK", "LOAD_FAST_LOAD_FAST",
        "LOAD_DEREF",
    }
)  # fmt: skip
_BOTH: Final = "STORE_FAST_LOAD_FAST"
_STORES: Final = frozenset({"STORE_FAST", "STORE_DEREF", "STORE_FAST_STORE_FAST", _BOTH})
_KEEPING: Final = frozenset({"STORE_GLOBAL", "STORE_NAME"})
_BETWEEN: Final = frozenset({"EXTENDED_ARG", "CACHE"})
_AFTER_IMPORT: Final = frozenset({"SWAP", "POP_TOP"})
"""They stand between what `import a.b as c` finds and where it is stored."""
_UNKNOWN: Final = object()
_MODULE: Final = object()
_NAMESPACE: Final = object()
"""What is read of: anything, a module that is imported by a relative name, the namespace that the code runs in."""


class Rebound(msgspec.Struct, eq=False):
    """Names and attributes that a swap binds anew or deletes.

    ``names`` of namespaces, by the identity of these; ``attributes`` by their name, each with the modules and classes
    that it is of.
    """

    names: dict[int, set[str]] = msgspec.field(default_factory=dict)
    attributes: dict[str, list[object]] = msgspec.field(default_factory=dict)
    _owners: set[int] = msgspec.field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.names or self.attributes)

    def add(self, owner: object, name: str) -> None:
        """A name of a module or a class."""
        if is_module(owner):
            self.names.setdefault(id(namespace_of(owner)), set()).add(name)
        self.attributes.setdefault(name, []).append(owner)
        self._owners.add(id(owner))

    def of(self, namespace: Mapping[str, object]) -> Collection[str]:
        """The names of a namespace among them."""
        return self.names.get(id(namespace), ())

    def is_known_in(self, module: ModuleType, held: Set[int]) -> bool:
        """Whether a module is one of the owners, or holds one; ``held`` is what it holds, by identity."""
        return id(module) in self._owners or not self._owners.isdisjoint(held)

    def readers(self) -> Iterator[tuple[CodeType, str]]:
        """Code of this process that reads one of them, and which: of functions of all modules that know an owner, and
        behind what these have.
        """
        behind = Behind()
        seen: set[int] = set()
        for module in all_modules():
            space = namespace_of(module)
            if self.is_known_in(module, set(map(id, list(space.values())))):
                found = map(behind.functions, values_of(space, space.get("__name__")))
                for function in chain.from_iterable(found):
                    for code in with_nested(function.__code__) if id(function) not in seen else ():
                        read = self.read_by(code, function.__globals__, self.of(function.__globals__))
                        if read:
                            yield code, read
                    seen.add(id(function))

    def read_by(
        self,
        code: CodeType,
        namespace: Mapping[str, object],
        names: Collection[str],
        *,
        guess: bool = True,
        receiver: object = _UNKNOWN,
        keeps: bool = False,
    ) -> str | None:
        """The first of them that code reads in a namespace, of which some ``names`` are among them; None for none.

        Where no name tells what an attribute is read of, it is a ``guess`` that this is an object of a class. What an
        import statement takes changes with where it was taken from, unless the code ``keeps`` it for the patch.
        ``receiver`` is the class of which the code gets one, or an object of it, as its first argument.
        """
        if {*names, *self.attributes}.isdisjoint(code.co_names):
            return None
        for read in _reads(code, namespace, receiver, follows_locals=not guess):
            if read.owner is _NAMESPACE:
                if read.name in names:
                    return read.name
            elif not (read.follows and not keeps) and self._is_of(read.owner, read.name, guess=guess):
                is_guess = read.owner is _UNKNOWN or read.owner is _MODULE or read.is_import
                return read.name if is_guess else f"{_named(read.owner)}.{read.name}"
        return None

    def _is_of(self, value: object, name: str, *, guess: bool) -> bool:
        """Whether an attribute of a value may be one of them."""
        owners = self.attributes.get(name, ())
        if value is _UNKNOWN:
            return guess and any(map(is_class, owners))
        if value is _MODULE:
            return any(map(is_module, owners))
        kinds = {id(value), *map(id, mro_of(value if is_class(value) else type(value)))}
        return any(id(owner) in kinds for owner in owners)


class _Read(NamedTuple):
    """A name that code reads: of what, and whether an import statement takes it, for a name that it binds again."""

    owner: object
    name: str
    is_import: bool = False
    follows: bool = False


def _reads(
    code: CodeType, namespace: Mapping[str, object], receiver: object, *, follows_locals: bool
) -> Iterator[_Read]:
    """What code reads in a namespace, of what its names lead to, in the order of its instructions.

    A local variable that is stored once may be what was stored; whoever must not take it for that does not follow it.
    """
    instructions = list(dis.get_instructions(code))
    stored = Counter(name for one in instructions for name in _stored(one))
    parameters = code.co_varnames[: code.co_argcount]
    known: dict[str, object] = dict(zip(parameters, (receiver,), strict=False))
    owner: object = _UNKNOWN
    imported: object = _MODULE
    constant: object = None
    is_import = False
    for one, after in pairwise((*instructions, None)):
        assert one is not None
        name = one.argval
        if one.opname == "IMPORT_NAME":
            owner = imported = sys.modules.get(name if constant else name.partition(".")[0], _MODULE)
        elif one.opname == "IMPORT_FROM":
            yield _Read(imported, name, True, after is not None and after.opname in _KEEPING)
            owner = _attribute(imported, name)
        elif one.opname in _NAMES:
            yield _Read(_NAMESPACE, name)
            owner = namespace.get(name, _UNKNOWN)
        elif one.opname in _ATTRIBUTES:
            yield _Read(owner, name)
            owner = _attribute(owner, name)
        elif one.opname in _STORES or one.opname in _LOCALS:
            for local in _stored(one):
                if follows_locals and stored[local] == 1 and local not in parameters:
                    known[local] = owner
                owner = _UNKNOWN
            owner = known.get(_loaded(one), _UNKNOWN)
        elif one.opname not in _BETWEEN and not (is_import and one.opname in _AFTER_IMPORT):
            owner = _UNKNOWN
        is_import = one.opname == "IMPORT_FROM" or (is_import and one.opname in _AFTER_IMPORT)
        if one.opname not in _BETWEEN:
            constant = one.argval if one.opname == "LOAD_CONST" else None


def _stored(one: dis.Instruction) -> tuple[str, ...]:
    """The locals that an instruction stores, the one that gets the top of the stack first."""
    if one.opname not in _STORES:
        return ()
    names = one.argval if isinstance(one.argval, tuple) else (one.argval,)
    return names[:1] if one.opname == _BOTH else names


def _loaded(one: dis.Instruction) -> str:
    """The local that an instruction loads, the last one of several; empty for none."""
    if one.opname in _STORES and one.opname != _BOTH:
        return ""
    return str(one.argval[-1] if isinstance(one.argval, tuple) else one.argval)


def _attribute(owner: object, name: str) -> object:
    """What a module or a class holds by a name itself."""
    space = namespace_of(owner) if is_module(owner) else class_namespace(owner) if is_class(owner) else {}
    return space.get(name, _UNKNOWN)


def _named(owner: object) -> str:
    """A module, a class or the class of an object, in words."""
    if is_module(owner):
        return str(namespace_of(owner).get("__name__"))
    return qualname_of(owner if is_class(owner) else type(owner))
