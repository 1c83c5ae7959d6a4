"""Random modules, random edits: live equals fresh, or nothing has changed; and a build that says nothing was right."""

from __future__ import annotations

import gc
import sys
import tempfile
from collections import Counter
from pathlib import Path
from random import Random

import grammar
import pytest
import worlds
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from samples import source

from bcpatch import builder, load
from bcpatch.diagnostics import Refused, errors
from bcpatch.model import Module
from bcpatch.process.history import History

WORLD = Module("world", "world.py")


def check(
    rng: Random, outcomes: Counter[str], rules: Counter[str] | None = None, again: float = 0, *, rare: bool = False
) -> None:
    """One module and one edit of it; counts what came of it, and the ``rules`` that refused.

    ``again`` is how likely names are bound more than once, ``rare`` asks for rare ways to keep functions.
    """
    items = grammar.module(rng, again, rare=rare)
    old, new = grammar.written(items), grammar.written(grammar.edited(rng, items, again, rare=rare))
    client = grammar.client(rng, items)
    with tempfile.TemporaryDirectory() as folder:
        outcomes[_outcome(old, new, client, Path(folder), Counter() if rules is None else rules)] += 1


def _outcome(old: str, new: str, client: str, folder: Path, rules: Counter[str]) -> str:
    fresh = [_fresh(text, client, folder) for text in (old, new)]
    if fresh[0] is None or fresh[1] is None:
        return "not importable"
    text = f"--- old\n{old}\n--- new\n{new}\n--- client\n{client}"
    outcome = builder.compare([source(old, WORLD)], [source(new, WORLD)], policy="linked")
    if outcome.patch is None:
        assert errors(outcome.diagnostics), text
        rules.update({one.code for one in errors(outcome.diagnostics)})
        return "refused by the build"
    if not outcome.patch.modules:
        assert not [*grammar.differences(fresh[0], fresh[1])], text
        return "nothing to do"
    history = History()
    with worlds.world(old, folder) as live, worlds.world(client, folder, "client") as other:
        grammar.shown(live)
        before = worlds.portrait(live), worlds.portrait(other)
        try:
            load.apply(outcome.patch, history)
        except Refused as refused:
            rules.update({one.code for one in refused.diagnostics})
            gc.collect()
            assert (worlds.portrait(live), worlds.portrait(other)) == before, text
            return "refused by the process"
        for to, wanted in ((None, fresh[1]), (0, fresh[0]), (1, fresh[1])):
            if to is not None:
                load.rollback(history, to)
            found = [*grammar.differences({**grammar.shown(live), **_told(other)}, wanted)]
            assert not found, "\n".join([*found, text])
    return "live"


def follow(rng: Random, outcomes: Counter[str], again: float = 0, *, rare: bool = False) -> None:
    """One module and some edits of it, one after another; then to generations that it had, in any order."""
    items = grammar.module(rng, again, rare=rare)
    client = grammar.client(rng, items)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = _fresh(grammar.written(items), client, folder)
        if start is None:
            return
        history, seen, texts = History(), [start], [grammar.written(items)]
        with worlds.world(texts[0], folder) as live, worlds.world(client, folder, "client") as other:
            for _ in range(4):
                changed = grammar.edited(rng, items, again, rare=rare)
                text = grammar.written(changed)
                fresh = _beside(text, client)
                outcome = builder.compare([source(texts[-1], WORLD)], [source(text, WORLD)], policy="linked")
                if fresh is None or outcome.patch is None or not outcome.patch.modules:
                    continue
                try:
                    load.apply(outcome.patch, history)
                except Refused:
                    outcomes["refused"] += 1
                else:
                    items = changed
                    seen.append(fresh)
                    texts.append(text)
                    outcomes["live"] += 1
                _compare(live, other, seen, texts, len(seen) - 1)
            for number in rng.sample(range(len(seen)), len(seen)):
                try:
                    load.rollback(history, number)
                except Refused:
                    outcomes["refused to go back"] += 1
                    continue
                _compare(live, other, seen, texts, number)


def _beside(text: str, client: str) -> dict[str, object] | None:
    """What a module of some text shows, while the one that is patched has its name otherwise."""
    there = {name: sys.modules.pop(name) for name in ("world", "client")}
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _fresh(text, client, Path(folder))
    finally:
        sys.modules.update(there)


def _compare(live: object, other: object, seen: list[dict[str, object]], texts: list[str], number: int) -> None:
    found = [*grammar.differences({**grammar.shown(live), **_told(other)}, seen[number])]  # type: ignore[arg-type]
    assert not found, "\n".join([*found, f"--- generation {number} of", *texts])


def _fresh(text: str, client: str, folder: Path) -> dict[str, object] | None:
    try:
        with worlds.world(text, folder) as module:
            try:
                with worlds.world(client, folder, "client") as other:
                    return {**grammar.shown(module), **_told(other)}
            except ImportError:
                return grammar.shown(module)  # it would not start with this client; what is removed stays bound
    except Exception:  # noqa: BLE001 (a module that can't be imported is no version of a program)
        return None


def _told(client: object) -> dict[str, object]:
    return {"client": grammar.described(client.tell(), 4)}  # type: ignore[attr-defined]


def run(examples: int, number: int = 0, again: float = 0, *, rare: bool = False) -> Counter[str]:
    """Check some random edits, the same for the same number; what came of them."""
    outcomes: Counter[str] = Counter()

    @seed(number)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False))
    def checks(rng: Random) -> None:
        check(rng, outcomes, again=again, rare=rare)

    checks()
    return outcomes


@pytest.mark.timeout(300)
@pytest.mark.parametrize("rare", [False, True], ids=["common", "rare"])
@pytest.mark.parametrize("again", [0, 0.3], ids=["names bound once", "names bound again"])
def test_live_equals_fresh_or_nothing_changed(again: float, rare: bool) -> None:
    outcomes = run(25, again=again, rare=rare)
    assert outcomes["live"] > outcomes["refused by the build"] / 8


@pytest.mark.parametrize("number", [408, 709, 1000436])
def test_edits_that_went_wrong_once(number: int) -> None:
    check(Random(number), Counter())


@pytest.mark.timeout(300)
def test_any_generation_of_some_edits_equals_a_fresh_process() -> None:
    outcomes: Counter[str] = Counter()
    for number in range(24):
        follow(Random(number), outcomes, again=0.1, rare=True)
    assert outcomes["live"] > 2 * outcomes["refused"]


@pytest.mark.parametrize(("number", "again"), [(9192, 0.1), (31128263, 0.15), (7770001346, 0.15)])
def test_edits_in_a_row_that_went_wrong_once(number: int, again: float) -> None:
    """9192: of lambdas that did the same, one was told by what an earlier generation had brought to its number.

    31128263: of two ``if`` that bind one name, one changed and came to stand behind the other, which was not seen.
    7770001346: a static method's documentation stayed what a later generation had made of it (3.13+).
    """
    follow(Random(number), Counter(), again, rare=True)
