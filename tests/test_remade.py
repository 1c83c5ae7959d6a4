"""What the application has made anew, by a reload or by hand, is never taken for what a patch switched."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import worlds
from test_locate import DECORATORS, TOLD, Kind, load_again

from bcpatch import apply, load
from bcpatch.diagnostics import Refused, errors
from bcpatch.process.history import History


@pytest.fixture
def history() -> History:
    return History()


@pytest.fixture
def elsewhere() -> Iterator[Any]:
    """Another module, in which the application may hold what it likes; no garbage is collected meanwhile."""
    sys.modules["elsewhere"] = made = ModuleType("elsewhere")
    gc.disable()
    yield made
    gc.enable()
    del sys.modules["elsewhere"]


def back(history: History, to: int) -> None:
    with history.exclusive():
        apply.rollback(history, to)


@pytest.mark.parametrize(
    ("held", "lines"), [(False, ""), (True, "\n\n")], ids=["dropped, at the same place", "held, below"]
)
@pytest.mark.parametrize("kind", TOLD, ids=[kind.name for kind in TOLD])
def test_what_the_application_has_loaded_again_is_not_what_was_switched(
    kind: Kind, held: bool, lines: str, tmp_path: Path, history: History, elsewhere: Any
) -> None:
    old = DECORATORS + kind.text + "\n"
    new, other, newer = (old.replace('"old"', value) for value in ('"new"', '"another"', '"newer"'))
    with worlds.world(old, tmp_path) as module:
        worlds.applied(old, new, history)
        if held:
            elsewhere.kept = dict(vars(module))
        load_again(module, lines + other)
        with pytest.raises(Refused) as refused:
            back(history, 0)
        assert [one.code for one in refused.value.diagnostics] == ["BCP608"]
        with pytest.raises(Refused) as refused:
            worlds.applied(new, newer, history)
        assert [one.code for one in errors(refused.value.diagnostics)] == ["BCP504"]
        assert (eval(kind.call, vars(module)), history.current) == ("another", 1)


@pytest.mark.parametrize("kind", TOLD, ids=[kind.name for kind in TOLD])
def test_what_was_loaded_again_with_the_text_that_runs_is_another_one_too(
    kind: Kind, tmp_path: Path, history: History, elsewhere: Any
) -> None:
    old = DECORATORS + kind.text + "\n"
    new = old.replace('"old"', '"new"')
    with worlds.world(old, tmp_path) as module:
        worlds.applied(old, new, history)
        elsewhere.kept = dict(vars(module))
        load_again(module, new)
        with pytest.raises(Refused) as refused:
            back(history, 0)
        assert [one.code for one in refused.value.diagnostics] == ["BCP608"]
        assert eval(kind.call, vars(module)) == "new"


@pytest.mark.parametrize("kind", TOLD, ids=[kind.name for kind in TOLD])
def test_what_is_held_elsewhere_too_goes_back_and_forth(
    kind: Kind, tmp_path: Path, history: History, elsewhere: Any
) -> None:
    old = DECORATORS + kind.text + "\n"
    with worlds.world(old, tmp_path) as module:
        elsewhere.kept = dict(vars(module))
        worlds.applied(old, old.replace('"old"', '"new"'), history)
        for to, value in ((0, "old"), (1, "new")):
            back(history, to)
            assert eval(kind.call, vars(module)) == value


DEAD = """
import sys
kept = []
if sys.maxsize < 3:
    kept.append(lambda: {0})
kept.append(lambda: 2)
"""


def test_what_an_earlier_load_left_is_not_taken_for_a_definition_that_did_not_run(
    tmp_path: Path, history: History, elsewhere: Any
) -> None:
    old, new = DEAD.format(2), DEAD.format(1)
    with worlds.world("\n" + old, tmp_path) as module:
        elsewhere.kept = list(module.kept)
        load_again(module, old)
        with pytest.raises(Refused) as refused:
            worlds.applied(old, new, history)
        assert [one.code for one in errors(refused.value.diagnostics)] == ["BCP503"]
        assert [one() for one in (*module.kept, *elsewhere.kept)] == [2, 2]


REGISTERED = """
import elsewhere

def register(function):
    elsewhere.known.append(function)

@register
def _(): return {0}

@register
def _(): return "last"
"""


def test_what_only_another_module_holds_goes_back(tmp_path: Path, history: History, elsewhere: Any) -> None:
    elsewhere.known = []
    with worlds.world(REGISTERED.format(1), tmp_path):
        worlds.applied(REGISTERED.format(1), REGISTERED.format(2), history)
        back(history, 0)
        assert [one() for one in elsewhere.known] == [1, "last"]


def test_what_only_another_module_holds_and_was_made_again_does_not(
    tmp_path: Path, history: History, elsewhere: Any
) -> None:
    elsewhere.known = []
    with worlds.world(REGISTERED.format(1), tmp_path) as module:
        worlds.applied(REGISTERED.format(1), REGISTERED.format(2), history)
        load_again(module, REGISTERED.format(2))
        with pytest.raises(Refused) as refused:
            back(history, 0)
        assert [one.code for one in refused.value.diagnostics] == ["BCP608"]
        assert [one() for one in elsewhere.known] == [2, "last"] * 2


@pytest.mark.parametrize(
    ("lines", "again", "outcome"),
    [("", "return 2", [3, 3]), ("\n", "return 2", ["BCP503"]), ("", "return 9", ["BCP504"])],
    ids=["the same", "on other lines", "another one"],
)
def test_a_patch_finds_all_that_only_another_module_holds(
    lines: str, again: str, outcome: list[object], tmp_path: Path, history: History, elsewhere: Any
) -> None:
    text = "import elsewhere\n@elsewhere.known.append\ndef _(): {}\n"
    elsewhere.known = []
    with worlds.world(text.format("return 1"), tmp_path) as module:
        worlds.applied(text.format("return 1"), text.format("return 2"), history)
        load_again(module, lines + text.format(again))
        found: list[object] = []
        try:
            worlds.applied(text.format("return 2"), text.format("return 3"), history)
        except Refused as refused:
            found = [one.code for one in errors(refused.diagnostics)]
        assert (found or [one() for one in elsewhere.known]) == outcome


def test_a_definition_that_another_of_its_name_hides_goes_back(tmp_path: Path, history: History) -> None:
    text = "table = []\ndef f(): return {}\ntable.append(f)\ndef f(): return 'last'"
    with worlds.world(text.format(1), tmp_path) as module:
        worlds.applied(text.format(1), text.format(2), history)
        back(history, 0)
        assert (module.table[0](), module.f()) == (1, "last")


def test_what_a_patch_has_removed_bars_no_way(tmp_path: Path, history: History) -> None:
    """It stays bound, and no text has it any more."""
    texts = ["gone = lambda: 0\nf = lambda: 1\n", "f = lambda: 1\n", "f = lambda: 2\n", "f = lambda: 3\n"]
    with worlds.world(texts[0], tmp_path) as module:
        for before, after in pairwise(texts):
            load.apply(worlds.linked(before, after), history)
        assert (module.gone(), module.f()) == (0, 3)
        for to, value in ((2, 2), (1, 1), (3, 3), (0, 1)):
            load.rollback(history, to)
            assert (module.gone(), module.f()) == (0, value)


def test_what_others_made_in_a_module_bars_no_way(tmp_path: Path, history: History) -> None:
    """It has another file."""
    text = "class C:\n    f = lambda self: {}\n"
    with worlds.world(text.format(1), tmp_path) as module:
        exec("class C(C):\n    g = lambda self: 0", vars(module))
        worlds.applied(text.format(1), text.format(2), history)
        back(history, 0)
        assert module.C().f() == 1


KEY = "x = sorted([2, 1], key=lambda v: v)\nf = lambda v: {}\n"
BRANCH = "if 1: f = lambda v: {}\nelse: f = lambda v: v\n"
BELOW = "class C:\n    f = lambda v: {}\n    sorted([2, 1], key=lambda v: v)\nf = C.f\n"


@pytest.mark.parametrize("text", [KEY, BRANCH, BELOW], ids=["a key", "a branch", "in a class"])
def test_what_left_nothing_behind_does_not_account_for_what_was_loaded_again(
    text: str, tmp_path: Path, history: History, elsewhere: Any
) -> None:
    """The text defines a lambda twice, and one of them is no longer there, or never was."""
    old, new = text.format(1), text.format("v")
    with worlds.world(old, tmp_path) as module:
        load.apply(worlds.linked(old, new), history)
        elsewhere.kept = dict(vars(module))
        load.rollback(history, 0)
        load.rollback(history, 1)
        assert module.f(5) == 5
        load_again(module, new)
        with pytest.raises(Refused) as refused:
            load.rollback(history, 0)
        assert [one.code for one in refused.value.diagnostics] == ["BCP608"]


def test_what_only_another_module_holds_goes_back_beside_others_that_do_the_same(
    tmp_path: Path, history: History, elsewhere: Any
) -> None:
    """Their lines tell which is which."""
    elsewhere.known = []
    text = "import elsewhere\nelsewhere.known.append(lambda: {})\nelsewhere.known.append(lambda: 2)\n"
    with worlds.world(text.format(1), tmp_path):
        load.apply(worlds.linked(text.format(1), text.format(2)), history)
        for to, values in ((0, [1, 2]), (1, [2, 2])):
            load.rollback(history, to)
            assert [one() for one in elsewhere.known] == values


def test_a_list_that_has_what_came_before_a_reload_does_not_go_back_in_part(tmp_path: Path, history: History) -> None:
    text = "kept = globals().get('kept', [])\nkept.append(lambda: {})\n"
    with worlds.world(text.format(1), tmp_path) as module:
        load.apply(worlds.linked(text.format(1), text.format(2)), history)
        load_again(module, text.format(2))
        with pytest.raises(Refused) as refused:
            load.rollback(history, 0)
        assert [one.code for one in refused.value.diagnostics] == ["BCP608"]
        load.apply(worlds.linked(text.format(2), text.format(3)), history)
        assert [one() for one in module.kept] == [3, 3]


@pytest.mark.parametrize("kind", TOLD, ids=[kind.name for kind in TOLD])
def test_what_was_loaded_again_from_other_lines_and_patched_and_loaded_again_is_another_one(
    kind: Kind, tmp_path: Path, history: History, elsewhere: Any
) -> None:
    """What its file shows is not known then."""
    old = DECORATORS + kind.text + "\n"
    new = old.replace('"old"', '"new"')
    with worlds.world(old, tmp_path) as module:
        load_again(module, "\n" + old)
        gc.collect()
        worlds.applied(old, new, history)
        back(history, 0)
        elsewhere.kept = dict(vars(module))
        load_again(module, old)
        with pytest.raises(Refused) as refused:
            back(history, 1)
        assert {one.code for one in refused.value.diagnostics} == {"BCP608"}
        assert eval(kind.call, vars(module)) == "old"


@pytest.mark.parametrize("kind", TOLD, ids=[kind.name for kind in TOLD])
@pytest.mark.parametrize("newer", ["newer", "old"])
def test_what_came_in_between_goes_back_with_the_others_of_its_site(
    kind: Kind, newer: str, tmp_path: Path, history: History, elsewhere: Any
) -> None:
    """What was there before was changed by the first generation, and what is there now by the second alone."""
    texts = [DECORATORS + kind.text.replace('"old"', f'"{value}"') + "\n" for value in ("old", "new", newer)]
    with worlds.world(texts[0], tmp_path) as module:
        worlds.applied(texts[0], texts[1], history)
        elsewhere.kept = dict(vars(module))
        load_again(module, texts[1])
        try:
            worlds.applied(texts[1], texts[2], history)
        except Refused:
            assert eval(kind.call, vars(module)) == "new"
            return
        for number in (0, 2, 1, 0, 1, 2, 0):
            back(history, number)
            assert eval(kind.call, vars(module)) == ("old", "new", newer)[number]


def test_what_came_in_between_does_not_go_back_to_defaults_that_were_never_its_own(
    tmp_path: Path, history: History, elsewhere: Any
) -> None:
    """The default that the first generation replaced was another object, which nothing tells from this one's."""
    texts = [f"def f(a=[{first}]):\n    return a, {second}\n" for first, second in ((1, 1), (2, 2), (2, 3))]
    with worlds.world(texts[0], tmp_path) as module:
        worlds.applied(texts[0], texts[1], history)
        elsewhere.kept = dict(vars(module))
        load_again(module, texts[1])
        worlds.applied(texts[1], texts[2], history)
        with pytest.raises(Refused) as refused:
            back(history, 0)
        assert {one.code for one in refused.value.diagnostics} == {"BCP608"}
        assert module.f() == ([2], 3)
        back(history, 1)
        assert module.f() == ([2], 2)


def test_what_nested_code_made_is_in_each_generation_what_that_says_of_it(
    tmp_path: Path, history: History, elsewhere: Any
) -> None:
    """Of two functions of one maker that did the same once, the second has changed: twice, in two loads."""
    text = "kept = []\ndef make():\n    f = lambda: 1\n    return f, (lambda: {})\nkept += make()\n"
    old, new = text.format(2), text.format(1)
    with worlds.world(old, tmp_path) as module:
        load.apply(worlds.linked(old, new), history)
        back(history, 0)
        elsewhere.kept = dict(vars(module))
        load_again(module, old)
        load.apply(worlds.linked(old, new), history)
        for number, expected in ((1, [1, 1]), (0, [1, 2]), (2, [1, 1])):
            back(history, number)
            assert [one() for one in (*module.kept, *module.make())] == expected * 2


SHIFTED = {
    "above": ("{}f = lambda: 1\ng = lambda: {}\n", "h = lambda: 5\n", "f(), g()"),
    "in a class": (
        "class C:\n{}    f = lambda self: 1\n    g = lambda self: {}\n",
        "    h = lambda self: 5\n",
        "C().f(), C().g()",
    ),
}


@pytest.mark.parametrize(("text", "more", "call"), SHIFTED.values(), ids=SHIFTED)
@pytest.mark.parametrize("again", [False, True], ids=["", "loaded again"])
def test_a_turn_that_was_another_ones_is_not_mistaken_for_it(
    text: str, more: str, call: str, again: bool, tmp_path: Path, history: History, elsewhere: Any
) -> None:
    """What is the second lambda in the end was the first one, and a generation has changed the second one of then."""
    texts = [text.format("", 2), text.format("", 3), text.format(more, 3)]
    texts.append(texts[-1].replace(": 1", ": 9"))
    told = []
    with worlds.world(texts[0], tmp_path) as module:
        for number, (old, new) in enumerate(pairwise(texts)):
            told.append(eval(call, vars(module)))
            if again and number == 2:
                elsewhere.kept = dict(vars(module))
                load_again(module, old)
            load.apply(worlds.linked(old, new), history)
        told.append(eval(call, vars(module)))
        for to in (0, 3, 2, 1, 3, 0, 1, 3):
            with suppress(Refused) if again else nullcontext():
                load.rollback(history, to)
            assert eval(call, vars(module)) == told[history.current]


@pytest.mark.parametrize("again", ["loaded again", "imported again"])
def test_who_has_other_defaults_alone_is_looked_for_as_who_has_other_code(
    again: str, tmp_path: Path, history: History, elsewhere: Any
) -> None:
    texts = [f"def f(a={first}): return a, {second}\n" for first, second in ((1, 1), (1, 2), (2, 2))]
    with worlds.world(texts[0], tmp_path) as module:
        for old, new in pairwise(texts):
            (tmp_path / "world.py").write_text(new)  # code of one name is the same as long as the file shows its lines
            worlds.applied(old, new, history)
        elsewhere.kept = dict(vars(module))
        if again == "loaded again":
            load_again(module, texts[2])
        else:
            module = worlds.imported(texts[2], tmp_path)
        with pytest.raises(Refused) as refused:
            back(history, 1)
        assert {one.code for one in refused.value.diagnostics} == {"BCP608"}
        assert module.f() == (2, 2)
