"""What an origin stands for: a dotted path, the receiver, known texts.

Reads origins with the eyes of the reference rules: imports, builtins, closures. It
judges nothing, and where it doesn't know it says so.
"""

from __future__ import annotations

import dis
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Set
from functools import cached_property
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from bcpatch import pythons
from bcpatch.diagnostics import Step
from bcpatch.flow import Flow
from bcpatch.flow.fields import OPTIMIZED
from bcpatch.flow.origins import (
    ENTRY,
    Attribute,
    Called,
    Constant,
    Display,
    Either,
    Free,
    Global,
    Imported,
    Item,
    Made,
    Origin,
    Parameter,
    Super,
)
from bcpatch.flow.uses import AttributeUse, CallUse, GlobalUse, SubscriptUse
from bcpatch.flow.values import RESULTS
from bcpatch.model import Import, Module, Policy, Site
from bcpatch.rules import names, routes
from bcpatch.rules.sourcetext import Text

#: Opcodes after which another instruction than the next one may run.
JUMPS = frozenset({*dis.hasjrel, *dis.hasjabs})


Role: TypeAlias = Literal["function", "default", "annotation", "type parameters"]


# --- scopes ------------------------------------------------------------------------------


class Scope(msgspec.Struct, frozen=True, dict=True):
    """What a code object may use, and what it is: the code of a function, of a default, of annotations.

    ``around`` is the qualified name of the class around it, empty at the module's level.
    """

    text: Text
    policy: Policy
    imports: Mapping[str, tuple[Import, ...]]
    site: Site | None
    role: Role = "function"
    around: str = ""

    @property
    def module(self) -> Module:
        return self.text.module

    @property
    def class_names(self) -> frozenset[str]:
        """Names bound by the class body in which defaults, annotations and type parameters are evaluated."""
        return _NO_NAMES if self.role == "function" or not self.around else self.text.bound_in_class(self.around)

    @cached_property
    def type_parameters(self) -> frozenset[str]:
        """Names of the type parameters in whose scope annotations stand."""
        return self.text.type_parameters(self.site.qualname) if self.site else frozenset()

    def may_find(self, name: str) -> bool:
        """Whether the module's namespace or the builtins may have a name."""
        known = self.imports, self.text.bound, names.BUILTINS, names.FACTS, names.INSIDE, self.class_names
        return "*" in self.imports or any(name in some for some in known)


_NO_NAMES: Final[frozenset[str]] = frozenset()


def importing(imports: Iterable[Import]) -> Mapping[str, tuple[Import, ...]]:
    """Imports by the name that they bind."""
    found: dict[str, tuple[Import, ...]] = {}
    for one in imports:
        found[one.name] = (*found.get(one.name, ()), one)
    return found


def absolute(module: str, level: int, package: str) -> str | None:
    """The absolute name of an imported module; None where it lies outside of the top package."""
    if not level:
        return module
    parts = package.split(".") if package else []
    if level > len(parts):
        return None
    base = ".".join(parts[: len(parts) - level + 1])
    return f"{base}.{module}" if module else base


class Frame(msgspec.Struct, frozen=True, dict=True):
    """A code object under the rules, and the one around it in terms of which ``captured`` is said.

    ``quoted`` is the text of the code that is being read, where the rules read one.
    """

    flow: Flow
    scope: Scope
    captured: Mapping[str, Origin] = msgspec.field(default_factory=dict)
    outer: Frame | None = None
    quoted: str = ""

    @cached_property
    def body_names(self) -> Mapping[str, int]:
        """Names that a class body inside a function binds for good, and from which offset on."""
        return {} if self.outer is None else dict(_stored(self.flow))

    @property
    def local_names(self) -> frozenset[str]:
        """Names in a text that stand for what a function around it has made, or for a type parameter."""
        code, around = self.flow.code, self.outer.local_names if self.outer else self.scope.type_parameters
        return around.union(code.varnames, code.cellvars, self.body_names if self.is_body else ())

    @property
    def is_body(self) -> bool:
        """Whether this is a class body, whose names hide those of the module."""
        return not self.flow.code.flags & OPTIMIZED

    def binds(self, use: GlobalUse) -> bool:
        """Whether the name that is loaded is surely one that a class body has bound, or none at all."""
        if not (use.namespace and self.is_at(use.offset, "LOAD_NAME") and self.outer):
            return False
        if not self.scope.may_find(use.name):
            return use.name in self._own_names
        return self.body_names.get(use.name, use.offset) < use.offset and self._is_plain_class

    def may_hide(self, name: str) -> bool:
        """Whether a name may be one of a class's namespace, and not what the module or the builtins have."""
        body: Frame | None = self
        if "__classdict__" in self.flow.code.freevars:  # of an annotation or a type alias in a class
            body = self.outer
            while body is not None and not body.is_body:
                body = body.outer
        return body is not None and body.is_body and (name in body._own_names or not body._is_plain_class)

    @cached_property
    def _own_names(self) -> frozenset[str]:
        """The names that a class body stores in its namespace."""
        spaced = (use for use in self.flow.uses if isinstance(use, GlobalUse) and use.namespace)
        return frozenset(use.name for use in spaced if use.action == "store").union(self.body_names)

    @cached_property
    def _is_plain_class(self) -> bool:
        """Whether the class of a body has no base and no keyword: by a metaclass, they may bring a namespace that has
        other names than those that the body stores (language reference, "Preparing the class namespace").
        """
        if self.outer is None:
            return False
        for call in (use.call for use in self.outer.flow.uses if isinstance(use, CallUse)):
            match call.arguments:
                case (Made(constant=constant), _) if self.outer.flow.nested.get(constant) is self.flow:
                    return not call.unpacked
        return False

    @property
    def is_in_local_class(self) -> bool:
        """Whether ``__class__`` is a class that the function itself makes."""
        around = self.outer
        while around is not None and not (around.is_body and "__class__" in around.flow.code.cellvars):
            around = around.outer
        return around is not None

    def is_at(self, offset: int, name: str) -> bool:
        """Whether the instruction at an offset is the one of that name."""
        return self.flow.graph.name(self.flow.at(offset)) == name

    @cached_property
    def put_into(self) -> Mapping[int, tuple[tuple[Origin, Frame], ...]]:
        """What calls and stores, here and in nested code, put into an object; by where a display or a call makes it."""
        found: dict[int, list[tuple[Origin, Frame]]] = {}
        for where in (self, *inner_frames(self)):
            for use in where.flow.uses:
                match use:
                    case CallUse(call=Called(callee=callee, arguments=things)):
                        owners = (callee.owner, *things[:1]) if isinstance(callee, Attribute) else things[:1]
                    case SubscriptUse(action="store", owner=owner) | AttributeUse(action="store", owner=owner):
                        owners = (owner,)
                        things = (where.flow.graph.origin(where.flow.graph.operands(use.at)[0]),)
                    case _:
                        continue
                for one, home in (option for owner in owners for option in options(_container(owner), where)):
                    if home is self and isinstance(one, Display | Called):
                        found.setdefault(one.offset, []).extend((thing, where) for thing in things)
        return {offset: tuple(things) for offset, things in found.items()}

    @cached_property
    def local_calls(self) -> Mapping[int, tuple[tuple[Called, bool, Frame], ...]]:
        """By the constant of a local function: each call that is of it (True) or gets it, here and in nested code."""
        found: dict[int, list[tuple[Called, bool, Frame]]] = {}
        for where in (self, *inner_frames(self)):
            for call in (use.call for use in where.flow.uses if isinstance(use, CallUse)):
                for number, party in enumerate((call.callee, *call.arguments)):
                    for one, home in options(party, where):
                        if isinstance(one, Made) and home is self:
                            found.setdefault(one.constant, []).append((call, not number, where))
        return {constant: tuple(calls) for constant, calls in found.items()}

    @cached_property
    def given_to_super(self) -> frozenset[int]:
        """Where ``__class__`` is loaded for `super` to have, and for nothing else."""
        given = {at: klass.offset for at, klass in self._super_classes() if isinstance(klass, Free)}
        return frozenset(
            offset for offset in given.values() if all(at in given for at in takers(self, self.flow.at(offset)))
        )

    def _super_classes(self) -> Iterator[tuple[int, Origin]]:
        """The instructions that make a `super`, with the class that they are given."""
        for use in self.flow.uses:
            match use:
                case AttributeUse(action="super", owner=Super(klass=klass)):
                    yield use.at, klass
                case CallUse(call=Called(callee=callee, arguments=(klass, _))) if "builtins.super" in paths(
                    callee, self
                ) and is_sure(callee, self):
                    yield use.at, klass


def _container(origin: Origin) -> Origin:
    """What holds a value that is put into an item of it."""
    while isinstance(origin, Item) and isinstance(origin.owner, Display | Called | Item):
        origin = origin.owner
    return origin


def _stored(flow: Flow) -> Iterator[tuple[str, int]]:
    """Stores before anything can branch of names that are never deleted, the last one first."""
    spaced = [use for use in flow.uses if isinstance(use, GlobalUse) and use.namespace]
    deleted = {use.name for use in spaced if use.action == "delete"}
    branch = min((one.offset for one in flow.instructions if one.opcode in JUMPS), default=len(flow.code.bytecode))
    branch = min([branch, *(flow.trace.decoded.offsets[one.start] for one in flow.trace.table)])
    for instruction in flow.instructions:
        if instruction.name == "SETUP_ANNOTATIONS" and instruction.offset < branch:
            yield "__annotations__", instruction.offset
    for use in reversed(spaced):
        if use.action == "store" and use.offset < branch and use.name not in deleted:
            yield use.name, use.offset


def inner_frames(frame: Frame) -> Iterator[Frame]:
    """The frames of nested code. What its free variables hold is joined over all functions made of it."""
    if not frame.flow.nested:
        return
    types = set(_computing_types(frame.flow)) if pythons.TYPE_PARAMETERS else set()
    held: dict[int, dict[str, list[Origin]]] = {index: {} for index in frame.flow.nested}
    for use in frame.flow.made:
        for name, origin in use.captured:
            held[use.constant].setdefault(name, []).append(origin)
    for index, nested in frame.flow.nested.items():
        captured = {name: either(origins) for name, origins in held[index].items()}
        scope = frame.scope
        if pythons.LAZY_ANNOTATIONS and nested.code.name == "__annotate__":
            scope = replace(scope, role="annotation")
        elif index in types:
            scope = replace(scope, role="type parameters")
        yield Frame(nested, scope, captured, frame)


def _computing_types(flow: Flow) -> Iterator[int]:
    """The constants that are code of the bound or default of a type parameter, or of the value of a type alias."""
    graph = flow.graph
    for at in flow.reached("CALL_INTRINSIC_2"):
        match graph.origin(graph.operands(at)[1]):
            case Made(constant=constant):
                yield constant
    for at in flow.reached("CALL_INTRINSIC_1"):
        if pythons.intrinsic(graph.argument(at)) == "INTRINSIC_TYPEALIAS":
            match graph.origin(graph.operands(at)[0]):
                case Display(items=(_, _, Made(constant=constant))):
                    yield constant


# --- what an origin stands for -----------------------------------------------------------


def options(origin: Origin, frame: Frame) -> Iterator[tuple[Origin, Frame]]:
    """What a value may be: alternatives one by one, captured variables as what their cell may hold."""
    match origin:
        case Either(options=each):
            for one in each:
                yield from options(one, frame)
        case Free(name=name) if frame.outer is not None and name in frame.captured:
            yield from options(frame.captured[name], frame.outer)
        case _:
            yield origin, frame


def either(origins: Iterable[Origin]) -> Origin:
    """One origin for several."""
    flat = frozenset(one for origin in origins for one in (origin.options if isinstance(origin, Either) else (origin,)))
    return next(iter(flat)) if len(flat) == 1 else Either(ENTRY, flat)


def paths(origin: Origin, frame: Frame) -> frozenset[str]:
    """Dotted names that a value may be reached by: ``operator.attrgetter``, ``builtins.len``."""
    return frozenset(path for one, where in options(origin, frame) for path in _paths(one, where))


def is_sure(origin: Origin, frame: Frame) -> bool:
    """Whether a value is nothing but what its paths say: a name in a class body may be one of the class."""
    for one, where in options(origin, frame):
        if isinstance(one, Global) and where.may_hide(one.name):
            return False
        if isinstance(one, Attribute) and not is_sure(one.owner, where):
            return False
    return True


def _paths(origin: Origin, frame: Frame) -> Iterator[str]:
    scope = frame.scope
    match origin:
        case Global(name=name):
            yield from global_paths(name, scope)
        case Imported(module=module, level=level, names=imported):
            found = absolute(module, level, scope.module.package)
            if found:
                yield routes.ALIASES.get(found, found) if imported or level else found.partition(".")[0]
        case Attribute(owner=owner, name=name):
            for path in paths(owner, frame):
                found = f"{path}.{name}"
                yield routes.ALIASES.get(found, found)
        case Called(callee=callee, arguments=(first, *_)) if "importlib.import_module" in paths(callee, frame):
            yield from texts(first, frame) or ()


def global_paths(name: str, scope: Scope) -> tuple[str, ...]:
    """Where a global name leads, by the module's imports and the builtins; empty for a name of its own."""
    imports = scope.imports.get(name)
    if imports:
        return (_import_path(imports[0]),) if len(imports) == 1 else tuple(map(_import_path, imports))
    if name in names.BUILTINS and name not in scope.text.bound:
        return (f"builtins.{name}",)
    return ()


def _import_path(one: Import) -> str:
    path = one.module if one.attribute is None else f"{one.module}.{one.attribute}"
    return routes.ALIASES.get(path, path)


def named(path: str, table: Container[str]) -> str | None:
    """The row of a table that a dotted path ends with: ``os.sys.modules`` is ``sys.modules``."""
    last, tail, rest = path, path, "."
    while rest:
        last = tail
        if tail in table and (tail == path or tail.partition(".")[0] not in routes.WORDS):
            return tail
        _, rest, tail = tail.partition(".")
    anywhere = routes.EVERYWHERE.get(last) if last != path else None
    return anywhere if anywhere is not None and anywhere in table else None


def texts(origin: Origin, frame: Frame) -> tuple[str, ...] | None:
    """The texts that a value may be; None where it may be anything else."""
    found = []
    for one, _ in options(origin, frame):
        if not isinstance(one, Constant) or not isinstance(one.value, str):
            return None
        found.append(one.value)
    return tuple(found)


# --- what is done with a value ------------------------------------------------------------

#: Instructions that leave a value where it can be followed, or only look at it.
_FOLLOWED: Final = frozenset(
    """
    POP_TOP COPY SWAP STORE_FAST STORE_FAST_LOAD_FAST STORE_FAST_STORE_FAST DELETE_FAST
    LOAD_FAST LOAD_FAST_CHECK LOAD_FAST_AND_CLEAR LOAD_FAST_LOAD_FAST LOAD_FAST_BORROW
    LOAD_FAST_BORROW_LOAD_FAST_BORROW PRECALL TO_BOOL UNARY_NOT IS_OP
    """.split()
)
_TESTS: Final = ("POP_JUMP_", "JUMP_IF_")


def follows(instruction: str) -> bool:
    """Whether an instruction leaves a value where it can be followed, or only looks at it."""
    return instruction in _FOLLOWED or instruction.startswith(_TESTS)


def only_asks(frame: Frame, offset: int, wanted: Set[str]) -> bool:
    """Whether nothing is done with the attribute that is loaded at an offset but loading some attributes of it."""
    graph, at = frame.flow.graph, frame.flow.at(offset)
    if graph.name(at) not in _LOADS:
        return False  # by name, or of a pattern
    return all(graph.name(other) in _LOADS and graph.named(other) in wanted for other in takers(frame, at))


def takers(frame: Frame, at: int) -> Iterator[int]:
    """The instructions that do something with what the one at ``at`` makes, wherever it is then."""
    graph = frame.flow.graph
    made, members = {RESULTS * at, RESULTS * at + 1}, graph.values.members
    carriers = graph.values.holding(made)
    for other, work in enumerate(graph.trace.operands):
        if work and not carriers.isdisjoint(work) and any(not made.isdisjoint(members(value)) for value in work):
            if not follows(graph.name(other)):
                yield other


_LOADS: Final = ("LOAD_ATTR", "LOAD_METHOD")


# --- the receiver ------------------------------------------------------------------------


def receiver(origin: Origin, frame: Frame) -> tuple[Step, ...] | None:
    """The chain of places from the receiver to a value that may be it, its class or its ``super()``.

    None where the value is none of these.
    """
    for one, where in options(origin, frame):
        chain = _receiver(one, where)
        if chain is None:
            continue
        if isinstance(origin, Free):
            return (*chain, _step(f"`{origin.name}` is captured from there", origin.offset, frame))
        return chain
    return None


def _receiver(origin: Origin, frame: Frame) -> tuple[Step, ...] | None:
    match origin:
        case Parameter(name=name, index=0) if (
            frame.outer is None and frame.scope.role == "function" and frame.scope.around
        ):
            return (_parameter_step(name, frame),)
        case Free(name="__class__"):
            return ()
        case Attribute(owner=owner, name="__class__"):
            chain, what = receiver(owner, frame), "`__class__` is the receiver's class"
        case Super(receiver=owner):
            chain, what = receiver(owner, frame), "`super()` is the receiver as its base class"
        case Called(callee=callee, arguments=()) if "builtins.super" in paths(callee, frame):
            chain, what = (), "`super()` is the receiver as its base class"
        case Called(callee=callee, arguments=(owner,)) if "builtins.type" in paths(callee, frame):
            chain, what = receiver(owner, frame), "`type()` gives the receiver's class"
        case Called(callee=callee, arguments=(_, owner)) if "builtins.super" in paths(callee, frame):
            chain, what = receiver(owner, frame), "`super()` is the receiver as its base class"
        case _:
            return None
    return None if chain is None else (*chain, _step(what, origin.offset, frame))


def _step(message: str, offset: int, frame: Frame) -> Step:
    place = frame.scope.text.place(frame.flow.position(offset))
    return Step(message, place.line, place.column, place.text)


def _parameter_step(name: str, frame: Frame) -> Step:
    """The receiver's place in the function's header; bytecode has none for parameters."""
    place = frame.scope.text.header(frame.flow.code)
    at = re.compile(rf"\b{re.escape(name)}\b").search(place.text, max(place.end_column - 1, 0))
    return Step(f"`{name}` is the receiver", place.line, at.start() + 1 if at else 0, place.text)
