"""Small edits of real source texts, as commits make them. Knows nothing of processes and patches.

An edit is a function of a `Text` and a source of chance. It returns the text of the next version, or None where
the text has nothing for it. What it returns may fail to compile or to import: whoever uses it must see.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from random import Random
from typing import TypeAlias

Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"
Edit: TypeAlias = "Callable[[Text, Random], str | None]"

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*_FUNCTIONS, ast.ClassDef, ast.Lambda)


class Text:
    """A source text with its syntax tree, cut at the places of its nodes. Raises SyntaxError."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.data = text.encode()
        self.tree = ast.parse(text)
        self.starts = [0]
        for line in self.data.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    @cached_property
    def functions(self) -> list[Function]:
        """Functions with a body of lines of their own, in classes and branches too, and in functions."""
        return [
            one for one in ast.walk(self.tree) if isinstance(one, _FUNCTIONS) and one.body[0].lineno > self._header(one)
        ]

    @cached_property
    def classes(self) -> list[ast.ClassDef]:
        return [one for one in self._outside() if isinstance(one, ast.ClassDef) and one.body[0].lineno > one.lineno]

    @cached_property
    def methods(self) -> list[tuple[ast.ClassDef, Function]]:
        return [(one, inner) for one in self.classes for inner in one.body if isinstance(inner, _FUNCTIONS)]

    @cached_property
    def bodies(self) -> list[list[ast.stmt]]:
        """The bodies that importing the module executes: its own and those of its classes."""
        return [self.tree.body, *(one.body for one in self.classes)]

    def _outside(self) -> Iterator[ast.AST]:
        """The nodes that stand in no function."""
        waiting: list[ast.AST] = [self.tree]
        while waiting:
            node = waiting.pop(0)
            yield node
            if not isinstance(node, (*_FUNCTIONS, ast.Lambda)):
                waiting += ast.iter_child_nodes(node)

    def _header(self, node: Function) -> int:
        """The line of a function's colon, or one above it."""
        inside = [node, *ast.walk(node.args), *([node.returns] if node.returns else [])]
        return max(getattr(one, "end_lineno", 0) if one is not node else one.lineno for one in inside)

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Where a node stands, in bytes."""
        start = self.starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        end = self.starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
        return start, end

    def source(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.data[start:end].decode()

    def lines(self, node: ast.stmt) -> tuple[int, int] | None:
        """The whole lines of a statement with its decorators; None where it shares one with another."""
        first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))])
        start, end = self.starts[first - 1], self.starts[node.end_lineno or first]
        before = self.data[start : start + node.col_offset]
        after = self.data[self.span(node)[1] : end].strip()
        return None if before.strip(b" \t") or (after and not after.startswith(b"#")) else (start, end)

    def indent(self, node: ast.stmt) -> str:
        return " " * node.col_offset

    def with_parts(self, *parts: tuple[tuple[int, int], str]) -> str:
        """The text with some spans of bytes replaced."""
        data = self.data
        for (start, end), new in sorted(parts, key=lambda part: part[0], reverse=True):
            data = data[:start] + new.encode() + data[end:]
        return data.decode()

    def with_statement(self, body: list[ast.stmt], lines: str, *, at_end: bool = False) -> str | None:
        """The text with some more lines in a body, indented as it is: at its beginning or at its end."""
        stands = [one for one in body if not _is_docstring(one) and not _is_future(one)]
        place = (body if at_end else stands)[-1 if at_end else 0] if (body if at_end else stands) else None
        whole = None if place is None else self.lines(place)
        if place is None or whole is None:
            return None
        more = "".join(f"{self.indent(place)}{line}\n" for line in lines.splitlines())
        where = whole[1] if at_end else whole[0]
        if at_end and not self.data[:where].endswith(b"\n"):
            more = f"\n{more}"
        return self.with_parts(((where, where), more))


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _constants(nodes: Iterable[ast.AST]) -> list[ast.Constant]:
    """Constants that stand for themselves: no docstrings, and none in an f-string."""
    every = [*nodes]
    inside = {
        id(part)
        for one in every
        if isinstance(one, ast.JoinedStr) or (isinstance(one, ast.stmt) and _is_docstring(one))
        for part in ast.walk(one)
    }
    return [one for one in every if isinstance(one, ast.Constant) and id(one) not in inside]


def _other(value: object, rng: Random) -> str | None:
    """How another value of the same kind is written."""
    match value:
        case bool():
            return repr(not value)
        case int():
            return repr(value + rng.choice((1, 7, 1000)))
        case float():
            return repr(value + 1.5)
        case str():
            return ascii(value + "_")
        case bytes():
            return repr(value + b"_")
        case None:
            return "False"
    return None


def _with_other_constant(text: Text, nodes: Iterable[ast.AST], rng: Random) -> str | None:
    found = _constants(nodes)
    if not found:
        return None
    one = rng.choice(found)
    new = _other(one.value, rng)
    return None if new is None else text.with_parts((text.span(one), new))


def _of(rng: Random, some: list[Function]) -> Function | None:
    return rng.choice(some) if some else None


# --- in a function ------------------------------------------------------------------------------------


def constant(text: Text, rng: Random) -> str | None:
    """Another constant in a function's body."""
    one = _of(rng, text.functions)
    return None if one is None else _with_other_constant(text, (n for s in one.body for n in ast.walk(s)), rng)


def anonymous(text: Text, rng: Random) -> str | None:
    """Another constant in a lambda or a comprehension."""
    kinds = (ast.Lambda, ast.ListComp, ast.GeneratorExp, ast.DictComp, ast.SetComp)
    found = [one for one in ast.walk(text.tree) if isinstance(one, kinds)]
    return _with_other_constant(text, ast.walk(rng.choice(found)), rng) if found else None


def line(text: Text, rng: Random) -> str | None:
    """A line more at the beginning of a function: local ones, a global, a closure, a yield."""
    one = _of(rng, text.functions)
    if one is None:
        return None
    parameters = [each.arg for each in (*one.args.posonlyargs, *one.args.args, *one.args.kwonlyargs)] or ["one"]
    kept = rng.choice(parameters)
    lines = rng.choice(
        [
            "added_ = 1",
            "import colorsys as added_\nadded_.rgb_to_hls(1, 2, 3)",
            f"def added_(of=1):\n    return of, {kept}",
            f"added_ = [lambda: {kept}, lambda: 2]",
            "global added_to_module\nadded_to_module = 1",
            "if False:\n    yield 1",
            "assert __name__",
            "try:\n    pass\nexcept ValueError:\n    raise",
        ]
    )
    if "one" in parameters and "return of, one" in lines:
        return None
    return text.with_statement(one.body, lines)


def cell(text: Text, rng: Random) -> str | None:
    """A method uses its class's cell for the first time, or once more."""
    if not text.methods:
        return None
    _, method = rng.choice(text.methods)
    return text.with_statement(method.body, "__class__") if method in text.functions else None


def local(text: Text, rng: Random) -> str | None:
    """A local variable gets another name."""
    one = _of(rng, text.functions)
    if one is None or any(isinstance(n, (ast.Global, ast.Nonlocal, ast.ClassDef)) for n in ast.walk(one)):
        return None
    inside = [n for s in one.body for n in ast.walk(s)]
    taken = {each.arg for each in ast.walk(one) if isinstance(each, ast.arg)}
    stored = {n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)} - taken
    others = {n.name for n in inside if isinstance(n, (*_FUNCTIONS, ast.ExceptHandler, ast.MatchAs)) and n.name}
    stored -= others | {a.asname or a.name for n in inside if isinstance(n, ast.alias) for a in [n]}
    within = {id(p) for n in inside if isinstance(n, ast.JoinedStr) for p in ast.walk(n)}
    if not stored or within:
        return None
    name = rng.choice(sorted(stored))
    return text.with_parts(*((text.span(n), f"{name}_2") for n in inside if isinstance(n, ast.Name) and n.id == name))


def probe(text: Text, rng: Random) -> str | None:
    """Another body, which does nothing but return a number: so the function can be called without harm."""
    found = [one for one in text.functions if text.lines(one.body[0]) is not None]
    one = _of(rng, found)
    if one is None:
        return None
    first = [each for each in one.body if not _is_docstring(each)] or one.body
    whole = text.lines(first[0])
    if whole is None:
        return None
    end = text.starts[one.end_lineno or one.lineno]
    return text.with_parts(((whole[0], end), f"{text.indent(first[0])}return {rng.randint(100, 999)}\n"))


# --- its header ---------------------------------------------------------------------------------------


def _header(text: Text, one: Function, args: str, returns: str | None = None) -> str | None:
    """The text with other parameters of a function, all written anew."""
    start = text.span(one)[0]
    found = re.compile(rb"(?:async\s+)?def\s+\w+\s*(\()").match(text.data, start)
    if found is None:
        return None
    stop = text.span(one.body[0])[0]
    if one.body and getattr(one.body[0], "decorator_list", None):
        stop = text.span(one.body[0].decorator_list[0])[0]  # type: ignore[attr-defined]
    said = returns if returns is not None else (ast.unparse(one.returns) if one.returns else "")
    head = f"({args}){f' -> {said}' if said else ''}:\n{text.indent(one.body[0])}"
    return text.with_parts(((found.start(1), stop), head))


def _changed_header(text: Text, rng: Random, change: Callable[[ast.arguments], None]) -> str | None:
    one = _of(rng, text.functions)
    if one is None:
        return None
    copied = ast.parse(f"def f({ast.unparse(one.args)}): pass").body[0]
    assert isinstance(copied, ast.FunctionDef)
    change(copied.args)
    return _header(text, one, ast.unparse(copied.args))


def parameter(text: Text, rng: Random) -> str | None:
    """A parameter more, with a default; or the last one gone."""

    def change(args: ast.arguments) -> None:
        value = rng.choice(["None", "7", "'a'", "()", "[]"])
        if rng.random() < 0.15 and args.kwonlyargs:
            args.kwonlyargs.pop()
            args.kw_defaults.pop()
        elif rng.random() < 0.5:
            args.kwonlyargs.append(ast.arg("added_"))
            args.kw_defaults.append(ast.parse(value, mode="eval").body)
        else:
            args.args.append(ast.arg("added_"))
            args.defaults.append(ast.parse(value, mode="eval").body)

    return _changed_header(text, rng, change)


def default(text: Text, rng: Random) -> str | None:
    """Another default value."""
    every = [d for one in text.functions for d in (*one.args.defaults, *one.args.kw_defaults) if d is not None]
    if not every:
        return None
    one = rng.choice(every)
    return text.with_parts((text.span(one), rng.choice(["None", "7", "'a'", "(1, 2)", "[3]"])))


def annotation(text: Text, rng: Random) -> str | None:
    """Another annotation of a parameter, or of what is returned."""
    one = _of(rng, text.functions)
    if one is None:
        return None
    if rng.random() < 0.5:
        return _header(text, one, ast.unparse(one.args), rng.choice(["int", "'Added'", "None | str"]))

    def change(args: ast.arguments) -> None:
        for each in args.args:
            each.annotation = ast.Name("str")

    return _changed_header(text, rng, change)


def decorator(text: Text, rng: Random) -> str | None:
    """Another decorator, none any more, or another argument of one."""
    found = [one for one in text.functions if text.lines(one) is not None]
    one = _of(rng, found)
    if one is None:
        return None
    calls = [d for f in found for d in f.decorator_list if isinstance(d, ast.Call)]
    if calls and rng.random() < 0.5:
        return _with_other_constant(text, ast.walk(rng.choice(calls)), rng)
    start, _ = text.lines(one) or (0, 0)
    if one.decorator_list and rng.random() < 0.5:
        return text.with_parts(((start, text.starts[one.lineno - 1]), ""))
    more = rng.choice(["@__import__('functools').cache", "@staticmethod", "@property", "@(lambda one: one)"])
    return text.with_parts(((start, start), f"{text.indent(one)}{more}\n"))


def coroutine(text: Text, rng: Random) -> str | None:
    """A function that becomes a coroutine, or the other way round."""
    one = _of(rng, text.functions)
    if one is None:
        return None
    start, _ = text.span(one)
    if isinstance(one, ast.FunctionDef):
        return text.with_parts(((start, start), "async "))
    return re.sub(r"async\s+def", "def", text.text, count=1)


# --- in a body ----------------------------------------------------------------------------------------


def _swapped(text: Text, first: ast.stmt, second: ast.stmt) -> str | None:
    a, b = text.lines(first), text.lines(second)
    if a is None or b is None or a == b:
        return None
    return text.with_parts((a, text.data[slice(*b)].decode()), (b, text.data[slice(*a)].decode()))


def swapped(text: Text, rng: Random) -> str | None:
    """Two definitions of a body change places."""
    body = rng.choice(text.bodies)
    found = [one for one in body if isinstance(one, (*_FUNCTIONS, ast.ClassDef))]
    return _swapped(text, *rng.sample(found, 2)) if len(found) > 1 else None


def moved(text: Text, rng: Random) -> str | None:
    """A definition moves to the end of its body."""
    body = rng.choice(text.bodies)
    found = [one for one in body[:-1] if isinstance(one, (*_FUNCTIONS, ast.ClassDef))]
    if not found:
        return None
    one = rng.choice(found)
    whole, last = text.lines(one), text.lines(body[-1])
    if whole is None or last is None or not text.data[: last[1]].endswith(b"\n"):
        return None
    return text.with_parts((whole, ""), ((last[1], last[1]), "\n" + text.data[slice(*whole)].decode()))


def removed(text: Text, rng: Random) -> str | None:
    """A statement of a body is gone: a definition, a value, an import."""
    kinds = (*_FUNCTIONS, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.Import)
    body = rng.choice(text.bodies)
    found = [one for one in body if isinstance(one, kinds)]
    if not found or len(body) < 2:
        return None
    whole = text.lines(rng.choice(found))
    return None if whole is None else text.with_parts((whole, ""))


def copied(text: Text, rng: Random) -> str | None:
    """A definition stands there once more, right below or at the end, with another constant perhaps."""
    body = rng.choice(text.bodies)
    found = [one for one in body if isinstance(one, (*_FUNCTIONS, ast.ClassDef))]
    if not found:
        return None
    one = rng.choice(found)
    whole, last = text.lines(one), text.lines(body[-1])
    if whole is None or last is None or not text.data[: last[1]].endswith(b"\n"):
        return None
    where = rng.choice([whole[1], last[1]])
    return text.with_parts(((where, where), text.data[slice(*whole)].decode()))


def renamed(text: Text, rng: Random) -> str | None:
    """A definition of the module, and all that the text says of it, gets another name."""
    found = [one.name for one in text.tree.body if isinstance(one, (*_FUNCTIONS, ast.ClassDef))]
    if not found:
        return None
    name = rng.choice(found)
    return re.sub(rf"(?<![\w.]){re.escape(name)}\b", f"{name}_2", text.text)


def method(text: Text, rng: Random) -> str | None:
    """A method more in a class."""
    if not text.classes:
        return None
    lines = [
        "def added_(self, of=1):\n    return of",
        "@property\ndef added_(self):\n    return 1",
        "@staticmethod\ndef added_(of=None):\n    return of",
        "@classmethod\ndef added_(cls):\n    return super().__name__",
        "def __len__(self):\n    return 3",
        "def __call__(self, *of):\n    return of",
        "def __eq__(self, other):\n    return NotImplemented",
        "added_ = (1, 2)",
        "added_ = lambda self: 1",
    ]
    return text.with_statement(rng.choice(text.classes).body, rng.choice(lines), at_end=True)


def definition(text: Text, rng: Random) -> str | None:
    """A definition, a value or an import more in the module, used by a function of it."""
    lines, used = rng.choice(
        [
            ("def added_(of=1):\n    return of", "added_()"),
            ("async def added_():\n    pass", "added_"),
            ("class Added_:\n    of = 1\n    def told(self):\n        return __class__", "Added_().told()"),
            ("class Added_(Exception):\n    pass", "Added_"),
            ("import colorsys", "colorsys.rgb_to_hls"),
            ("from colorsys import rgb_to_hls as added_", "added_"),
            ("import xml.dom", "xml.dom"),
            ("ADDED_ = {'a': (1, 2)}", "ADDED_['a']"),
            ("try:\n    import colorsys as added_\nexcept ImportError:\n    added_ = None", "added_"),
            ("import sys\nif sys.version_info > (3,):\n    def added_():\n        return 1", "added_()"),
            ("len = len", "len"),
        ]
    )
    one = _of(rng, text.functions)
    more = text.with_statement(text.tree.body, lines, at_end=rng.random() < 0.5)
    if more is None or one is None or rng.random() < 0.3:
        return more
    again = Text(more)
    same = [each for each in again.functions if each.name == one.name]
    return again.with_statement(same[0].body, f"used_ = {used}") if same else more


def table(text: Text, rng: Random) -> str | None:
    """Another value of a variable of the module or a class: one element changed, added or gone."""
    found = [
        one.value
        for body in text.bodies
        for one in body
        if isinstance(one, (ast.Assign, ast.AnnAssign)) and one.value is not None
    ]
    if not found:
        return None
    value = rng.choice(found)
    inner = [each for each in ast.walk(value) if isinstance(each, (ast.List, ast.Tuple, ast.Set, ast.Dict))]
    if not inner or rng.random() < 0.4:
        return _with_other_constant(text, ast.walk(value), rng)
    one = rng.choice(inner)
    items = one.values if isinstance(one, ast.Dict) else one.elts
    if not items:
        return None
    at = rng.randrange(len(items))
    if rng.random() < 0.5:
        items.append(items[at])
        if isinstance(one, ast.Dict):
            one.keys.append(ast.Constant("added_"))
    else:
        items.pop(at)
        if isinstance(one, ast.Dict):
            one.keys.pop(at)
    written = ast.unparse(one)
    return text.with_parts((text.span(one), written if isinstance(one, ast.Tuple) is False else f"({written})"))


def base(text: Text, rng: Random) -> str | None:
    """Another base of a class, or slots."""
    if not text.classes:
        return None
    one = rng.choice(text.classes)
    if rng.random() < 0.4:
        return text.with_statement(one.body, "__slots__ = ('added_',)")
    if not one.bases:
        return None
    return text.with_parts((text.span(one.bases[0]), f"{text.source(one.bases[0])}, __import__('abc').ABC"))


def guarded(text: Text, rng: Random) -> str | None:
    """A definition of the module stands in a branch from now on."""
    found = [one for one in text.tree.body if isinstance(one, _FUNCTIONS)]
    if not found:
        return None
    one = rng.choice(found)
    whole = text.lines(one)
    if whole is None or any(isinstance(n, ast.Constant) and isinstance(n.value, str) for n in ast.walk(one)):
        return None
    inner = "".join(f"    {each}" for each in text.data[slice(*whole)].decode().splitlines(keepends=True))
    return text.with_parts((whole, f"if {rng.choice(['__name__', 'not __name__'])}:\n{inner}"))


# --- what does nothing --------------------------------------------------------------------------------


def words(text: Text, rng: Random) -> str | None:
    """A comment more, or empty lines, anywhere between statements of a body."""
    body = rng.choice(text.bodies)
    return text.with_statement(body, rng.choice(["# a word", "\n\n\n", "# two\n# words"]), at_end=rng.random() < 0.3)


def docstring(text: Text, rng: Random) -> str | None:
    """Another docstring of a function, a class or the module."""
    every = [*text.functions, *text.classes, text.tree]
    one = rng.choice(every)
    if _is_docstring(one.body[0]) and text.lines(one.body[0]) is not None:
        return text.with_parts((text.span(one.body[0]), '"""Other words."""'))
    return text.with_statement(one.body, '"""Words."""')


def formatted(text: Text, _: Random) -> str | None:
    """The whole text is written in another style, without its comments."""
    return ast.unparse(text.tree) + "\n"


EDITS: dict[str, Edit] = {
    one.__name__: one
    for one in (
        constant, anonymous, line, cell, local, probe, parameter, default, annotation, decorator, coroutine, swapped,
        moved, removed, copied, renamed, method, definition, table, base, guarded, words, docstring, formatted,
    )
}  # fmt: skip


def edited(text: str, rng: Random) -> tuple[tuple[str, ...], str] | None:
    """The kinds of one to three edits, and the text after them; None where a kind had nothing to do."""
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        kind = rng.choice([*EDITS])
        try:
            new = EDITS[kind](Text(text), rng)
            if new is None or new == text:
                continue
            compile(new, "edited", "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            continue
        done.append(kind)
        text = new
    return (tuple(done), text) if done else None
