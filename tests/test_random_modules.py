"""Random edits of several modules at once, which use and call each other at import: live equals fresh, or it is said.

What a patch can't renew, as the state that import-time code made, may differ where a warning tells of it.
"""

from __future__ import annotations

import functools
import gc
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import grammar
import pytest
import worlds
from grammar import Item, Maker, Text
from samples import source

from bcpatch import builder, load
from bcpatch.diagnostics import Refused, Severity, errors
from bcpatch.model import Module
from bcpatch.process.history import History

NAMES = ("low", "middle", "top")
"""The modules, each of which may use those before it."""

Texts = dict[str, str]

_KINDS = {"value", "function", "class", "derived", "alias", "computed", "taken", "branch", "import"}
_NAMED = {f"{kind}_{number}" for kind in _KINDS for number in range(grammar.LAST + 1)}


class AcrossMaker(Maker):
    """Makes items that may use those of modules below as well, and compute values by what all of these define."""

    def __init__(self, rng: Random, above: Text, below: Mapping[str, Text], *, rare: bool = False) -> None:
        super().__init__(rng, above, rare=rare)
        self.below = below

    @property
    def kinds(self) -> dict[str, Callable[[Any, str], str]]:
        more: dict[str, Callable[[Any, str], str]] = {"computed": AcrossMaker.computed}
        if self.below:
            more |= {"taken": AcrossMaker.taken, "star": AcrossMaker.star, "derived": AcrossMaker.derived}
        return {**super().kinds, **more}

    def foreign(self, *kinds: str) -> list[str]:
        """Dotted names of items of some kinds in modules below."""
        return [f"{name}.{item.name}" for name, text in self.below.items() for item in text if item.kind in kinds]

    def taken(self, name: str) -> str:
        some = self.foreign("value", "function", "class", "derived", "computed", "branch", "taken")
        if not some:
            return f"{name} = {self.number()}"
        module, _, taken = self.rng.choice(some).partition(".")
        return f"from {module} import {taken} as {name}"

    def star(self, _: str) -> str:
        return f"from {self.rng.choice([*self.below])} import *"

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


def program(rng: Random, *, rare: bool) -> dict[str, Text]:
    """Some modules, each above those before it."""
    found: dict[str, Text] = {}
    for name in NAMES:
        found[name] = grammar.module(rng, rare=rare, make=functools.partial(AcrossMaker, below=dict(found)))
    return found


def edited(rng: Random, modules: Mapping[str, Text], *, rare: bool) -> dict[str, Text]:
    """The same after a commit, which changes one module or more."""
    changed = rng.sample(NAMES, rng.choice((1, 2, 2, 3)))
    found: dict[str, Text] = {}
    for name, text in modules.items():
        make = functools.partial(AcrossMaker, below=dict(found))
        found[name] = grammar.edited(rng, text, rare=rare, make=make) if name in changed else text
    return found


def written(modules: Mapping[str, Text]) -> Texts:
    found: Texts = {}
    for name, text in modules.items():
        imports: Text = tuple(Item("import", one, f"import {one}") for one in found)
        found[name] = grammar.written((*imports, *text))
    return found


@contextmanager
def loaded(texts: Texts, folder: Path) -> Iterator[dict[str, ModuleType]]:
    """The modules, imported from files."""
    folder.mkdir(exist_ok=True)
    try:
        yield {name: worlds.imported(text, folder, name) for name, text in texts.items()}
    finally:
        for name in texts:
            sys.modules.pop(name, None)


Shown = dict[str, dict[str, Any]]


def shown(modules: Mapping[str, ModuleType]) -> Shown:
    return {name: grammar.shown(one) for name, one in modules.items()}


def differences(live: Shown, fresh: Shown) -> list[str]:
    return [f"{name}.{one}" for name in NAMES for one in grammar.differences(live[name], fresh[name])]


def fresh(texts: Texts, folder: Path) -> Shown | None:
    try:
        with loaded(texts, folder) as modules:
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


def check(rng: Random, outcomes: Counter[str], rules: Counter[str] | None = None, *, rare: bool = False) -> None:
    """One program and one edit of it; counts what came of it, and the ``rules`` that refused or warned."""
    rules = Counter() if rules is None else rules
    modules = program(rng, rare=rare)
    changed = edited(rng, modules, rare=rare)
    with tempfile.TemporaryDirectory() as folder:
        outcomes[_outcome(modules, changed, Path(folder), rules)] += 1


def _outcome(before: Mapping[str, Text], after: Mapping[str, Text], folder: Path, rules: Counter[str]) -> str:
    old, new = written(before), written(after)
    wanted = fresh(old, folder / "old"), fresh(new, folder / "new")
    if wanted[0] is None or wanted[1] is None:
        return "not importable"
    parts = [f"--- {kind} {name}\n{text}" for kind, some in (("old", old), ("new", new)) for name, text in some.items()]
    text = "\n".join(parts)
    sides = [[source(one, Module(name, f"{name}.py")) for name, one in some.items()] for some in (old, new)]
    outcome = builder.compare(*sides, policy="linked")
    if outcome.patch is None:
        assert errors(outcome.diagnostics), text
        rules.update({one.code for one in errors(outcome.diagnostics)})
        return "refused by the build"
    if not outcome.patch.modules:
        assert not differences(wanted[0], wanted[1]), text
        return "nothing to do"
    history = History()
    with loaded(old, folder) as live:
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
        if found and told & {"BCP211", "BCP219", "BCP521"}:
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


@pytest.mark.timeout(300)
@pytest.mark.parametrize("rare", [False, True], ids=["common", "rare"])
def test_live_equals_fresh_or_it_is_said(rare: bool) -> None:
    outcomes: Counter[str] = Counter()
    for number in range(120):
        check(Random(number), outcomes, rare=rare)
    assert outcomes["live"] > outcomes["refused by the build"] / 4
    assert outcomes["told"] < outcomes["live"] / 8


@pytest.mark.parametrize("number", [80700, 81346, 91499])
def test_edits_that_went_wrong_once(number: int) -> None:
    """A list of names was gone; an import came above one of all names; what a star had hidden came to light."""
    check(Random(number), Counter())
