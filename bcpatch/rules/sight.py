"""What must stay in sight: callables that access by name, and the modules and cells that they may hide in.

The rules see such a callable where it is named, and where it is called. In between it may
lie on the stack, in a local variable or, a module, in a captured one; anywhere else it
could be called with anything. Works on the values of the trace, which are exact, and
trusts an origin only where it names what is watched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from functools import lru_cache
from typing import Final

from bcpatch.diagnostics import Diagnostic
from bcpatch.flow import Instruction
from bcpatch.flow.fields import OPTIMIZED
from bcpatch.flow.graph import text_of
from bcpatch.flow.opcodes import NULL
from bcpatch.flow.origins import (
    Attribute,
    Free,
    Imported,
    Made,
    Origin,
    Unknown,
)
from bcpatch.flow.uses import AttributeUse, CallUse, FreeUse, GlobalUse, ImportUse, MakeUse, SubscriptUse, Use
from bcpatch.flow.values import RESULTS
from bcpatch.model import Code, Constant, FrozenSet, Text, Tuple
from bcpatch.rules import byname, callables, formatting, names, routes
from bcpatch.rules.access import report
from bcpatch.rules.reach import Frame, follows, global_paths, is_sure, named, options, paths, takers

_WATCHED: Final = byname.LOOKED_AT | routes.WATCHED_MODULES

#: What an attribute must be called to be watched, unless it is a package of the module.
CALLED: Final = names.last_parts(
    _WATCHED, routes.ALIASES, callables.BY_NAME_METHODS, callables.FORMAT, callables.FORMATTERS
)

_OF_FORMATTER: Final = frozenset((*callables.FORMAT, *callables.FORMATTERS))

#: The same of a global that no import binds.
WATCHED_BUILTINS: Final = frozenset(path.removeprefix("builtins.") for path in _WATCHED if path.startswith("builtins."))


def check(watched: Mapping[int, str], frame: Frame) -> Iterator[Diagnostic]:
    """Findings where something watched goes out of sight."""
    uses = {use.offset: use for use in frame.flow.uses if type(use) in _SEEING}
    members = frame.flow.trace.values.members
    carriers = frame.flow.trace.values.holding(watched.keys())
    for at in [value // RESULTS for value, what in watched.items() if what == _FORMAT_TEXT]:
        if frame.flow.graph.name(at) == "RETURN_CONST":
            yield _handed_on(frame.flow.graph.offset(at), frame)
    for at, work in enumerate(frame.flow.trace.operands):
        if not work or carriers.isdisjoint(work):
            continue
        instruction = frame.flow.trace.decoded[at]
        if follows(instruction.name):
            continue
        for position, value in enumerate(work):
            lost = {watched[member] for member in members(value) & watched.keys()}
            lost -= _seen(at, instruction, position, uses.get(instruction.offset), frame)
            if _FORMAT_TEXT in lost:
                lost.remove(_FORMAT_TEXT)
                yield _handed_on(instruction.offset, frame)
            for what in sorted(lost):
                yield _out_of_sight(what, instruction.offset, frame)


def _out_of_sight(what: str, offset: int, frame: Frame) -> Diagnostic:
    name, _, rest = what.partition(" ")
    shown = what if name == "the" else f"`{name}` {rest}".rstrip()  # a name of the code, or what it is of
    help = f"use {shown} where it is named"
    if what in frame.scope.text.packages:
        shown, help = f"{shown}, which has this module as an attribute,", f"use the attributes of {shown} here"
    elif what in routes.WATCHED_MODULES:
        shown, help = f"{shown}, which has functions that go by names,", f"use the attributes of {shown} here"
    message = f"{shown} is used as a value: what is done with it elsewhere can't be proved"
    return report("BCP106", message, offset, frame, help=help)


#: Uses at which the rules look at what is worked on.
_SEEING: Final = frozenset((AttributeUse, CallUse))


def watched(uses: Iterable[Use], frame: Frame) -> Mapping[int, str]:
    """By value of the trace: what is watched in it, of what some uses give, and of the constants."""
    trace, found = frame.flow.trace, {}
    for use in uses:
        if type(use) in _GIVING_NOTHING or not _may_give(use, frame):
            continue
        given = _given(use, frame)
        at = frame.flow.at(use.offset) if given else 0
        for what in sorted(given):
            for value in range(RESULTS * at, RESULTS * at + min(trace.steps.gives[at], 2)):
                if trace.values.kinds[value] != NULL:
                    found[value] = what
    for at in _format_texts(frame):
        found[RESULTS * at] = _FORMAT_TEXT
    return found


# --- texts that take private attributes ------------------------------------------------------

#: What such a constant is called.
_FORMAT_TEXT: Final = "a format text"


def _format_texts(frame: Frame) -> list[int]:
    """The instructions that load a text which takes private attributes of what it formats."""
    constants = frame.flow.code.constants
    for one in constants:
        if ((type(one) is str and "{" in one) or type(one) in _MAY_HOLD_TEXT) and _takes_private(one):
            break
    else:
        return []
    found = frame.flow.reached("LOAD_CONST", "RETURN_CONST")
    return [at for at in found if _takes_private(constants[frame.flow.graph.argument(at)])]


#: Constants that are texts, or may hold some, and are no `str`.
_MAY_HOLD_TEXT: Final = frozenset((Text, Tuple, FrozenSet))


def _handed_on(offset: int, frame: Frame) -> Diagnostic:
    message = "a text that takes private attributes when it formats is handed on"
    return report("BCP106", message, offset, frame, help="format it here, by public attributes")


def _takes_private(constant: Constant) -> bool:
    """Whether a constant is a text that takes private attributes by its fields, or holds such texts."""
    if isinstance(constant, Tuple | FrozenSet):
        return any(map(_takes_private, constant.items))
    text = text_of(constant)
    return isinstance(text, str) and "{" in text and "." in text and formatting.is_private_format(text)


#: Uses of which nothing is known but what is called or subscribed.
_GIVING_NOTHING: Final = frozenset((CallUse, SubscriptUse))


def _may_give(use: Use, frame: Frame) -> bool:
    """Whether the names in a use leave it possible that it gives something watched."""
    if type(use) is AttributeUse:
        return use.name in CALLED or use.name in frame.scope.text.package_names
    if type(use) is GlobalUse:
        return use.name in frame.scope.imports or use.name in WATCHED_BUILTINS
    return True


def _given(use: Use, frame: Frame) -> Set[str]:
    """What is watched in what a use gives."""
    if isinstance(use, GlobalUse):
        return _rows(global_paths(use.name, frame.scope), frame) if use.action == "load" else _NOTHING
    if isinstance(use, MakeUse):  # what it captures is of no account here
        return _BODY if _is_class_body(use.constant, frame) else _NOTHING
    return _what(_result(use), frame)


#: What the function of a class statement is called.
_BODY: Final = frozenset({"the body of a class"})
_NOTHING: Final[frozenset[str]] = frozenset()


def _result(use: Use) -> Origin:
    """The origin of what a use gives, said by the use itself: origins of values far back may be lost."""
    offset = use.offset
    match use:
        case AttributeUse(action="load" | "method" | "super" | "import", owner=owner, name=name):
            return Attribute(offset, owner, name)
        case ImportUse(module=module, level=level, names=imported):
            return Imported(offset, module, level, imported)
        case FreeUse(action="load", graph=graph, at=at):
            return graph.content(graph.argument(at), offset, 0)
    return Unknown(offset)


def _what(origin: Origin, frame: Frame) -> frozenset[str]:
    """What is watched in the things that an origin may stand for."""
    found = set()
    for one, where in options(origin, frame):
        if isinstance(one, Attribute) and one.name not in CALLED and one.name not in where.scope.text.package_names:
            continue
        if isinstance(one, Attribute) and one.name in callables.BY_NAME_METHODS:
            found.add(one.name)
        if isinstance(one, Attribute) and one.name in callables.FORMAT:
            if formatting.takes_by_name(one.owner, where):
                found.add(f"{one.name} of a text")
        if isinstance(one, Attribute) and one.name in _OF_FORMATTER and byname.is_of_formatter(one, where):
            found.add(f"{one.name} of a formatter")
        if isinstance(one, Attribute) and one.name in routes.MODULES_EVERYWHERE and not paths(one, where):
            found.add(one.name)
        if isinstance(one, Free) and one.name == "__classdict__":
            found.add(one.name)
        if isinstance(one, Made) and _is_class_body(one.constant, where):
            found |= _BODY
        found |= _rows(paths(one, where), where)
    return frozenset(found)


def _rows(found: Iterable[str], frame: Frame) -> set[str]:
    """What is watched among paths."""
    packages = frame.scope.text.packages
    rows = set()
    for path in found:
        row = _row(path)
        if row:
            rows.add(row)
        if path in packages:
            rows.add(path)
    return rows


@lru_cache(maxsize=1024)
def _row(path: str) -> str | None:
    """What is watched at the end of a path."""
    row = named(path, _WATCHED)
    return row.removeprefix("builtins.") if row else None


def _modules(found: frozenset[str], frame: Frame) -> frozenset[str]:
    """Those that are modules: their attributes are looked at one by one."""
    return found & (routes.WATCHED_MODULES | frame.scope.text.packages)


def _is_class_body(constant: int, frame: Frame) -> bool:
    """Whether a function's code has no locals of its own: called plainly, it would work on the module's namespace."""
    code = frame.flow.code.constants[constant]
    return isinstance(code, Code) and not code.flags & OPTIMIZED


# --- where it may go -----------------------------------------------------------------------


def _seen(at: int, instruction: Instruction, position: int, use: Use | None, frame: Frame) -> frozenset[str]:
    """What may be the operand at a position, because the rules look at it there."""
    match use:
        case AttributeUse(action="load" | "method", name="format" | "format_map"):
            return frozenset({_FORMAT_TEXT})  # the call is looked at, and the method where it is none
        case AttributeUse(owner=owner, action=action) if position == (1 if action == "store" else 0):
            return _modules(_what(owner, frame), frame)
        case CallUse():
            return _seen_by_call(use, position, frame)
    if instruction.name == "STORE_DEREF":
        return _modules(_kept_in_cell(instruction.argument, frame), frame)
    if instruction.name.startswith("LOAD_FROM_DICT_OR_"):
        return frozenset({"__classdict__"})
    if instruction.name in ("BUILD_TUPLE", "BUILD_LIST") and position == 0 and _makes_class(at, frame):
        return frozenset({"the body of a class"})
    if instruction.name == "SET_FUNCTION_ATTRIBUTE" and position == 1:
        return frozenset({"the body of a class"})
    return frozenset()


def _seen_by_call(use: CallUse, position: int, frame: Frame) -> frozenset[str]:
    trace, graph = frame.flow.trace, frame.flow.graph
    first, second = graph.operands(use.at)[:2]
    kinds, members = trace.values.kinds, trace.values.members
    paired = len(members(first)) == 1 and {one // RESULTS for one in members(first) | members(second)} == {
        min(members(first)) // RESULTS
    }
    if NULL not in (kinds[first], kinds[second]) and not paired:
        return _NOTHING  # which of the two is called depends on the path
    (callee,) = graph.origins([graph.callee(use.at)])
    if position < 2:
        return _what(callee, frame) - _BODY  # what is called like a module is none
    if position == 2 and _builds_class(min(members(first)), min(members(second)), frame) and use.call.arguments:
        return _BODY
    if graph.name(use.at) == "CALL_FUNCTION_EX" or not is_sure(callee, frame):
        return _NOTHING
    if position == 2 and byname.formats_first(callee, frame):
        return frozenset({_FORMAT_TEXT})
    rows = {named(path, callables.BY_NAME) for path in paths(callee, frame)}
    owners = {callables.BY_NAME[row].owner for row in rows if row}
    if position - 2 in owners:
        return _modules(_what(use.call.arguments[position - 2], frame), frame)
    return _NOTHING


def _builds_class(first: int, second: int, frame: Frame) -> bool:
    makers = (one // RESULTS for one in (first, second) if one < frame.flow.trace.values.entry)
    return any(frame.flow.graph.name(maker) == "LOAD_BUILD_CLASS" for maker in makers)


def _makes_class(at: int, frame: Frame) -> bool:
    """Whether arguments that are put together, as in ``class Cart(*bases):``, only go to what makes a class."""
    graph, waiting = frame.flow.graph, [at]
    while waiting:
        at = waiting.pop()
        for taker in takers(frame, at):
            name, work = graph.name(taker), graph.operands(taker)
            if name in ("LIST_TO_TUPLE", "CALL_INTRINSIC_1"):
                waiting.append(taker)
            elif name in ("LIST_EXTEND", "DICT_MERGE"):
                if graph.maker(work[-1]) == at:
                    return False
            elif name != "CALL_FUNCTION_EX":
                return False
            else:
                first, second = (min(graph.values.members(value)) for value in work[:2])
                if not _builds_class(first, second, frame):
                    return False
    return True


def _kept_in_cell(slot: int, frame: Frame) -> frozenset[str]:
    """What is watched in a captured variable, where every function that captures it surely captures this one."""
    flow = frame.flow
    if slot >= flow.trace.slots.first_free:
        return frozenset()
    for at in flow.reached("BUILD_TUPLE"):
        for value in flow.graph.operands(at):
            if len(flow.trace.values.members(value) - {flow.trace.values.unbound}) > 1:
                return frozenset()
    return _what(flow.graph.content(slot, -1, 0), frame)
