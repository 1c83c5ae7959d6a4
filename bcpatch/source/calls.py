"""What evaluating code calls: by calls, by operators, by definitions, and through who calls what it is given.

Reads syntax only. A call is told as the expression that gives what is called; which function that is, the readers of
this module find out: among the functions of a module, or among the objects of a process.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from bcpatch.source import shape
from bcpatch.source.shape import first_line, last_name

Callable: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
CALLABLES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Run(NamedTuple):
    """Methods that are run of what an expression gives; any special ones where none are named."""

    of: ast.expr
    methods: frozenset[str]


def _special(names: str) -> frozenset[str]:
    return frozenset(f"__{name}__" for name in names.split())


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
    defaultdict run timeit repeat
    """.split()
)

#: What they are given is kept, wrapped or returned.
_KEEPING: Final = frozenset(
    """
    asynccontextmanager cache cached_property cast classmethod contextmanager lru_cache partial property singledispatch
    staticmethod update_wrapper wraps
    """.split()
)


def runs_of(nodes: Iterable[ast.AST]) -> Iterator[tuple[ast.AST, Run]]:
    """Some nodes, each with all that evaluating it runs."""
    return ((node, run) for node in nodes for run in runs([node]))


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
                waiting += inner
            case ast.Starred(value=inner_value) | ast.NamedExpr(value=inner_value):
                waiting.append(inner_value)
            case ast.BoolOp() | ast.IfExp():
                waiting += alternatives(one)
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
        case ast.Call(func=ast.Name(id=name)) if hasattr(builtins, name):
            yield from (Run(one, ANY) for one in arguments(node))
    for field, methods in _OPERANDS.get(type(node), ()):
        value = getattr(node, field)
        yield from (Run(one, methods) for one in (value if isinstance(value, list) else [value]) if one is not None)


def kept(body: Iterable[ast.stmt]) -> set[int]:
    """The calls in a body of which names keep what they return, by identity: decorators of functions, and what is
    assigned to names and to nothing else. It is seen where that is called.
    """
    found: set[int] = set()
    for statement in body:
        expressions: list[ast.expr | None] = []
        match statement:
            case ast.FunctionDef(decorator_list=marks) | ast.AsyncFunctionDef(decorator_list=marks):
                expressions += marks
            case ast.Assign(targets=targets, value=value) if all(isinstance(one, ast.Name) for one in targets):
                expressions.append(value)
            case ast.AnnAssign(target=ast.Name(), value=value):
                expressions.append(value)
            case ast.ClassDef(body=inner):
                found |= kept(inner)
            case _:
                found = found.union(*map(kept, shape.nested_statements(statement)))
        for one in expressions:
            while one is not None:
                found.add(id(one))
                one = one.func if isinstance(one, ast.Call) else None
    return found


# --- what a call evaluates ---------------------------------------------------------------------


def own_code(function: Callable) -> list[ast.AST]:
    """Every node that a call of a function evaluates, with those of functions in it that it may call.

    A function in it that is no more than returned, or wrapped and returned, is not called meanwhile.
    """
    found = _entered(function)
    nested = [one for one in found if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    while nested:
        parents = {id(child): node for node in found for child in ast.iter_child_nodes(node)}
        run = [one for one in nested if not _is_handed_out(one, found, parents)]
        more = [node for one in run for node in own_code(one)]
        nested = [one for one in nested if not any(one is other for other in run)] if run else []
        found += more
    return found


def returned(function: Callable) -> list[ast.expr | Callable]:
    """What a call of a function may return that can be called: functions in it, and expressions of its own."""
    if isinstance(function, ast.Lambda):
        return list(alternatives(function.body))
    found = own_code(function)
    nested: list[ast.expr | Callable] = [
        one for one in found if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    values = (one.value for one in found if isinstance(one, ast.Return) and one.value is not None)
    return nested + [one for value in values for one in held(value)]


def _entered(function: Callable) -> list[ast.AST]:
    """The nodes of a function; of such as are in it only what defining them evaluates; lambdas unless returned."""
    found: list[ast.AST] = []
    body = [function.body] if isinstance(function, ast.Lambda) else function.body
    waiting: list[ast.AST] = [*body][::-1]
    returned_as = {id(function.body)} if isinstance(function, ast.Lambda) else set()
    while waiting:
        one = waiting.pop()
        found.append(one)
        match one:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                inner: list[ast.AST] = [*one.decorator_list, one.args]
            case ast.Lambda() if id(one) in returned_as:
                inner = [one.args]
            case ast.Return(value=value):
                inner = [value] if value is not None else []
                returned_as.update(map(id, alternatives(value) if value is not None else ()))
            case _:
                inner = [*ast.iter_child_nodes(one)]
        waiting += inner[::-1]
    return found


def _is_handed_out(
    function: ast.FunctionDef | ast.AsyncFunctionDef, nodes: Iterable[ast.AST], parents: dict[int, ast.AST]
) -> bool:
    """Whether nothing is done with a function but to wrap it, to give it attributes, and to return it."""
    if not all(last_name(one) in _KEEPING for one in function.decorator_list):
        return False
    for node in nodes:
        if isinstance(node, ast.Global | ast.Nonlocal) and function.name in node.names:
            return False
        if isinstance(node, ast.Name) and node.id == function.name and not _is_kept(node, parents):
            return False
    return True


def _is_kept(use: ast.Name, parents: dict[int, ast.AST]) -> bool:
    one: ast.AST = use
    while True:
        parent = parents.get(id(one))
        match parent:
            case ast.Return() | ast.Expr() | ast.Attribute():
                return True
            case ast.Call(func=callee) if callee is not one and last_name(callee) in _KEEPING:
                one = parent
            case ast.Tuple() | ast.List() | ast.Dict() | ast.IfExp() | ast.BoolOp():
                one = parent
            case _:
                return False


def parameters(function: Callable) -> set[str]:
    """The names of a function's parameters."""
    return {one.arg for one in ast.walk(function.args) if isinstance(one, ast.arg)}


def calls_its_arguments(function: Callable) -> bool:
    """Whether a function calls what it gets, as its code shows: itself, or an item of it."""
    nodes = own_code(function)
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
    calls = (node for node in own_code(function) if isinstance(node, ast.Call))
    return (node for node in calls if not given.isdisjoint(given_to(node)))


def defaults(function: Callable) -> list[ast.expr]:
    """The default values of a function that it calls where it is not given anything else."""
    some = (*function.args.defaults, *function.args.kw_defaults)
    return [one for one in some if one is not None] if any(some) and calls_its_arguments(function) else []


def inside(function: Callable) -> list[Callable]:
    """All functions in a function."""
    return [one for one in ast.walk(function) if isinstance(one, CALLABLES) and one is not function]


def handed_out(function: Callable, level: int = 1) -> dict[tuple[str, int], int]:
    """The functions in a function that it returns and does not call, by name and first line.

    With each by how many calls it is made: 1 for what the function returns, 2 for what that does.
    """
    found: dict[tuple[str, int], int] = {}
    for one in _not_entered(own_code(function)):
        found[getattr(one, "name", "<lambda>"), first_line(one)] = level
        found |= handed_out(one, level + 1)
    return found


def evaluated_by(function: Callable, more: int) -> list[ast.AST]:
    """Every node that a call of a function evaluates, and so many ``more`` calls of what that returns."""
    found = own_code(function)
    inner = _not_entered(found) if more else []
    return found + [node for one in inner for node in evaluated_by(one, more - 1)]


def _not_entered(nodes: list[ast.AST]) -> list[Callable]:
    """The functions that are defined among some nodes, and of which the nodes are not there."""
    entered = set(map(id, nodes))
    functions = (one for one in nodes if isinstance(one, CALLABLES))
    return [one for one in functions if id(one.body if isinstance(one, ast.Lambda) else one.body[0]) not in entered]
