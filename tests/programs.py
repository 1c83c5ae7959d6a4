"""Random programs of modules that use and call each other at import, random edits of them, and what comes of it.

Live equals fresh, or it is refused with nothing changed, or said: what a patch can't renew, as the state that
import-time code made, may differ where a warning tells of it.
"""

from __future__ import annotations

import functools
import gc
import importlib
import linecache
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, NamedTuple

import grammar
import worlds
from grammar import Item, Maker, Text
from samples import source

from bcpatch import builder, load
from bcpatch.diagnostics import Refused, Severity, errors
from bcpatch.model import Module
from bcpatch.process.history import History

Texts = dict[str, str]

_KINDS = {"value", "function", "class", "derived", "alias", "computed", "taken", "branch", "import"}
_KINDS |= {"decorator", "factory", "decorated", "local", "guarded"}
_NAMED = {f"{kind}_{number}" for kind in _KINDS for number in range(grammar.LAST + 1)}


class AcrossMaker(Maker):
    """Makes items that may use those of modules below as well, and compute values by what all of these define."""

    def __init__(self, rng: Random, above: Text, below: Mapping[str, Text], here: str, *, rare: bool = False) -> None:
        super().__init__(rng, above, rare=rare)
        self.below = below
        self.here = here

    @property
    def kinds(self) -> dict[str, Callable[[Any, str], str]]:
        more: dict[str, Callable[[Any, str], str]] = {"computed": AcrossMaker.computed}
        if self.below:
            more |= {"taken": AcrossMaker.taken, "star": AcrossMaker.star, "derived": AcrossMaker.derived}
        return {**super().kinds, **more}

    def path(self, module: str) -> str:
        """How an import statement names a module below."""
        return module

    def foreign(self, *kinds: str) -> list[str]:
        """Dotted names of items of some kinds in modules below."""
        return [f"{name}.{item.name}" for name, text in self.below.items() for item in text if item.kind in kinds]

    def taken(self, name: str) -> str:
        some = self.foreign("value", "function", "class", "derived", "computed", "branch", "taken")
        if not some:
            return f"{name} = {self.number()}"
        module, _, taken = self.rng.choice(some).partition(".")
        return f"from {self.path(module)} import {taken} as {name}"

    def star(self, _: str) -> str:
        return f"from {self.path(self.rng.choice([*self.below]))} import *"

    def derived(self, name: str) -> str:
        """A class that derives from one of a module below."""
        some = self.foreign("class", "derived")
        found = self.class_(name).partition("\n")[2]
        return f"class {name}({self.rng.choice(some)}):\n{found}" if some else f"class {name}:\n{found}"

    def computed(self, name: str) -> str:
        """A value that a call gives, or an attribute of something."""
        called = [*self.names("function", "alias"), *self.foreign("function", "alias", "taken")]
        held = [*self.names("class", "derived"), *self.foreign("class", "derived")]
        read = self.foreign("value", "branch", "taken", "computed")
        some = [f"{one}()" for one in called]
        some += [f"{one}.m{self.rng.randint(0, 4)}" for one in held]
        some += [f"{one}().m{self.rng.randint(0, 4)}()" for one in held]
        some += [*read, *(f"[{one}]" for one in read)]
        return f"{name} = {self.rng.choice(some) if some else self.number()}"

    def expression(self) -> str:
        read = self.foreign("value", "taken", "computed")
        return self.rng.choice(read) if read and self.rng.random() < 0.2 else super().expression()

    def result(self) -> str:
        found = super().result()
        some = [*self.foreign("value", "computed"), *(f"{one}()" for one in self.foreign("function"))]
        return f"{found} {self.rng.choice(some)}," if some and self.rng.random() < 0.5 else found


class PackageMaker(AcrossMaker):
    """The same for the modules of a package and one that uses it: by relative imports, decorators of other modules,
    imports in functions, and such that may fail.
    """

    @property
    def kinds(self) -> dict[str, Callable[[Any, str], str]]:
        more: dict[str, Callable[[Any, str], str]] = {
            "decorator": PackageMaker.decorator,
            "factory": PackageMaker.factory,
            "decorated": PackageMaker.decorated,
            "function": PackageMaker.function,
            "local": PackageMaker.local,
        }
        if self.below:
            more["guarded"] = PackageMaker.guarded
        return {**super().kinds, **more}

    def path(self, module: str) -> str:
        if self.here == "top" or self.rng.random() < 0.4:
            return PACKAGE.modules[module].name
        return f".{module}"

    def guarded(self, name: str) -> str:
        """A name that is taken from elsewhere, if it can be."""
        some = self.foreign("value", "function", "class", "computed", "taken")
        if not some:
            return f"{name} = {self.number()}"
        module, _, taken = self.rng.choice(some).partition(".")
        error = self.rng.choice(("ImportError", "Exception"))
        taking = f"    from {self.path(module)} import {taken} as {name}"
        return f"try:\n{taking}\nexcept {error}:\n    {name} = {self.number()}"

    def decorator(self, name: str) -> str:
        result = f"return {self.number()}, function(*args, **kwargs)"
        inner = f"    def inner(*args, **kwargs):\n        {result}\n    return inner"
        return self.rng.choice(
            [
                f"def {name}(function):\n    @functools.wraps(function)\n{inner}",
                f"def {name}(function):\n    function.tag = {self.number()}\n    return function",
                f"def {name}(function):\n{inner}",
                f"class {name}:\n    def __init__(self, function):\n        self.function = function\n"
                f"    def __call__(self):\n        return {self.number()}, self.function()",
            ]
        )

    def factory(self, name: str) -> str:
        """A function that makes a decorator."""
        return (
            f"def {name}(value={self.number()}):\n    def decorate(function):\n        @functools.wraps(function)\n"
            "        def inner(*args, **kwargs):\n"
            f"            return value, {self.number()}, function(*args, **kwargs)\n"
            "        return inner\n    return decorate"
        )

    def local(self, name: str) -> str:
        """A function that imports when it is called, be it a module above."""
        some = self.foreign("value", "computed", "taken")
        if some and self.rng.random() < 0.5:
            module, _, taken = self.rng.choice(some).partition(".")
            found = f"from {PACKAGE.modules[module].name} import {taken}\n    return {self.number()}, {taken}"
        else:
            module = self.rng.choice([*PACKAGE.modules.values()]).name
            read = f"getattr(one, 'value_{self.rng.randint(0, grammar.LAST)}', {self.number()})"
            found = f"import {module} as one\n    return {read}"
        return f"def {name}():\n    {found}"

    def function(self, name: str) -> str:
        some = [f"@{one}" for one in (*self.names("decorator"), *self.foreign("decorator"))]
        some += [f"@{one}({self.number()})" for one in (*self.names("factory"), *self.foreign("factory"))]
        if some and self.rng.random() < 0.5:
            return f"{self.rng.choice(some)}\n{self.definition(name, self.parameters(), self.result())}"
        return super().function(name)

    def decorated(self, name: str) -> str:
        some = [f"@{one}\n" for one in (*self.names("decorator"), *self.foreign("decorator"))]
        return self.rng.choice([*some, ""]) + self.class_(name)


class Layout(NamedTuple):
    """The modules of a program, by what its texts call them: each may use those before it.

    ``heads`` are the imports that each text begins with; ``first`` is imported first.
    """

    modules: Mapping[str, Module]
    heads: Mapping[str, str]
    first: str
    make: type[AcrossMaker]


SIDE_BY_SIDE = Layout(
    {name: Module(name, f"{name}.py") for name in ("low", "middle", "top")},
    {"low": "", "middle": "import low", "top": "import low\nimport middle"},
    "low",
    AcrossMaker,
)
PACKAGE = Layout(
    {
        "low": Module("pack.low", "pack/low.py"),
        "middle": Module("pack.middle", "pack/middle.py"),
        "pack": Module("pack", "pack/__init__.py"),
        "top": Module("top", "top.py"),
    },
    {
        "low": "",
        "middle": "from . import low",
        "pack": "from . import low, middle",
        "top": "import pack\nfrom pack import low, middle",
    },
    "top",
    PackageMaker,
)


def program(rng: Random, layout: Layout = SIDE_BY_SIDE, *, rare: bool) -> dict[str, Text]:
    """Some modules, each above those before it."""
    found: dict[str, Text] = {}
    for name in layout.modules:
        make = functools.partial(layout.make, below=dict(found), here=name)
        found[name] = grammar.module(rng, rare=rare, make=make)
    return found


def edited(rng: Random, modules: Mapping[str, Text], layout: Layout = SIDE_BY_SIDE, *, rare: bool) -> dict[str, Text]:
    """The same after a commit, which changes one module or more."""
    changed = rng.sample([*layout.modules], rng.choice((1, 2, 2, 3)))
    found: dict[str, Text] = {}
    for name, text in modules.items():
        make = functools.partial(layout.make, below=dict(found), here=name)
        found[name] = grammar.edited(rng, text, rare=rare, make=make) if name in changed else text
    return found


def written(modules: Mapping[str, Text], layout: Layout = SIDE_BY_SIDE) -> Texts:
    heads = {name: Item("import", name, head) for name, head in layout.heads.items()}
    return {name: grammar.written((heads[name], *text)) for name, text in modules.items()}


@contextmanager
def loaded(texts: Texts, folder: Path, layout: Layout) -> Iterator[dict[str, ModuleType]]:
    """The modules, imported from files."""
    for name, text in texts.items():
        file = folder / layout.modules[name].path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, "utf-8")
        linecache.checkcache(str(file))
    before = sys.dont_write_bytecode, list(sys.meta_path)
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        importlib.import_module(layout.modules[layout.first].name)
        yield {name: importlib.import_module(module.name) for name, module in layout.modules.items()}
    finally:
        sys.dont_write_bytecode, sys.meta_path[:] = before
        sys.path.remove(str(folder))
        sys.path_importer_cache.pop(str(folder), None)
        for module in layout.modules.values():
            sys.modules.pop(module.name, None)


Shown = dict[str, dict[str, Any]]


def shown(modules: Mapping[str, ModuleType]) -> Shown:
    return {name: grammar.shown(one) for name, one in modules.items()}


def differences(live: Shown, fresh: Shown) -> list[str]:
    return [f"{name}.{one}" for name in fresh for one in grammar.differences(live[name], fresh[name])]


def fresh(texts: Texts, folder: Path, layout: Layout) -> Shown | None:
    try:
        with loaded(texts, folder, layout) as modules:
            return shown(modules)
    except Exception:  # noqa: BLE001 (a module that can't be imported is no version of a program)
        return None


@contextmanager
def _without_what_is_gone(live: Mapping[str, ModuleType], new: Shown) -> Iterator[None]:
    """Without the names that stay bound though no text has them any more, of which a note tells (BCP216)."""
    kept = {name: dict(vars(one)) for name, one in live.items()}
    for name, one in live.items():
        for item in (kept[name].keys() & _NAMED) - new[name].keys():
            delattr(one, item)
    try:
        yield
    finally:
        for name, one in live.items():
            vars(one).update(kept[name])


def check(
    rng: Random,
    outcomes: Counter[str],
    rules: Counter[str] | None = None,
    layout: Layout = SIDE_BY_SIDE,
    *,
    rare: bool = False,
) -> None:
    """One program and one edit of it; counts what came of it, and the ``rules`` that refused or warned."""
    rules = Counter() if rules is None else rules
    modules = program(rng, layout, rare=rare)
    changed = edited(rng, modules, layout, rare=rare)
    with tempfile.TemporaryDirectory() as folder:
        outcomes[_outcome(modules, changed, Path(folder), layout, rules)] += 1


def _outcome(
    before: Mapping[str, Text], after: Mapping[str, Text], folder: Path, layout: Layout, rules: Counter[str]
) -> str:
    old, new = written(before, layout), written(after, layout)
    wanted = fresh(old, folder, layout), fresh(new, folder, layout)
    if wanted[0] is None or wanted[1] is None:
        return "not importable"
    parts = [f"--- {kind} {name}\n{text}" for kind, some in (("old", old), ("new", new)) for name, text in some.items()]
    text = "\n".join(parts)
    sides = [[source(one, layout.modules[name]) for name, one in some.items()] for some in (old, new)]
    outcome = builder.compare(*sides, policy="linked")
    if outcome.patch is None:
        assert errors(outcome.diagnostics), text
        rules.update({one.code for one in errors(outcome.diagnostics)})
        return "refused by the build"
    if not outcome.patch.modules:
        assert not differences(wanted[0], wanted[1]), text
        return "nothing to do"
    history = History()
    with loaded(old, folder, layout) as live:
        shown(live)
        portraits = [worlds.portrait(one) for one in live.values()]
        try:
            generation = load.apply(outcome.patch, history)
        except Refused as refused:
            rules.update({one.code for one in refused.diagnostics})
            gc.collect()
            assert [worlds.portrait(one) for one in live.values()] == portraits, text
            return "refused by the process"
        told = {one.code for one in (*outcome.diagnostics, *generation.notes) if one.severity is not Severity.ERROR}
        with _without_what_is_gone(live, wanted[1]):
            found = differences(shown(live), wanted[1])
        if found and told & {"BCP211", "BCP219", "BCP221", "BCP521"}:
            rules.update(told)
            return "told"
        assert not found, "\n".join([*found, str(told), text])
        try:
            load.rollback(history, 0)
        except Refused as refused:
            rules.update({one.code for one in refused.diagnostics})
            return "refused to go back"
        found = differences(shown(live), wanted[0])
        assert not found, "\n".join(["rolled back", *found, text])
    return "live"
