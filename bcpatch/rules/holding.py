"""What may lie in a value that the function makes itself: the receiver, above all.

Followed through displays, what is put into them later, closures, local classes and what
local functions are given. What other objects do with what they get is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bcpatch.flow.origins import Called, Display, Free, Item, Made, Origin, Parameter, Unknown
from bcpatch.flow.uses import CallUse
from bcpatch.rules import callables
from bcpatch.rules.reach import Frame, named, options, paths, receiver

_MANY = 500
"""Origins that are looked into for one value: what has more is taken to hold anything."""


def hold_receiver(given: Sequence[Origin], frame: Frame) -> bool:
    """Whether any of some values may be the receiver, or something made here that holds it."""
    return any(may_hold(one, frame, _is_receiver, inside) for one in given)


def _is_receiver(origin: Origin, frame: Frame) -> bool:
    return receiver(origin, frame) is not None


def may_hold(
    origin: Origin,
    frame: Frame,
    wanted: Callable[[Origin, Frame], bool],
    inside: Callable[[Origin, Frame], Iterator[tuple[Origin, Frame]]],
) -> bool:
    """Whether a value may be what is ``wanted``, or have it ``inside``."""
    seen: set[tuple[int, Origin]] = set()
    waiting = [(origin, frame)]
    while waiting:
        for one, where in options(*waiting.pop()):
            if wanted(one, where):
                return True
            key = id(where.flow), one
            if key not in seen:
                seen.add(key)
                waiting.extend(inside(one, where))
        if len(seen) > _MANY:
            return True
    return False


def inside(origin: Origin, frame: Frame) -> Iterator[tuple[Origin, Frame]]:
    """What something that is made here holds, one step deep."""
    found: Sequence[Origin] = ()
    match origin:
        case Display(items=items):
            found = (*items, *frame.put_into.get(origin.offset, ()))
        case Item(owner=Display() | Called() | Item() as owner):
            found = (owner,)
        case Item(owner=Parameter() as owner) if frame.outer is not None:
            found = (owner,)
        case Made(captured=captured):
            found = (*(held for _, held in captured), *_defaults(origin, frame))
        case Parameter():
            yield from given(origin, frame)
        case Called(callee=Made() as made):
            yield from _yielded(made, frame)
        case Called(callee=callee, arguments=arguments):
            is_class = any(is_local_class(one) for one, _ in options(callee, frame))
            if is_class or is_local_class(origin):
                found = (callee, *arguments, *frame.put_into.get(origin.offset, ()))
            elif any(named(path, callables.HOLDING) for path in paths(callee, frame)):
                found = (*arguments, *frame.put_into.get(origin.offset, ()))
    for one in found:
        yield one, frame


def is_local_class(origin: Origin) -> bool:
    """Whether a value is a class that a function makes."""
    return isinstance(origin, Called) and isinstance(origin.callee, Unknown) and isinstance(origin.arguments[0], Made)


def _yielded(made: Made, frame: Frame) -> Iterator[tuple[Origin, Frame]]:
    """What a generator that is written here, such as ``(self for _ in other)``, gives of what it captures."""
    nested = frame.flow.nested[made.constant]
    held = dict(made.captured)
    for at in nested.reached("YIELD_VALUE", "LIST_APPEND", "SET_ADD", "MAP_ADD"):
        for one in nested.operands(nested.graph.offset(at)):
            if isinstance(one, Free) and one.name in held:
                yield held[one.name], frame


def _defaults(made: Made, frame: Frame) -> Iterator[Origin]:
    for use in frame.flow.made:
        if use.offset == made.offset:
            yield from (one for one in (use.defaults, use.keyword_defaults) if one is not None)


def given(parameter: Parameter, frame: Frame) -> Iterator[tuple[Origin, Frame]]:
    """What code around a local function may give it by a parameter: where it is called, handed on, and by default."""
    outer = frame.outer
    if outer is None:
        return
    for use in outer.flow.uses:
        if isinstance(use, CallUse):
            call = use.call
            if _is_made_of(call.callee, frame, outer):
                positional = call.arguments[: len(call.arguments) - len(call.keywords)]
                by_name = dict(zip(call.keywords, call.arguments[len(positional) :], strict=True))
                if parameter.name in by_name:
                    yield by_name[parameter.name], outer
                elif call.unpacked or not parameter.index < frame.flow.code.argcount:
                    yield from ((one, outer) for one in call.arguments)
                elif parameter.index < len(positional):
                    yield positional[parameter.index], outer
            elif any(_is_made_of(one, frame, outer) for one in call.arguments):
                yield from ((one, outer) for one in call.arguments if not _is_made_of(one, frame, outer))
    for made in outer.flow.made:
        if outer.flow.nested.get(made.constant) is frame.flow:
            yield from ((one, outer) for one in (made.defaults, made.keyword_defaults) if one is not None)


def _is_made_of(origin: Origin, frame: Frame, outer: Frame) -> bool:
    """Whether a value may be the function that a frame is of."""
    return any(
        isinstance(one, Made) and where is outer and outer.flow.nested.get(one.constant) is frame.flow
        for one, where in options(origin, outer)
    )
