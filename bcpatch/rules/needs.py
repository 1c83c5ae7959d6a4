"""Which names of the process code needs when it runs: what a patch links to.

A name that may rightly be missing is not asked for: one imported under a condition, or
one that the code asks about first. It is left to run time, as in a fresh process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bcpatch.flow.decode import has_any, marks
from bcpatch.flow.fields import OPTIMIZED
from bcpatch.flow.opcodes import numbers
from bcpatch.flow.uses import AttributeUse, GlobalUse
from bcpatch.model import Link
from bcpatch.rules import names
from bcpatch.rules.reach import Frame, Scope, inner_frames, paths

#: What code asks before it uses a name that not every process has.
_QUESTIONS = frozenset(
    """
    builtins.hasattr builtins.getattr os.name sys.platform sys.version_info sys.implementation sys.hexversion
    platform.system platform.python_implementation typing.TYPE_CHECKING
    """.split()
)


_LOADS = ("load", "method")

#: Names that every module has, unless it has another thing by that name.
_GIVEN = names.BUILTINS | names.FACTS

#: What an attribute must be called to be one of these.
_ASKED = names.last_parts(_QUESTIONS)


def links(frame: Frame) -> Iterator[Link]:
    """The names that a code object, and the code nested in it, need to find."""
    return _links(frame, frame.scope.text.certain)


def _links(frame: Frame, certain: frozenset[str]) -> Iterator[Link]:
    asks: bool | None = None
    imports, bound = frame.scope.imports, frame.scope.text.bound
    for use in frame.flow.uses if _may_need(frame) else ():
        if type(use) is GlobalUse:
            if use.action != "load" or (use.name in _GIVEN and use.name not in imports and use.name not in bound):
                continue
            if not frame.binds(use) and not _is_of_class(use.name, frame):
                yield from _global(use.name, frame.scope, certain)
        elif type(use) is AttributeUse and not asks and use.action in _LOADS and _may_be_of_module(use, frame):
            asks = _asks(frame) if asks is None else asks
            module = None if asks else _module(paths(use.owner, frame), frame.scope, certain)
            if module:
                yield Link(module, use.name)
    if frame.flow.nested:
        for inner in inner_frames(frame):
            yield from _links(inner, certain)


def _may_need(frame: Frame) -> bool:
    """Whether code has any instruction that gives a global, a module or what code around it has."""
    return has_any(_GIVING, frame.flow.trace.decoded.opcodes)


_GIVING: Final = marks(
    numbers(
        *"LOAD_GLOBAL LOAD_NAME LOAD_FROM_DICT_OR_GLOBALS LOAD_COMMON_CONSTANT IMPORT_NAME".split(),
        *"LOAD_DEREF LOAD_CLASSDEREF LOAD_FROM_DICT_OR_DEREF".split(),
    )
)


def _is_of_class(name: str, frame: Frame) -> bool:
    """Whether statements that are new in a class read a name of that class."""
    scope = frame.scope
    is_body = frame.outer is None and not frame.flow.code.flags & OPTIMIZED
    return is_body and bool(scope.around) and name in scope.text.bound_in_class(scope.around)


def _global(name: str, scope: Scope, certain: frozenset[str]) -> Iterator[Link]:
    imports = scope.imports.get(name, ())
    bound = name in scope.text.bound
    if name in names.FACTS or (name in _GIVEN and not imports and not bound):
        return
    if (imports or bound) and name not in certain:
        return
    yield Link(scope.module.name, name)
    if len(imports) == 1 and imports[0].attribute not in (None, "*"):
        yield Link(imports[0].module, imports[0].attribute or "")


def _may_be_of_module(use: AttributeUse, frame: Frame) -> bool:
    """Whether it is an attribute of what may be a module, as far as what the chain of attributes begins with shows."""
    graph = frame.flow.graph
    bottom = graph.bottom(use.value)
    if graph.values.entry <= bottom < graph.values.single:
        return False  # an argument
    at = graph.maker(bottom)
    made_by = None if at is None else graph.name(at)
    if at is None or made_by not in _CALLS:
        name = graph.loaded(bottom)
        return name in frame.scope.imports if name is not None else made_by not in _MAKING_NO_MODULE
    name = graph.loaded(graph.callee(at))
    return name is None or name in frame.scope.imports or name == "import_module"


_CALLS: Final = frozenset({"CALL", "CALL_KW", "CALL_FUNCTION_EX"})

#: Instructions whose result is a constant, something new, or an item.
_MAKING_NO_MODULE: Final = frozenset(
    """
    LOAD_CONST LOAD_SMALL_INT BUILD_TUPLE BUILD_LIST BUILD_SET BUILD_MAP BUILD_STRING FOR_ITER BINARY_SUBSCR BINARY_OP
    """.split()
)


def _module(found: frozenset[str], scope: Scope, certain: frozenset[str]) -> str | None:
    """The one module that ``import`` statements of the module surely bind to what a value is."""
    if len(found) != 1:
        return None
    (path,) = found
    for one in (each for some in scope.imports.values() if len(some) == 1 for each in some):
        if one.attribute is None and one.name in certain and one.runtime:
            if path == one.module or (one.submodule is not None and f"{one.submodule}.".startswith(f"{path}.")):
                return path
    return None


def _asks(frame: Frame) -> bool:
    """Whether the code looks before it uses, or is ready for what it doesn't find."""
    flow = frame.flow
    if flow.code.exception_table:
        return True
    if _ASKED.isdisjoint(flow.code.names):
        return False
    for use in flow.uses:
        if isinstance(use, GlobalUse):
            if use.action == "load" and use.name in _ASKED and f"builtins.{use.name}" in _QUESTIONS:
                return True
        elif isinstance(use, AttributeUse) and use.name in _ASKED:
            if any(f"{path}.{use.name}" in _QUESTIONS for path in paths(use.owner, frame)):
                return True
    return False
