"""What may lie in a value that the function makes itself: the receiver above all, or nothing but texts and numbers.

Followed through displays, what is put into them later, closures, local classes and what
local functions are given. What other objects do with what they get is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bcpatch.flow.origins import (
    Attribute,
    Called,
    Computed,
    Constant,
    Display,
    Free,
    Item,
    Made,
    Origin,
    Parameter,
    Unknown,
)
from bcpatch.rules import callables, names
from bcpatch.rules.reach import Frame, is_sure, named, options, paths, receiver

_MANY = 200
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
            found = items
        case Item(owner=Display() | Called() | Item() | Computed() as owner):
            found = (owner,)
        case Item(owner=Parameter() as owner) if frame.outer is not None:
            found = (owner,)
        case Computed(operands=operands):
            found = [one for one in operands if isinstance(one, Display | Called | Computed | Item)]
        case Made(captured=captured):
            found = (*(held for _, held in captured), *_defaults(origin, frame))
        case Parameter():
            yield from given(origin, frame)
        case Called(callee=Made() as made):
            yield from _yielded(made, frame)
            return
        case Called(callee=callee, arguments=arguments):
            if any(is_local_class(*one) for one in options(callee, frame)) or is_local_class(origin, frame):
                found = (callee, *arguments)
            elif any(_is_holding(path) for path in paths(callee, frame)):
                found = arguments
            else:
                return
    yield from ((one, frame) for one in found)
    if isinstance(origin, Display | Called):
        yield from frame.put_into.get(origin.offset, ())


def _is_holding(path: str) -> bool:
    return named(path, callables.HOLDING) is not None or named(path.rpartition(".")[0], callables.HOLDING) is not None


def is_local_class(origin: Origin, frame: Frame) -> bool:
    """Whether a value may be a class that a function makes: by a statement, decorated, or by a call."""
    if not isinstance(origin, Called) or not origin.arguments:
        return False
    first = origin.arguments[0]
    if isinstance(origin.callee, Unknown) and isinstance(first, Display):  # class Cart(*bases):
        first = next(iter(first.items), first)
    if isinstance(origin.callee, Unknown) and isinstance(first, Made):
        return True
    if any(named(path, callables.CLASSES) for path in paths(origin.callee, frame)):
        return len(origin.arguments) > 1
    return len(origin.arguments) == 1 and is_local_class(origin.arguments[0], frame)


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
    for made in outer.flow.made:
        if outer.flow.nested.get(made.constant) is frame.flow:
            yield from ((one, outer) for one in (made.defaults, made.keyword_defaults) if one is not None)
            for call, is_callee, where in outer.local_calls.get(made.constant, ()):
                found = _argument(parameter, call, frame) if is_callee else call.arguments
                yield from ((one, where) for one in found)


def _argument(parameter: Parameter, call: Called, frame: Frame) -> Sequence[Origin]:
    """The arguments of a call that a parameter may get."""
    positional = len(call.arguments) - len(call.keywords)
    if parameter.name in call.keywords:
        return (call.arguments[positional + call.keywords.index(parameter.name)],)
    if call.unpacked or parameter.index >= frame.flow.code.argcount:
        return call.arguments
    return call.arguments[parameter.index : min(parameter.index + 1, positional)]


# --- texts and numbers -----------------------------------------------------------------------


def is_plain(origin: Origin, frame: Frame) -> bool:
    """Whether a value is surely a number, a text or the like, on which nothing private hangs."""
    return all(_is_plain(one, where) for one, where in options(origin, frame))


def _is_plain(origin: Origin, frame: Frame) -> bool:
    match origin:
        case Constant():
            return True
        case Display() if origin.offset in frame.put_into:
            return False
        case Computed(operands=parts) | Display(items=parts):
            return all(is_plain(part, frame) for part in parts)
        case Called(callee=callee):
            found = paths(callee, frame)
            return bool(found) and all(named(path, _PLAIN_RESULTS) for path in found) and is_sure(callee, frame)
    return False


def is_text(origin: Origin, frame: Frame) -> bool:
    """Whether a value may be a text that the function puts together."""
    return any(_is_text(one, where) for one, where in options(origin, frame))


def _is_text(origin: Origin, frame: Frame) -> bool:
    match origin:
        case Constant(value=value):
            return isinstance(value, str)
        case Computed(operands=parts):
            return any(is_text(part, frame) for part in parts)
        case Attribute(owner=owner):
            return is_text(owner, frame)
        case Called(callee=callee):
            return "builtins.str" in paths(callee, frame) or is_text(callee, frame)
        case Item(owner=owner):
            return not isinstance(owner, Display) and is_text(owner, frame)
        case Display():
            return True
    return False


_PLAIN_RESULTS = frozenset(f"builtins.{name}" for name in names.PLAIN_RESULTS)
