"""Random modules and random edits of them, and all that a module shows of itself.

A `Text` is a module as items, each a few lines that bind a name. `edited` changes, adds, removes and
moves items as real commits do. `shown` calls everything and describes every value.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random
from types import FunctionType, ModuleType
from typing import Any, Protocol

HEAD = """\
import functools, sys
def wrapping(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return "wrapped", function(*args, **kwargs)
    return wrapper
"""
IMPORTS = (
    "import json as {}",
    "import colorsys as {}",
    "from json import dumps as {}",
    "from os.path import join as {}",
)
TESTS = ("sys.version_info >= (3,)", "sys.version_info < (3,)", "sys.platform == 'none'")
DECORATORS = ("", "", "", "@wrapping", "@functools.cache", "@wrapping\n@wrapping")
METHODS = ("", "", "@staticmethod", "@classmethod", "@property", "@functools.cached_property")
ANNOTATIONS = ("", "", ": int", ": 'str'", ": list")
LAST = 4
MODULES = ("world", "low", "middle", "pack", "pack.low", "pack.middle", "top")
"""The modules whose functions and classes are called: the others are not of these texts."""


@dataclass(frozen=True)
class Item:
    """Some lines that bind one name; ``kind`` says how they were made."""

    kind: str
    name: str
    lines: str


Text = tuple[Item, ...]


def written(items: Text) -> str:
    """The source of a module."""
    return HEAD + "\n".join(item.lines for item in items) + "\n"


# --- items ----------------------------------------------------------------------------------------


class Maker:
    """Makes items that may use the names of those above them: ``rare`` ones too, if asked for."""

    def __init__(self, rng: Random, above: Text, *, rare: bool = False) -> None:
        self.rng = rng
        self.above = above
        self.rare = rare

    def item(self, kind: str | None = None, name: str | None = None) -> Item:
        common = [*self.kinds, "function", "function", "class", "value", "value"]
        kind = kind or self.rng.choice([*common, *_RARE] if self.rare else common)
        name = name or ("__all__" if kind == "all" else f"{kind}_{self.rng.randint(0, LAST)}")
        return Item(kind, name, {**self.kinds, **_RARE}[kind](self, name))

    @property
    def kinds(self) -> dict[str, Callable[[Any, str], str]]:
        """What makes the items of each common kind."""
        return {**_MAKERS}

    def names(self, *kinds: str) -> list[str]:
        return [item.name for item in self.above if item.kind in kinds]

    def number(self) -> str:
        return str(self.rng.randint(0, 9))

    def expression(self) -> str:
        """A value, of literals and of values above."""
        values = self.names("value", "branch")
        one = self.rng.choice(values) if values and self.rng.random() < 0.6 else self.number()
        form = self.rng.choice(
            ["{0}", "({0}, {1})", "[{0}, {1}]", "{{'a': {0}, 'b': {1}}}", "'{1}'", "-{1}", "(*'ab', {0})"]
        )
        return form.format(one, self.number())

    def result(self) -> str:
        """What a function returns: something of its own, and what it finds in the module."""
        found = [self.number()]
        values, called = self.names("value", "branch", "taken"), self.names("function", "alias")
        if values and self.rng.random() < 0.6:
            found.append(self.rng.choice(values))
        if called and self.rng.random() < 0.5:
            found.append(f"{self.rng.choice(called)}()")
        if self.rng.random() < 0.2:
            found.append(f"[{self.number()} + one for one in range(2)]")
        if self.rng.random() < 0.2:
            found.append(f"(lambda: {self.number()})()")
        return ", ".join(found) + ","

    def parameters(self, *first: str) -> str:
        some = [*first]
        if self.rng.random() < 0.5:
            some.append(f"a{self.rng.choice(ANNOTATIONS)}={self.expression()}")
        if self.rng.random() < 0.3:
            some += ["*", f"b={self.expression()}"]
        return ", ".join(some)

    def value(self, name: str) -> str:
        return f"{name}{self.rng.choice(ANNOTATIONS)} = {self.expression()}"

    def function(self, name: str) -> str:
        decorator = self.rng.choice(DECORATORS)
        result = self.number() if "cache" in decorator else self.result()
        return f"{decorator}\n{self.definition(name, self.parameters(), result)}".lstrip("\n")

    def definition(self, name: str, parameters: str, result: str) -> str:
        doc = f"    'Doc {self.number()}.'\n" if self.rng.random() < 0.3 else ""
        kept = [one.partition("=")[0].partition(":")[0].strip() for one in re.split(r", (?=[ab*])", parameters)]
        shown = "".join(f" {one}," for one in kept if one in ("a", "b"))
        return f"def {name}({parameters}):\n{doc}    return {result.rstrip(',')},{shown}"

    def class_(self, name: str) -> str:
        bases = [one for one in self.names("class") if one != name]
        base = f"({self.rng.choice(bases)})" if bases and self.rng.random() < 0.4 else ""
        members = {f"m{self.rng.randint(0, 4)}": self.member for _ in range(self.rng.randint(1, 4))}
        body = "\n".join(make(member) for member, make in members.items())
        return f"class {name}{base}:\n" + "\n".join(f"    {line}" for line in body.splitlines())

    def member(self, name: str) -> str:
        roll = self.rng.random()
        if roll < 0.3:
            return f"{name} = {self.expression()}"
        if roll < 0.4:
            return f"def __init__(self):\n    self.{name}_ = {self.number()}"
        decorator = self.rng.choice(METHODS)
        first = {"@staticmethod": (), "@classmethod": ("cls",)}.get(decorator, ("self",))
        parameters = ", ".join(first) if "property" in decorator else self.parameters(*first)
        return f"{decorator}\n{self.definition(name, parameters, self.result())}".lstrip("\n")

    def alias(self, name: str) -> str:
        there = self.names("function", "class", "value")
        return f"{name} = {self.rng.choice(there) if there else self.number()}"

    def import_(self, name: str) -> str:
        return self.rng.choice(IMPORTS).format(name)

    def branch(self, name: str) -> str:
        first, second = f"{name} = {self.number()}", f"{name} = {self.number()}"
        if self.rng.random() < 0.3:
            return f"try:\n    from json import loads as {name}\nexcept ImportError:\n    {name} = None"
        return f"if {self.rng.choice(TESTS)}:\n    {first}\nelse:\n    {second}"

    def all_(self, name: str) -> str:
        return f"__all__ = {[item.name for item in self.above if self.rng.random() < 0.7]!r}"

    def lambda_(self, name: str) -> str:
        return self.rng.choice(
            ["{0} = lambda: ({1},)", "{0} = [lambda: {1}, lambda: {2}]", "{0} = (lambda a={1}: (lambda: (a, {2})))()"]
        ).format(name, self.number(), self.number())

    def kept(self, name: str) -> str:
        called = self.names("function", "alias", "lambda", "kept")
        one = self.rng.choice(called) if called else self.number()
        return self.rng.choice(["{0} = [{1}]", "{0} = {{'a': {1}}}", "{0} = functools.partial({1})"]).format(
            name, one if called else "int"
        )

    def closure(self, name: str) -> str:
        return (
            f"def {name}_maker(a):\n    b = [a]\n"
            f"    def inner():\n        return a, b, {self.result()}\n    return inner\n"
            f"{name} = {name}_maker({self.number()})"
        )

    def dispatch(self, name: str) -> str:
        return (
            f"@functools.singledispatch\ndef {name}(one=None):\n    return {self.result()}\n"
            f"@{name}.register\ndef _(one: int):\n    return {self.result()}\n"
            f"@{name}.register\ndef _(one: str):\n    return {self.result()}\n"
            f"{name}_said = lambda: ({name}(None), {name}(1), {name}(''))"
        )

    def defined(self, name: str) -> str:
        first, second = (f"    def {name}():\n        return {self.result()}" for _ in range(2))
        return self.rng.choice(
            [
                f"if {self.rng.choice(TESTS)}:\n{first}\nelse:\n{second}",
                f"try:\n    import no_such_module\n{first}\nexcept ImportError:\n{second}",
                f"if {self.rng.choice(TESTS)}:\n{first}",
            ]
        )

    def generator(self, name: str) -> str:
        return f"def {name}():\n    yield {self.number()}\n    yield from ({self.result()})"

    def loop(self, name: str) -> str:
        return (
            f"{name} = []\nfor {name}_i in range(2):\n    def {name}_f(a={name}_i):\n"
            f"        return a, {self.result()}\n    {name}.append({name}_f)"
        )

    def dropped(self, name: str) -> str:
        return f"def {name}_():\n    return {self.result()}\n{name} = [{name}_]\ndel {name}_"

    def nested(self, name: str) -> str:
        member = self.member("m0").replace("\n", "\n        ")
        return f"class {name}:\n    class Inner:\n        {member}\n    made = property(lambda self: self.Inner().m0)"

    def descriptors(self, name: str) -> str:
        return (
            f"class {name}:\n    def _a(self, b={self.number()}):\n        return b, {self.result()}\n"
            f"    m0 = functools.partialmethod(_a, {self.number()})\n    m1 = property(lambda self: {self.number()})\n"
            f"    m2 = staticmethod(lambda: {self.number()})\n    m3 = _a"
        )

    def data(self, name: str) -> str:
        return (
            f"@__import__('dataclasses').dataclass\nclass {name}:\n    a: int = {self.number()}\n"
            f"    def m0(self):\n        return self.a, {self.result()}"
        )


_MAKERS: dict[str, Callable[[Maker, str], str]] = {
    "value": Maker.value,
    "function": Maker.function,
    "class": Maker.class_,
    "alias": Maker.alias,
    "import": Maker.import_,
    "branch": Maker.branch,
    "all": Maker.all_,
}


_RARE: dict[str, Callable[[Maker, str], str]] = {
    "lambda": Maker.lambda_,
    "kept": Maker.kept,
    "closure": Maker.closure,
    "dispatch": Maker.dispatch,
    "defined": Maker.defined,
    "generator": Maker.generator,
    "loop": Maker.loop,
    "dropped": Maker.dropped,
    "nested": Maker.nested,
    "descriptors": Maker.descriptors,
    "data": Maker.data,
}


class Make(Protocol):
    """What makes a `Maker` for the items above."""

    def __call__(self, rng: Random, above: Text, *, rare: bool = False) -> Maker: ...


def module(rng: Random, again: float = 0, *, rare: bool = False, make: Make = Maker) -> Text:
    """A module of some items, of ``rare`` ones too. ``again`` is how likely one comes that binds a name once more."""
    items: list[Item] = []
    for _ in range(rng.randint(2, 9)):
        item = make(rng, tuple(items), rare=rare).item()
        if all(one.name != item.name for one in items):
            items.append(item)
        if again and rng.random() < again:
            items.insert(rng.randint(0, len(items)), _once_more(rng, items))
    return tuple(items)


def _once_more(rng: Random, items: list[Item]) -> Item:
    """An item that binds a name which another one binds too."""
    item = rng.choice(items)
    return item if rng.random() < 0.5 else Maker(rng, ()).item(item.kind, item.name)


def edited(rng: Random, text: Text, again: float = 0, *, rare: bool = False, make: Make = Maker) -> Text:
    """The same module after a commit; the options are those of `module`."""
    items = list(text)
    for _ in range(rng.choice((1, 1, 2, 3, 5))):
        place = rng.randrange(len(items)) if items else 0
        match rng.choice(("add", "change", "change", "change", "tweak", "tweak", "tweak", "remove", "move")):
            case "add":
                new = make(rng, tuple(items[:place]), rare=rare).item()
                if all(new.name != item.name for item in items):
                    items.insert(place, new)
                elif again and rng.random() < again:
                    items.insert(place, _once_more(rng, items))
            case "change" if items:
                items[place] = make(rng, tuple(items[:place])).item(items[place].kind, items[place].name)
            case "tweak" if items:
                items[place] = _tweaked(rng, items[place])
            case "remove" if items:
                del items[place]
            case "move" if items:
                items.insert(rng.randrange(len(items)), items.pop(place))
    return tuple(items)


def _tweaked(rng: Random, item: Item) -> Item:
    """An item with one of its numbers changed."""
    places = [match.start() for match in re.finditer(r"(?<![\w.])\d(?![\w.])", item.lines)]
    if not places:
        return item
    place = rng.choice(places)
    return replace(item, lines=f"{item.lines[:place]}{rng.randint(0, 9)}{item.lines[place + 1 :]}")


def client(rng: Random, text: Text) -> str:
    """A module that takes some names of another, and tells what it has of them when it is asked."""
    names = [item.name for item in text if item.kind not in ("all", "defined") and rng.random() < 0.4]
    lines = [f"from world import {name} as {name}_" for name in names]
    return "\n".join([*lines, "import world", f"def tell(): return [{', '.join(f'{name}_' for name in names)}]", ""])


# --- what a module shows ----------------------------------------------------------------------------


def shown(live: ModuleType) -> dict[str, Any]:
    """Everything that a module's public names give when they are read and called."""
    seen: dict[str, Any] = {}
    values = {name: value for name, value in vars(live).items() if not name.startswith("_")}
    for name, value in values.items():
        seen[name] = described(value, 4)
        twins = [other for other, one in values.items() if one is value and isinstance(value, type | FunctionType)]
        seen[f"{name} is"] = sorted(twins)
    seen["__all__"] = vars(live).get("__all__")
    seen["__annotations__"] = inspect.get_annotations(live)
    return seen


def described(value: Any, depth: int) -> Any:
    """A value in a form that is equal for values that do the same."""
    if isinstance(value, list | tuple):
        return type(value).__name__, [described(one, depth) for one in value]
    if isinstance(value, ModuleType):
        return "module", value.__name__
    if isinstance(value, dict):
        return {key: described(one, depth) for key, one in value.items()}
    if inspect.isgenerator(value):
        return "of it", _called(lambda: list(value), depth)
    if isinstance(value, functools.partial):
        return "of it", _called(value, depth)
    if isinstance(value, type) and value.__module__ in MODULES and depth:
        return _class(value, depth - 1)
    if callable(value) and getattr(value, "__module__", None) in MODULES and depth:
        said = value.__doc__, _signature(value), str(inspect.get_annotations(value))
        return said, _called(value, depth - 1)
    return re.sub(r" at 0x\w+", "", repr(value))


def _signature(function: Callable[..., Any]) -> str:
    return re.sub(r" at 0x\w+", "", str(inspect.signature(function)))


def _class(cls: type, depth: int) -> Any:
    instance = _called(cls, 0, whole=True)
    members = {}
    for name in sorted(one for one in dir(cls) if not one.startswith("__") or one == "__init__"):
        static = inspect.getattr_static(cls, name)
        own = getattr(instance, name, None)
        members[name] = type(static).__name__, static.__doc__, _member(own, depth)
    return cls.__name__, [one.__name__ for one in cls.__mro__], members, sorted(getattr(instance, "__dict__", ()))


def _member(own: Any, depth: int) -> Any:
    if inspect.isroutine(own) and getattr(own, "__name__", "") != "__init__" and hasattr(own, "__module__"):
        return _signature(own), _called(own, depth)
    return described(own, 0) if not inspect.isroutine(own) else None


def _called(function: Callable[..., Any], depth: int, *, whole: bool = False) -> Any:
    try:
        value = function()
    except RecursionError:
        return "deep"
    except Exception as error:  # noqa: BLE001 (what it raises is what is compared)
        return type(error).__name__, str(error)
    return value if whole else described(value, depth)


def differences(live: dict[str, Any], fresh: dict[str, Any]) -> Iterator[str]:
    """Where a module shows something else than a fresh one. What names that are gone would give is not compared."""
    for name, value in fresh.items():
        if re.search(r"NameError|module '\w+' has no attribute", repr(value)):
            continue
        mine = live.get(name)
        if name.endswith(" is") and mine is not None:
            mine = [one for one in mine if one in fresh]  # a name that was removed stays bound
        if mine != value:
            yield f"{name}: {mine!r}\n  fresh: {value!r}"
