"""Which uses the reference rules look at: those of which one may say something, by their names alone.

Most uses of ordinary code are told so to be none of these, before anything is asked of what they work on.
Nothing is judged here.
"""

from __future__ import annotations

from typing import Final

from bcpatch.flow.decode import has_any, marks
from bcpatch.flow.opcodes import numbers
from bcpatch.flow.uses import AttributeUse, CallUse, GlobalUse, SubscriptUse, Use
from bcpatch.rules import access, byname, names, sight
from bcpatch.rules.reach import Frame

#: Builtins of which nothing is said, and that may go anywhere.
_QUIET: Final = names.HARMLESS - sight.WATCHED_BUILTINS

#: What a public attribute may be called of which something is said, or that must stay in sight.
_ATTRIBUTES: Final = access.TELLING | sight.CALLED

#: Attributes of a statement: ``from shop import prices``, ``case Point(x=0)``.
_OF_STATEMENTS: Final = ("import", "match")

#: Instructions that give what may be called by another name than those in the code.
_UNNAMED: Final = marks(numbers("IMPORT_NAME", "LOAD_COMMON_CONSTANT", "MATCH_CLASS"))
#: Instructions of which something may be said whatever the names of attributes in the code are.
_TELLING: Final = marks(
    numbers(
        *"LOAD_GLOBAL STORE_GLOBAL DELETE_GLOBAL LOAD_NAME STORE_NAME DELETE_NAME LOAD_FROM_DICT_OR_GLOBALS".split(),
        *"LOAD_DEREF STORE_DEREF DELETE_DEREF LOAD_CLASSDEREF LOAD_FROM_DICT_OR_DEREF".split(),
        *"IMPORT_NAME IMPORT_FROM LOAD_SUPER_ATTR MATCH_CLASS MAKE_FUNCTION".split(),
    )
)


def uses(frame: Frame) -> list[Use]:
    """The uses of which a rule may say something, or that may give what must stay in sight, in their order."""
    found: list[Use] = []
    calls = _may_call(frame)
    if not calls and not _may_tell(frame):
        return found
    scope = frame.scope
    text, imports, class_names = scope.text, scope.imports, scope.class_names
    bound, own_names = text.bound, text.own_names
    for use in frame.flow.uses:
        if type(use) is GlobalUse:
            name = use.name
            hidden = name in imports or name in bound or name in class_names
            if name in _QUIET and not hidden and use.action == "load":
                continue
        elif type(use) is AttributeUse:
            name = use.name
            if not (name in _ATTRIBUTES or name in own_names or name[:1] == "_" or use.action in _OF_STATEMENTS):
                continue
        elif type(use) is CallUse:
            if not calls or not _is_call_telling(use, frame):
                continue
        elif type(use) is SubscriptUse:
            continue
        found.append(use)
    return found


def _may_tell(frame: Frame) -> bool:
    """Whether of anything but calls in code something may be said."""
    flow = frame.flow
    return (
        has_any(_TELLING, flow.trace.decoded.opcodes)
        or not _ATTRIBUTES.isdisjoint(flow.code.names)
        or not frame.scope.text.own_names.isdisjoint(flow.code.names)
        or any(name[:1] == "_" for name in flow.code.names)
    )


def _may_call(frame: Frame) -> bool:
    """Whether of any call in code something may be said: what is called has one of the names in the code then, unless
    it comes from the code around it.
    """
    flow = frame.flow
    return (
        frame.outer is not None
        or not byname.CALLED.isdisjoint(flow.code.names)
        or not frame.scope.imports.keys().isdisjoint(flow.code.names)
        or has_any(_UNNAMED, flow.trace.decoded.opcodes)
    )


def _is_call_telling(use: CallUse, frame: Frame) -> bool:
    """The same of one call, by the name by which the callee was just loaded."""
    name = use.called
    return name is None or name in byname.CALLED or name in frame.scope.imports
