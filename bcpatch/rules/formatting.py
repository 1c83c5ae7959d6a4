"""Format texts that can't be read where they stand: what they are, and where they meet the receiver.

A text takes attributes of what it formats by the names in it, and so does its ``format`` wherever that is handed on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bcpatch import formats
from bcpatch.diagnostics import Diagnostic
from bcpatch.flow import Flow
from bcpatch.flow.origins import (
    Attribute,
    Called,
    Display,
    Item,
    Made,
    Origin,
    Parameter,
    Unknown,
)
from bcpatch.flow.uses import AttributeUse, CallUse
from bcpatch.rules import callables, names
from bcpatch.rules.access import report
from bcpatch.rules.holding import hold_receiver, is_plain, is_text
from bcpatch.rules.reach import Frame, inner_frames, options, paths, takers, texts

#: Methods that go by texts of which the function may know nothing: the receiver does not meet them out of sight.
_GOING: Final = callables.STORING.union(callables.FORMAT)
#: Instructions that make nothing of what they work on.
_COMPARISONS: Final = ("COMPARE_OP", "CONTAINS_OP")
_CALLS: Final = ("CALL", "CALL_KW", "CALL_FUNCTION_EX")


# --- texts ---------------------------------------------------------------------------------


def takes_by_name(text: Origin, frame: Frame) -> bool:
    """Whether a value may be a text that takes from its arguments what no instruction may."""
    known = texts(text, frame)
    if known is None:
        return is_text(text, frame)
    return any(map(is_private_format, known))


def is_private_format(text: str) -> bool:
    """Whether a text, when it formats, takes what no instruction may."""
    steps = (step for field in formats.fields(text) or () for step in field.steps)
    return any(step is not None and (names.is_private(step) or step in names.INSIDE) for step in steps)


def unproved(call: Called, frame: Frame) -> Diagnostic:
    message = "what the fields of the format text take from the arguments can't be proved"
    return report("BCP106", message, call.offset, frame, help="write an f-string, or a constant format text")


# --- methods of texts that are handed on --------------------------------------------------------


def handed_on(frame: Frame) -> str:
    """A method that goes by an unknown text, and of which code, or code nested in it, makes more than to call it."""
    return _handed_on(frame) if _names_format(frame.flow) else ""


def _names_format(flow: Flow) -> bool:
    """Whether the names in code leave it possible that such a method is in its hands."""
    code = flow.code
    return (
        not _GOING.isdisjoint(code.names)
        or not _GOING.isdisjoint(code.constants)
        or any(map(_names_format, flow.nested.values()))
    )


def _handed_on(frame: Frame) -> str:
    for use in frame.flow.uses:
        match use:
            case AttributeUse(action="match", name=name) if name in _GOING:
                return name
            case AttributeUse(action="load" | "super", name=name) if name in _GOING:
                if _is_unknown(Attribute(use.offset, use.owner, name), frame) and not _is_in_sight(frame, use):
                    return name
            case CallUse():
                named = (text for one in use.call.arguments for text in texts(one, frame) or ())
                found = next((text for text in named if text in _GOING), "")
                if found:
                    return found
    return next(filter(None, map(_handed_on, inner_frames(frame))), "")


def _is_in_sight(frame: Frame, use: AttributeUse) -> bool:
    """Whether nothing is done with an attribute but to compare it, and to call it."""
    graph = frame.flow.graph
    return all(
        graph.name(at) in _COMPARISONS or (graph.name(at) in _CALLS and graph.maker(graph.callee(at)) == use.at)
        for at in takers(frame, use.at)
    )


def meeting(use: CallUse, method: str, frame: Frame) -> Iterator[Diagnostic]:
    """A call by which a method that goes by a text that is not known may come together with the receiver.

    Asked of code that makes something else of such a method than to call it.
    """
    call = use.call
    if not hold_receiver(call.arguments, frame):
        return
    called = all(isinstance(one, Attribute) or paths(one, where) for one, where in options(call.callee, frame))
    owners = [one.owner for one, _ in options(call.callee, frame) if isinstance(one, Attribute)]
    if not called or any(_may_format(one, frame) for one in (*owners, *call.arguments)):
        message = f"`{method}`, handed on by this function, may get the receiver here: what a text says can't be proved"
        yield report("BCP106", message, call.offset, frame, help=f"call `{method}` where it is named")


def kept_in_class(offset: int, frame: Frame) -> Iterator[Diagnostic]:
    """Such a method that a class body stores, whose names are attributes to everybody."""
    if any(_may_format(one, frame) for one in frame.flow.operands(offset)):
        message = "a method that goes by a text that is not known is kept in a class"
        yield report("BCP106", message, offset, frame, help="call it where it is named")


def _may_format(origin: Origin, frame: Frame) -> bool:
    """Whether a value may be such a method, or something that was given one."""
    return any(_may_format_here(one, where) for one, where in options(origin, frame))


def _may_format_here(origin: Origin, frame: Frame) -> bool:
    match origin:
        case Attribute():
            return _is_unknown(origin, frame)
        case Item(owner=owner):
            return _may_format(owner, frame)
        case Display(items=parts):
            return any(_may_format(part, frame) for part in parts)
        case Called(callee=callee, arguments=given):
            return isinstance(callee, Made) or any(_may_format(part, frame) or _is_named(part, frame) for part in given)
        case Parameter():
            return frame.outer is not None
        case Unknown():
            return True
    return False


def _is_unknown(attribute: Attribute, frame: Frame) -> bool:
    """Whether an attribute may be a method that goes by a text which is not known."""
    if attribute.name in callables.STORING:
        return True
    return (
        attribute.name in callables.FORMAT
        and not paths(attribute, frame)
        and texts(attribute.owner, frame) is None
        and not is_plain(attribute.owner, frame)
    )


def _is_named(origin: Origin, frame: Frame) -> bool:
    """Whether a value is a text that names such a method."""
    return any(text in _GOING for text in texts(origin, frame) or ())
