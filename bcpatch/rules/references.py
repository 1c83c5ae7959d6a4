"""The reference rules (BCP1xx): what a code object may use under a policy.

Rules over what `bcpatch.flow` found, nothing else: a use that can't be proved is
refused. Where values come from decides which rule speaks and what it says; whether a
name is allowed never rests on a value being recognised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from bcpatch.diagnostics import Diagnostic
from bcpatch.flow.fields import OPTIMIZED
from bcpatch.flow.opcodes import NUMBERS
from bcpatch.flow.origins import Constant, Imported, Origin
from bcpatch.flow.uses import AttributeUse, CallUse, FreeUse, GlobalUse, ImportUse
from bcpatch.model import Policy
from bcpatch.rules import access, byname, formatting, hints, names, sight, telling
from bcpatch.rules.access import report
from bcpatch.rules.reach import Frame, absolute, inner_frames, is_sure, options, paths, takers


def check(frame: Frame) -> tuple[Diagnostic, ...]:
    """Every reference of a code object, and of the code nested in it, that the policy does not allow."""
    if frame.scope.policy is Policy.LINKED:
        return ()
    found = dict.fromkeys(_check(frame, formatting.handed_on(frame)))
    if not found:
        return ()
    receivers = {_where(one) for one in found if one.code == "BCP104"}
    told = (one for one in found if one.code != "BCP105" or _where(one) not in receivers)
    return tuple(sorted(told, key=lambda one: (one.line, one.column, one.code)))


def _where(found: Diagnostic) -> tuple[int, int, int, int]:
    """The compiler may say one expression twice, a branch each: of the receiver, and of another value."""
    return found.line, found.column, found.end_line, found.end_column


def _check(frame: Frame, handed: str) -> Iterator[Diagnostic]:
    """``handed``: a method that goes by texts and comes out of sight, if there is one."""
    uses = telling.uses(frame)
    for use in uses:
        rule = _RULES.get(type(use))
        if rule:
            yield from rule(use, frame)
    if handed:
        yield from _meetings(handed, frame)
    if _MATCH_CLASS in frame.flow.trace.decoded.opcodes:
        yield from _patterns(frame)
    if hints.are_given(frame):
        yield from hints.check(frame)
    watched = sight.watched(uses, frame)
    if watched:
        yield from sight.check(watched, frame)
    if frame.flow.nested:
        yield from _classes(frame)
        for inner in inner_frames(frame):
            yield from _check(inner, handed)


# --- one rule a kind of use --------------------------------------------------------------


def _global(use: GlobalUse, frame: Frame) -> Iterator[Diagnostic]:
    if use.action == "load":
        if not frame.binds(use):
            yield from access.name(use.name, use.offset, frame)
    elif not use.namespace:
        message = f"a strict patch stores and deletes no global of its module (`{use.name}`)"
        yield report("BCP102", message, use.offset, frame)


def _import(use: ImportUse, frame: Frame) -> Iterator[Diagnostic]:
    package = frame.scope.module.package
    if not all(isinstance(one, Constant) for one in frame.flow.operands(use.offset)):
        yield report("BCP106", "what is imported depends on the path", use.offset, frame)
        return
    module = absolute(use.module, use.level, package)
    if module is None:
        message = f"`{'.' * use.level}{use.module}` lies outside of the package `{package}`"
        yield report("BCP106", message, use.offset, frame, help="import it by its absolute name")
        return
    yield from access.dotted(module, use.offset, frame)
    package = module.partition(".")[0]
    if not use.names and package in frame.scope.text.own_paths and _keeps_package(use, frame):
        yield from access.reached(package, use.offset, frame)
    for name in use.names:
        yield from access.attribute(Imported(use.offset, use.module, use.level, use.names), name, use.offset, frame)


def _keeps_package(use: ImportUse, frame: Frame) -> bool:
    """Whether ``import shop.prices`` is there for the package: ``import shop.prices as prices`` takes the module."""
    graph = frame.flow.graph
    return any(graph.name(at) != "IMPORT_FROM" for at in takers(frame, frame.flow.at(use.offset)))


def _attribute(use: AttributeUse, frame: Frame) -> Iterator[Diagnostic]:
    owner = use.owner
    if use.action == "import" and isinstance(owner, Imported):
        if use.name in owner.names or use.name in owner.module.split("."):
            return  # said of the import statement
    if use.action == "import" and not paths(owner, frame):
        yield report("BCP106", "a name is imported from what may be no module", use.offset, frame)
    if use.action == "match":
        yield from byname.by_pattern(owner, use.name, use.offset, frame)
    yield from access.attribute(owner, use.name, use.offset, frame)


def _free(use: FreeUse, frame: Frame) -> Iterator[Diagnostic]:
    """``__class__`` names the class around the function: only `super` may have it. Names of that class hide others."""
    if use.name == "__class__" and not frame.is_in_local_class and not _is_for_super(use, frame):
        message = "`__class__` is a class of its own module"
        yield report("BCP101", message, use.offset, frame, help="use the receiver's class: `type(self)`")
    elif use.name in frame.scope.class_names and frame.is_at(use.offset, "LOAD_FROM_DICT_OR_DEREF"):
        yield from access.name(use.name, use.offset, frame)


def _is_for_super(use: FreeUse, frame: Frame) -> bool:
    return use.action == "load" and use.offset in frame.given_to_super


_RULES: Final[dict[type, Callable[[Any, Frame], Iterator[Diagnostic]]]] = {
    GlobalUse: _global,
    ImportUse: _import,
    AttributeUse: _attribute,
    CallUse: byname.call,
    FreeUse: _free,
}


def _meetings(method: str, frame: Frame) -> Iterator[Diagnostic]:
    """Where a method that goes by texts comes out of sight, and may meet the receiver."""
    for use in frame.flow.uses:
        if isinstance(use, CallUse):
            yield from formatting.meeting(use, method, frame)
        elif isinstance(use, GlobalUse) and use.namespace and use.action == "store":
            yield from formatting.kept_in_class(use.offset, frame)


def _classes(frame: Frame) -> Iterator[Diagnostic]:
    """Methods of a private class that the function makes."""
    for use in frame.flow.made:
        nested = frame.flow.nested[use.constant]
        name = nested.code.name
        if not nested.code.flags & OPTIMIZED and nested.nested and names.is_private(name):
            message = f"a strict patch changes methods of public classes only; `{name}` is private"
            yield report("BCP109", message, use.offset, frame)


def _patterns(frame: Frame) -> Iterator[Diagnostic]:
    """Class patterns: their positional sub-patterns read what ``__match_args__`` says at run time."""
    for at in frame.flow.reached("MATCH_CLASS"):
        instruction = frame.flow.trace.decoded[at]
        _, klass, keywords = frame.flow.operands(instruction.offset)
        if not isinstance(keywords, Constant):
            yield report("BCP106", "the attributes that a pattern reads depend on the path", instruction.offset, frame)
        elif instruction.argument and not (instruction.argument == 1 and _matches_itself(klass, frame)):
            message = "what a positional sub-pattern reads is said by the class, at run time"
            help = "name the attributes: `Point(x=x, y=y)`"
            yield report("BCP106", message, instruction.offset, frame, help=help)


def _matches_itself(klass: Origin, frame: Frame) -> bool:
    found = [paths(one, where) for one, where in options(klass, frame)]
    return all(some and some <= _SELF_MATCHING for some in found) and is_sure(klass, frame)


_MATCH_CLASS = NUMBERS["MATCH_CLASS"]
_SELF_MATCHING = frozenset(f"builtins.{name}" for name in names.SELF_MATCHING)
