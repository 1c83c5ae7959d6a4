"""Modules that a patch brings: found, undone and rolled back with it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import threading
from types import ModuleType

import msgspec
import pytest
from late import NEW_A, NEW_B, B, World, codes, world
from processes import SECONDS

from bcpatch import apply as apply_module
from bcpatch import load
from bcpatch.diagnostics import Refused
from bcpatch.exchange import instant, prepare
from bcpatch.model import Policy
from bcpatch.process.history import History
from bcpatch.process.records import Generation
from bcpatch.status import Presence
from bcpatch.verify import verify

__all__ = ["world"]


# --- new modules ---------------------------------------------------------------------------------

USER = """
def value():
    return 1
"""
NEW_USER = """
import pn

def value():
    return pn.LIMIT
"""
NEW = "import os\n\nLIMIT = 7\nHERE = os.path.basename(__file__)\n\ndef other():\n    return LIMIT\n"


def new_module(world: World, new: str = NEW, name: str = "pn") -> Generation:
    user = NEW_USER.replace("pn", name.replace("__", "."))
    return world.apply({"pa": USER}, {"pa": user, name: new}, Policy.LINKED)


def fingerprint_of(*modules: ModuleType) -> tuple[object, object, object]:
    """What a failed apply must leave as it was."""
    spaces = [{key: id(value) for key, value in vars(module).items()} for module in modules]
    return spaces, set(sys.modules), list(map(id, sys.meta_path))


def test_a_new_module_travels_in_the_patch(world: World) -> None:
    world.write(pa=USER)
    user = world.get("pa")
    new_module(world)
    assert user.value() == 7
    made = sys.modules["pn"]
    assert made.HERE == "pn.py"
    assert made.__file__ == str(world.folder / "pn.py")
    assert inspect.getsource(made.other).startswith("def other")
    assert world.presence() == {"pn": Presence.CARRIED}
    world.rollback(0)
    assert user.value() == 1
    assert "pn" not in sys.modules
    with pytest.raises(ModuleNotFoundError):
        world.get("pn")
    world.rollback(1)
    assert sys.modules["pn"] is made
    assert user.value() == 7


def test_a_new_module_that_nothing_imports_yet(world: World) -> None:
    world.write(pa=USER)
    world.get("pa")
    lazy = "def value():\n    from pn import LIMIT\n    return LIMIT\n"
    generation = world.apply({"pa": USER}, {"pa": lazy, "pn": NEW}, Policy.LINKED)
    assert generation.pending == ("pn",)
    assert world.presence() == {"pn": Presence.PENDING}
    assert world.get("pa").value() == 7
    assert world.presence() == {"pn": Presence.CARRIED}
    world.rollback(0)
    assert "pn" not in sys.modules
    world.rollback(1)
    assert world.get("pa").value() == 7


def test_a_new_module_changes_like_any_other(world: World) -> None:
    world.write(pa=USER)
    user = world.get("pa")
    new_module(world)
    newer = NEW.replace("return LIMIT", "return -LIMIT")
    world.apply({"pn": NEW}, {"pn": newer}, Policy.LINKED)
    assert sys.modules["pn"].other() == -7
    world.rollback(1)
    assert sys.modules["pn"].other() == 7
    world.rollback(0)
    assert ("pn" in sys.modules, user.value()) == (False, 1)
    world.rollback(2)
    assert sys.modules["pn"].other() == -7


def test_a_new_package_and_modules_in_it(world: World) -> None:
    world.write(pa=USER)
    user = world.get("pa")
    new = {
        "pk": "from .inner import LIMIT\n",
        "pk__inner": "from . import deep\nLIMIT = deep.X\n",
        "pk__deep": "X = 9\n",
    }
    world.apply({"pa": USER}, {"pa": NEW_USER.replace("pn", "pk"), **new}, Policy.LINKED)
    assert user.value() == 9
    assert sys.modules["pk"].deep is sys.modules["pk.deep"]
    world.rollback(0)
    assert [name for name in sys.modules if name.partition(".")[0] == "pk"] == []
    world.rollback(1)
    assert (user.value(), sys.modules["pk"].inner.LIMIT) == (9, 9)


def test_a_new_module_in_a_package_that_is_there(world: World) -> None:
    world.write(pa=USER, pk="")
    world.get("pa")
    package = world.get("pk")
    before = fingerprint_of(package)
    world.apply(
        {"pa": USER},
        {"pa": USER.replace("return 1", "import pk.pn\n    return pk.pn.LIMIT"), "pk__pn": NEW},
        Policy.LINKED,
    )
    assert world.get("pa").value() == 7
    assert package.pn.HERE == "pn.py"
    world.rollback(0)
    assert not hasattr(package, "pn")
    assert fingerprint_of(package)[0] == before[0]


def test_a_renamed_module_is_a_new_one_and_one_that_stays_loaded(world: World) -> None:
    old = {"pa": "import pb\n\ndef value():\n    return pb.made()\n", "pb": B}
    world.write(**old)
    user, gone = world.get("pa"), world.get("pb")
    patch = world.build(old, {"pa": old["pa"].replace("pb", "pn"), "pn": NEW_B}, Policy.LINKED)
    load.apply(patch, world.history)
    assert (user.value(), gone.made()) == ("new", "base")


def test_a_new_module_that_the_disk_has_already(world: World) -> None:
    world.write(pa=USER, pn=NEW)
    user = world.get("pa")
    new_module(world)
    assert user.value() == 7
    assert world.presence() == {"pn": Presence.DISK}
    assert sys.modules["pn"].other.__code__.co_filename == str(world.folder / "pn.py")


def test_a_new_module_that_is_loaded_already(world: World) -> None:
    world.write(pa=USER, pn=NEW)
    user = world.get("pa")
    world.get("pn")
    new_module(world)
    assert user.value() == 7


@pytest.mark.parametrize("is_loaded", [False, True])
def test_another_module_of_the_name_of_a_new_one(world: World, is_loaded: bool) -> None:
    world.write(pa=USER, pn="LIMIT = 3\n")
    user = world.get("pa")
    if is_loaded:
        world.get("pn")
    before = fingerprint_of(user)
    with pytest.raises(Refused) as refused:
        new_module(world)
    assert codes(refused) == (["BCP513"] if is_loaded else ["BCP516"])
    assert fingerprint_of(user) == before


@pytest.mark.parametrize("new", ["import pb_that_is_not\n", "LIMIT = 1 / 0\n", "raise SystemExit\n", "import pn.x\n"])
def test_a_new_module_that_can_not_be_imported_leaves_nothing(world: World, new: str) -> None:
    world.write(pa=USER)
    user = world.get("pa")
    before = fingerprint_of(user)
    with pytest.raises(Refused) as refused:
        new_module(world, new)
    assert codes(refused) == ["BCP603"]
    assert fingerprint_of(user) == before
    assert user.value() == 1


FAULTS = {
    "a linked name": (prepare, "_reach"),
    "a function": (prepare, "_function"),
    "certainty": (apply_module, "certainty"),
    "renewal": (apply_module, "ways"),
    "the swap": (instant.swap, "exchange"),
    "the record": (History, "remember"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["pn", "pk__pn"])
def test_an_apply_that_fails_takes_its_new_modules_back(
    world: World, fault: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write(pa=USER, pk="")
    user, package = world.get("pa"), world.get("pk")
    before = fingerprint_of(user, package)
    came: list[bool] = []

    def fail(*arguments: object, **named: object) -> None:
        came.append(name.replace("__", ".") in sys.modules)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(*FAULTS[fault], fail)
        with pytest.raises(KeyboardInterrupt):
            new_module(world, name=name)
    assert came == [True]
    assert fingerprint_of(user, package) == before
    assert (user.value(), world.history.current) == (1, 0)
    new_module(world, name=name)
    assert user.value() == 7


def test_other_threads_do_not_find_a_new_module_before_it_is_live(world: World) -> None:
    world.write(pa=USER)
    world.get("pa")
    found: list[object] = []

    def look() -> None:
        found.append(importlib.util.find_spec("pn"))

    def ask() -> None:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join(SECONDS)

    sys.modules["gate"] = gate = ModuleType("gate")
    vars(gate)["ask"] = ask
    new = "import gate\n\ngate.ask()\nLIMIT = 7\n"
    world.apply({"pa": USER}, {"pa": "import pm\n" + NEW_USER, "pm": new, "pn": NEW}, Policy.LINKED)
    assert found == [None]
    assert world.get("pa").value() == 7


def test_what_a_new_module_imports_is_what_will_be_live(world: World) -> None:
    old = {"pa": USER, "pb": "LIMIT = 1\nOTHER = (1,)\n"}
    new = {"pa": NEW_USER, "pb": "LIMIT = 500\nOTHER = (1,)\n\ndef added():\n    return 2\n"}
    new["pn"] = "from pb import LIMIT, added\n\ndef other():\n    return LIMIT\n"
    world.write(**old)
    world.get("pb")
    user = world.get("pa")
    world.apply(old, new, Policy.LINKED)
    assert user.value() == 500
    assert (sys.modules["pn"].other(), sys.modules["pn"].added()) == (500, 2)


def test_a_new_module_that_uses_an_old_value_when_it_is_imported(world: World) -> None:
    old = {"pa": USER, "pb": "LIMIT = 1000\n"}
    new = {"pa": NEW_USER, "pb": "LIMIT = 5000\n", "pn": "from pb import LIMIT\n\nTWICE = 2 * LIMIT\n"}
    world.write(**old)
    world.get("pb")
    user = world.get("pa")
    before = fingerprint_of(user, sys.modules["pb"])
    with pytest.raises(Refused) as refused:
        world.apply(old, new, Policy.LINKED)
    assert codes(refused) == ["BCP210"]
    assert fingerprint_of(user, sys.modules["pb"]) == before


@pytest.mark.parametrize(
    "new",
    [
        "import pa\n\nX = pa.value()\n",
        "from pa import value\n\nX = value()\n",
        "from pa import value\n\nX = [*map(value, ())]\n",
        "from pa import value\n\n\n@value\ndef f(): pass\n",
        "import pa as other\n\n\ndef f():\n    return other.value()\n\n\nX = [f() for _ in range(2)]\n",
    ],
)
def test_a_new_module_that_runs_changed_functions_when_it_is_imported(world: World, new: str) -> None:
    with pytest.raises(Refused) as refused:
        world.build({"pa": USER}, {"pa": NEW_A, "pn": new}, Policy.LINKED)
    assert codes(refused) == ["BCP211"]
    world.build({"pa": USER}, {"pa": NEW_A, "pn": "import pa\n\n\ndef f():\n    return pa.value()\n"}, Policy.LINKED)


@pytest.mark.parametrize(("method", "refuses"), [("def __init_subclass__(cls)", True), ("def size(self)", False)])
def test_a_new_module_that_derives_from_a_class_runs_what_that_does_with_it(
    world: World, method: str, refuses: bool
) -> None:
    old = f"class Base:\n    {method}:\n        return 1\n"
    versions = {"pa": old}, {"pa": old.replace("1", "2"), "pn": "import pa\n\n\nclass A(pa.Base):\n    pass\n"}
    if refuses:
        with pytest.raises(Refused) as refused:
            world.build(*versions, Policy.LINKED)
        assert codes(refused) == ["BCP211"]
    else:
        assert world.build(*versions, Policy.LINKED).modules


def test_strict_leaves_new_modules_to_the_disk(world: World) -> None:
    new = {"pa": NEW_A, "pn": NEW}
    assert [part.module.name for part in world.build({"pa": USER}, new).modules] == ["pa"]
    linked = world.build({"pa": USER}, new, Policy.LINKED)
    assert [part.module.name for part in linked.modules] == ["pa", "pn"]
    assert [one.code for one in verify(msgspec.structs.replace(linked, policy=Policy.STRICT))] == ["BCP408"]


def test_a_new_module_with_a_syntax_error(world: World) -> None:
    with pytest.raises(Refused) as refused:
        world.build({"pa": USER}, {"pa": NEW_A, "pn": "def f(:\n"}, Policy.LINKED)
    assert codes(refused) == ["BCP001"]


def test_a_pending_module_that_the_patch_itself_imports(world: World) -> None:
    old, new = {"pa": USER, "pb": B}, {"pa": NEW_USER.replace("pn.LIMIT", "pb.TEXT").replace("pn", "pb"), "pb": NEW_B}
    world.write(**old)
    user = world.get("pa")
    before = fingerprint_of(user)
    worse = {**new, "pb": NEW_B + "\n\n1 / 0\n"}
    with pytest.raises(Refused) as refused:
        world.apply(old, worse, Policy.LINKED)
    assert codes(refused)
    assert fingerprint_of(user) == before
    world.apply(old, new, Policy.LINKED)
    assert (user.value(), world.presence()) == ("new", {"pb": Presence.CARRIED})


def test_a_new_module_that_puts_something_else_in_its_place(world: World) -> None:
    world.write(pa=USER)
    user = world.get("pa")
    new_module(world, "import sys, types\n\nsys.modules[__name__] = types.SimpleNamespace(LIMIT=7)\n")
    assert user.value() == 7
    world.rollback(0)
    assert "pn" not in sys.modules
    world.rollback(1)
    assert sys.modules["pn"].LIMIT == user.value() == 7


def test_a_copy_that_someone_executes_for_himself(world: World) -> None:
    world.write(pa=USER)
    world.get("pa")
    world.apply({"pa": USER}, {"pa": NEW_A, "pn": NEW}, Policy.LINKED)
    spec = importlib.util.find_spec("pn")
    assert spec is not None
    copy = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(copy)
    assert vars(copy)["LIMIT"] == 7
    assert world.presence() == {"pn": Presence.PENDING}
    world.rollback(0)
    assert importlib.util.find_spec("pn") is None
    with pytest.raises(ModuleNotFoundError):
        spec.loader.exec_module(copy)


def test_a_package_that_has_something_else_under_the_name_of_its_new_module(world: World) -> None:
    world.write(pa=USER, pk="")
    world.get("pa")
    package = world.get("pk")
    lazy = USER.replace("return 1", "import pk.pn\n    return 2")
    world.apply({"pa": USER}, {"pa": lazy, "pk__pn": NEW}, Policy.LINKED)
    assert world.get("pa").value() == 2
    mine = object()
    vars(package)["pn"] = mine
    for to in (0, 1, 0):
        world.rollback(to)
        assert vars(package)["pn"] is mine
        assert ("pk.pn" in sys.modules) == bool(to)


def test_a_function_that_a_comprehension_ran_at_import(world: World) -> None:
    text = "def f(x):\n    return x\n\n\nALL = [f(x) for x in range(3)]\n"
    with pytest.raises(Refused) as refused:
        world.build({"pa": text}, {"pa": text.replace("return x", "return -x")})
    assert codes(refused) == ["BCP211"]
