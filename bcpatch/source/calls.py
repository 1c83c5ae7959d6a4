"""What evaluating code calls: by calls, by operators, by definitions, and through who calls what it is given.

Reads syntax only. A call is told as the expression that gives what is called; which function that is, the readers of
this module find out: among the functions of a module, or among the objects of a process.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from bcpatch.source.shape import last_name

Callable: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
CALLABLES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Run(NamedTuple):
    """Methods that are run of what an expression gives; any special ones where none are named."""

    of: ast.expr
    methods: frozenset[str]


def _special(names: str) -> frozenset[str]:
    return frozenset(f"__{name}__" for name in names.split())


#: What making a class or an object of it may run, or calling what a decorator has made of it.
MAKERS: Final = _special("init new post_init call set_name")
#: What reading, storing or deleting an attribute runs of what a class has by its name.
DESCRIPTORS: Final = _special("get set delete")
CALLED: Final = _special("call")
ANY: Final[frozenset[str]] = frozenset()
_ATTRIBUTES: Final[dict[type[ast.expr_context], frozenset[str]]] = {
    ast.Load: _special("getattr getattribute"),
    ast.Store: _special("setattr"),
    ast.Del: _special("delattr"),
}
DERIVED: Final = _special("init_subclass")
_PREPARED: Final = _special("prepare")
_TESTED: Final = _special("bool len")
_SHOWN: Final = _special("format str repr")
_INDEXED: Final = _special("getitem setitem delitem missing class_getitem")
_INDEX: Final = _special("index hash eq")
_ITERATED: Final = _special("iter next aiter anext getitem len")
_ENTERED: Final = _special("enter exit aenter aexit")
_COMPARED: Final = _special("eq ne lt le gt ge contains iter getitem hash")
_CHECKED: Final = _special("instancecheck subclasscheck")
#: Builtins that run nothing of what they are given.
_BLIND: Final = frozenset({"callable", "classmethod", "id", "property", "staticmethod", "super", "type"})
_MATCHED: Final = _special("eq len getitem getattr getattribute")
_CALCULATED: Final = _special("neg pos invert") | frozenset(
    f"__{prefix}{name}__"
    for prefix in ("", "r", "i")
    for name in "add sub mul matmul truediv floordiv mod pow lshift rshift and or xor".split()
)

#: They call what they are given, by the last part of their names: functions and classes of the standard library.
CALLERS: Final = frozenset(
    """
    filter iter map max min reduce sort sorted
    accumulate dropwhile filterfalse groupby starmap takewhile
    bisect bisect_left bisect_right insort insort_left insort_right merge nlargest nsmallest
    sub subn
    Process Thread Timer apply apply_async imap imap_unordered map_async run_in_executor starmap_async submit to_thread
    """.split()
)


def runs(nodes: Iterable[ast.AST]) -> Iterator[Run]:
    """What evaluating some nodes runs of what, in their order."""
    for node in nodes:
        match node:
            case ast.Call(func=callee):
                yield from (Run(one, CALLED) for one in alternatives(callee))
                if last_name(callee) in CALLERS:
                    yield from (Run(one, CALLED) for given in arguments(node) for one in alternatives(given))
            case ast.ClassDef():
                yield from (Run(one, CALLED) for mark in node.decorator_list for one in _marking(mark))
                yield from (Run(one, DERIVED) for one in node.bases)
                metaclasses = [one.value for one in node.keywords if one.arg == "metaclass"]
                yield from (Run(one, methods) for one in metaclasses for methods in (CALLED, _PREPARED))
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from (Run(one, CALLED) for mark in node.decorator_list for one in _marking(mark))
        yield from _operands(node)


def _marking(decorator: ast.expr) -> Iterator[ast.expr]:
    """What a decorator calls, with what it was made around: ``@partial(mark, 2)`` calls ``mark``."""
    yield decorator
    if isinstance(decorator, ast.Call) and last_name(decorator) == "partial":
        yield from arguments(decorator)


def alternatives(callee: ast.expr) -> Iterator[ast.expr]:
    """What may be called where an expression is: one or the other part of it, or what that was made around."""
    waiting = [callee]
    while waiting:
        match one := waiting.pop():
            case ast.BoolOp(values=values):
                waiting += values
            case ast.IfExp(body=body, orelse=orelse):
                waiting += [body, orelse]
            case ast.NamedExpr(value=value) | ast.Await(value=value):
                waiting.append(value)
            case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str()), *default]):
                yield one
                waiting += default
            case ast.Call():
                yield one
                waiting += arguments(one) if last_name(one) != "wraps" else []
            case _:
                yield one


def arguments(call: ast.Call) -> list[ast.expr]:
    """What a call is given, in its order."""
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    return [one.value if isinstance(one, ast.Starred) else one for one in given]


def given_to(call: ast.Call) -> Iterator[str]:
    """The last parts of the names by which a call gets what it is given, itself or in a display."""
    waiting: list[ast.expr | None] = [*call.args, *(keyword.value for keyword in call.keywords)]
    while waiting:
        match waiting.pop():
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield name
            case ast.Starred(value=value):
                waiting.append(value)
            case ast.List(elts=inner) | ast.Tuple(elts=inner) | ast.Set(elts=inner) | ast.Dict(values=inner):
                waiting += inner


def held(value: ast.expr) -> Iterator[ast.expr]:
    """What may be taken out of a value: the items of displays, what a call was given, else the value itself."""
    waiting: list[ast.expr | None] = [value]
    while waiting:
        match one := waiting.pop():
            case ast.List(elts=inner) | ast.Tuple(elts=inner) | ast.Set(elts=inner) | ast.Dict(values=inner):
                waiting += [*inner, *getattr(one, "keys", ())]
            case ast.Starred(value=inner_value) | ast.NamedExpr(value=inner_value):
                waiting.append(inner_value)
            case ast.BoolOp() | ast.IfExp():
                waiting += alternatives(one)
            case ast.BinOp(left=left, right=right):
                waiting += [left, right]
            case (
                ast.ListComp(generators=through)
                | ast.SetComp(generators=through)
                | ast.GeneratorExp(generators=through)
            ):
                waiting += [one.elt, *(part.iter for part in through)]
            case ast.DictComp(generators=through):
                waiting += [one.key, one.value, *(part.iter for part in through)]
            case ast.Call():
                yield one
                waiting += arguments(one)
            case ast.expr():
                yield one


def holder(expression: ast.expr) -> ast.expr:
    """What an expression begins with: the table of ``TABLE[key]``, of ``TABLE.values()``."""
    while isinstance(expression, ast.Subscript | ast.Attribute | ast.Call):
        expression = expression.func if isinstance(expression, ast.Call) else expression.value
    return expression


#: By the kind of a node: which of its parts it evaluates by special methods of their values, and by which.
_OPERANDS: Final[dict[type[ast.AST], tuple[tuple[str, frozenset[str]], ...]]] = {
    ast.Assert: (("test", _TESTED),),
    ast.AsyncFor: (("iter", _ITERATED),),
    ast.AugAssign: (("target", _CALCULATED), ("value", _CALCULATED)),
    ast.BinOp: (("left", _CALCULATED), ("right", _CALCULATED)),
    ast.BoolOp: (("values", _TESTED),),
    ast.Compare: (("left", _COMPARED), ("comparators", _COMPARED)),
    ast.Dict: (("keys", _INDEX),),
    ast.For: (("iter", _ITERATED),),
    ast.FormattedValue: (("value", _SHOWN),),
    ast.If: (("test", _TESTED),),
    ast.IfExp: (("test", _TESTED),),
    ast.Match: (("subject", _MATCHED),),
    ast.Set: (("elts", _INDEX),),
    ast.Starred: (("value", _ITERATED),),
    ast.Subscript: (("value", _INDEXED), ("slice", _INDEX)),
    ast.UnaryOp: (("operand", _CALCULATED | _TESTED),),
    ast.While: (("test", _TESTED),),
    ast.comprehension: (("iter", _ITERATED),),
    ast.withitem: (("context_expr", _ENTERED),),
}


def _operands(node: ast.AST) -> Iterator[Run]:
    """What a node evaluates by special methods of the values."""
    match node:
        case ast.Compare(ops=ops) if all(isinstance(one, ast.Is | ast.IsNot) for one in ops):
            return
        case ast.Attribute(value=value, ctx=context):
            yield Run(value, _ATTRIBUTES[type(context)])
        case ast.Call(func=ast.Name(id="isinstance" | "issubclass")):
            yield from (Run(one, _CHECKED) for one in arguments(node))
        case ast.Call(func=ast.Name(id=name)) if hasattr(builtins, name) and name not in _BLIND:
            yield from (Run(one, ANY) for one in arguments(node))
    for field, methods in _OPERANDS.get(type(node), ()):
        value = getattr(node, field)
        yield from (Run(one, methods) for one in (value if isinstance(value, list) else [value]) if one is not None)


# --- what a call evaluates ---------------------------------------------------------------------


def own_code(function: Callable) -> list[ast.AST]:
    """Every node that a call of a function may evaluate, those of the functions in it among them."""
    body = [function.body] if isinstance(function, ast.Lambda) else function.body
    return [node for part in body for node in ast.walk(part)]


def returned(function: Callable) -> list[ast.expr]:
    """The expressions that a call of a function may return."""
    if isinstance(function, ast.Lambda):
        return list(alternatives(function.body))
    values = (one.value for one in own_code(function) if isinstance(one, ast.Return) and one.value is not None)
    return [one for value in values for one in held(value)]


def _outer_code(function: Callable) -> list[ast.AST]:
    """The nodes of a function without those of functions in it, but for such as it calls by their names."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = [function.body] if isinstance(function, ast.Lambda) else [*function.body]
    inside: dict[str, list[ast.stmt]] = {}
    while waiting:
        one = waiting.pop()
        found.append(one)
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            inside[one.name] = one.body
        elif not isinstance(one, ast.Lambda):
            waiting += ast.iter_child_nodes(one)
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Name):
            waiting += inside.pop(one.func.id, ())
    return found


def parameters(function: Callable) -> set[str]:
    """The names of a function's parameters, but for the receiver of a method."""
    return {one.arg for one in ast.walk(function.args) if isinstance(one, ast.arg)} - {"self", "cls"}


def calls_its_arguments(function: Callable) -> bool:
    """Whether a function calls what it gets, as its code shows: itself, or an item of it."""
    nodes = _outer_code(function)
    given = parameters(function)
    size = 0
    while size < len(given):
        size = len(given)
        for node in nodes:
            match node:
                case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
                    bound = [target]
                case ast.Assign(targets=bound, value=value):
                    pass
                case ast.NamedExpr(target=target, value=value):
                    bound = [target]
                case _:
                    continue
            root = holder(value)
            if isinstance(root, ast.Name) and root.id in given:
                given |= {one.id for part in bound for one in ast.walk(part) if isinstance(one, ast.Name)}
    called = (run.of for run in runs(nodes) if run.methods is CALLED)
    return any(isinstance(one, ast.Name) and one.id in given for one in called)


def passing_on(function: Callable) -> Iterator[ast.Call]:
    """The calls by which a function gives on what it is given."""
    given = parameters(function)
    some = (node for node in _outer_code(function) if isinstance(node, ast.Call))
    return (node for node in some if not given.isdisjoint(given_to(node)))


def defaults(function: Callable) -> list[ast.expr]:
    """The default values of a function that it calls where it is not given anything else."""
    some = (*function.args.defaults, *function.args.kw_defaults)
    return [one for one in some if one is not None] if any(some) and calls_its_arguments(function) else []
