"""Modules that are imported after their patch was applied, or once more."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import itertools
import py_compile
import runpy
import sys
import textwrap
import threading
import zipfile
from collections.abc import Iterator
from importlib import _bootstrap
from importlib.machinery import SourceFileLoader
from importlib.util import spec_from_file_location
from types import ModuleType

import msgspec
import pytest
from late import NEW_A, NEW_B, A, B, World, codes, world
from processes import SECONDS

from bcpatch import fingerprint, load
from bcpatch.diagnostics import Refused
from bcpatch.exchange import instant
from bcpatch.model import Policy
from bcpatch.process import arrivals
from bcpatch.process.arrivals import Finder
from bcpatch.status import Presence

__all__ = ["world"]


# --- pending -------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", Policy)
def test_a_module_that_is_imported_later_runs_the_new_text_from_its_first_line(world: World, policy: Policy) -> None:
    old, new = {"pa": A, "pb": "import pa\n" + B}, {"pa": NEW_A, "pb": "import pa\n" + B.replace("1", "2")}
    world.write(**old)
    new["pb"] = "import pa\n" + B.replace("return", "base = 'new'\n    return").replace('"base"', "base")
    first = world.get("pa")
    if policy is Policy.STRICT:  # import-time callers are refused
        old["pb"] = old["pb"].replace("TEXT = made()\n", "")
        new["pb"] = new["pb"].replace("TEXT = made()\n", "")
        world.write(**old)
    generation = world.apply(old, new, policy)
    assert first.value() == 2
    assert generation.pending == ("pb",)
    assert [one.code for one in generation.notes if one.code == "BCP517"] == ["BCP517"]
    assert world.presence() == {"pb": Presence.PENDING}
    late = world.get("pb")
    assert late.made() == "new"
    assert getattr(late, "TEXT", "new") == "new"
    assert world.presence() == {"pb": Presence.CARRIED}
    assert late.__spec__.loader is late.__loader__ is not None
    assert type(late.__loader__).__name__ == "SourceFileLoader"


def test_a_module_whose_file_has_the_new_text_by_then_runs_its_file(world: World) -> None:
    world.write(pb=B)
    world.apply({"pb": B}, {"pb": NEW_B}, Policy.LINKED)
    world.write(pb=NEW_B)
    late = world.get("pb")
    assert late.TEXT == "new"
    assert late.made.__code__.co_filename == late.__file__
    assert world.presence() == {"pb": Presence.DISK}
    world.rollback(0)


@pytest.mark.parametrize("disk", [0, 1, 2])
def test_several_patches_of_a_module_that_is_not_imported(world: World, disk: int) -> None:
    texts = [B, NEW_B, B.replace("base", "newest")]
    world.write(pb=B)
    for old, new in itertools.pairwise(texts):
        world.apply({"pb": old}, {"pb": new}, Policy.LINKED)
    world.write(pb=texts[disk])
    assert world.get("pb").TEXT == "newest"
    assert world.presence() == {"pb": Presence.DISK if disk == 2 else Presence.CARRIED}


def test_a_patch_must_follow_the_text_that_is_pending(world: World) -> None:
    world.write(pb=B)
    world.apply({"pb": B}, {"pb": NEW_B}, Policy.LINKED)
    with pytest.raises(Refused) as refused:
        world.apply({"pb": B}, {"pb": B.replace("base", "other")}, Policy.LINKED)
    assert codes(refused) == ["BCP516"]
    world.apply({"pb": B}, {"pb": NEW_B}, Policy.LINKED)
    assert world.get("pb").TEXT == "new"


def test_a_file_that_is_neither_the_base_nor_the_new_text(world: World) -> None:
    other = B.replace("base", "other")
    world.write(pb=other)
    with pytest.raises(Refused) as refused:
        world.apply({"pb": B}, {"pb": NEW_B}, Policy.LINKED)
    assert codes(refused) == ["BCP516"]
    assert world.hooks == 0
    world.write(pb=B)
    world.apply({"pb": B}, {"pb": NEW_B}, Policy.LINKED)
    world.write(pb=other)
    with pytest.raises(ImportError, match="BCP516") as failed:
        world.get("pb")
    assert failed.value.name == "pb"
    assert isinstance(failed.value.__cause__, Refused)
    assert "pb" not in sys.modules
    world.write(pb=B)
    assert world.get("pb").TEXT == "new"


def test_a_module_that_the_process_can_not_find(world: World) -> None:
    with pytest.raises(Refused) as refused:
        world.apply({"nowhere": B}, {"nowhere": NEW_B}, Policy.LINKED)
    assert codes(refused) == ["BCP501"]


def test_without_a_base_nothing_can_be_pending(world: World) -> None:
    world.write(pb=B)
    with pytest.raises(Refused) as refused:
        world.apply({}, {"pb": A})
    assert codes(refused) == ["BCP501"]


# --- generations ---------------------------------------------------------------------------------


def test_a_rollback_drops_what_is_pending_and_forward_is_not_there_without_it(world: World) -> None:
    world.write(pb=B)
    assert world.hooks == 0
    world.apply({"pb": B}, {"pb": NEW_B}, Policy.LINKED)
    assert world.hooks == 1
    world.rollback(0)
    assert (world.hooks, world.presence()) == (0, {})
    world.rollback(1)
    assert world.hooks == 1
    world.rollback(0)
    assert world.get("pb").TEXT == "base"
    with pytest.raises(Refused) as refused:
        world.rollback(1)
    assert codes(refused) == ["BCP613"]
    assert world.history.current == 0
    world.apply({"pb": B}, {"pb": NEW_B.replace("TEXT = made()", "TEXT = made()")}, Policy.LINKED)
    assert world.get("pb").made() == "new"


def test_there_is_no_way_back_for_what_was_imported_with_the_text_of_a_patch(world: World) -> None:
    world.write(pa=A, pb=B)
    first = world.get("pa")
    world.apply({"pa": A, "pb": B}, {"pa": NEW_A, "pb": NEW_B}, Policy.LINKED)
    late = world.get("pb")
    with pytest.raises(Refused) as refused:
        world.rollback(0)
    assert codes(refused) == ["BCP613"]
    assert (first.value(), late.made(), world.history.current) == (2, "new", 1)
    world.apply({"pa": NEW_A, "pb": NEW_B}, {"pa": A, "pb": B}, Policy.LINKED)
    assert (first.value(), late.made()) == (1, "base")
    world.rollback(1)
    assert (first.value(), late.made()) == (2, "new")


def test_a_module_that_arrived_is_patched_like_any_other(world: World) -> None:
    world.write(pb=B)
    world.apply({"pb": B}, {"pb": NEW_B}, Policy.LINKED)
    late = world.get("pb")
    world.apply({"pb": NEW_B}, {"pb": B.replace("base", "newest")}, Policy.LINKED)
    assert late.made() == "newest"
    world.rollback(1)
    assert late.made() == "new"
    world.rollback(2)
    assert late.made() == "newest"


def test_the_text_of_another_branch(world: World) -> None:
    world.write(pb=B)
    world.apply({"pb": B}, {"pb": NEW_B}, Policy.LINKED)
    world.rollback(0)
    world.apply({"pb": B}, {"pb": B.replace("base", "other")}, Policy.LINKED)
    assert world.get("pb").TEXT == "other"
    with pytest.raises(Refused) as refused:
        world.rollback(1)
    assert codes(refused) == ["BCP613"]


# --- strict --------------------------------------------------------------------------------------


def test_a_strict_text_that_changes_more_than_its_edits_is_not_run(world: World) -> None:
    old = A + "\nSEEN = []\n"
    world.write(pa=old)
    patch = world.build({"pa": old}, {"pa": old.replace("return 1", "return 2")})
    (part,) = patch.modules
    source = part.source + b"SEEN.append(value())\n"
    worse = msgspec.structs.replace(part, source=source, brings=fingerprint.blake(source))
    with pytest.raises(Refused) as refused:
        load.apply(msgspec.structs.replace(patch, modules=(worse,)), world.history)
    assert codes(refused) == ["BCP408"]
    load.apply(patch, world.history)
    assert world.get("pa").value() == 2


# --- reload, second names, other ways to execute a module ------------------------------------------


def test_loading_a_patched_module_again_gives_the_text_of_its_generation(world: World) -> None:
    world.write(pa=A)
    module = world.get("pa")
    world.apply({"pa": A}, {"pa": NEW_A})
    importlib.reload(module)
    assert module.value() == 2
    with pytest.raises(Refused) as refused:
        world.rollback(0)
    assert codes(refused) == ["BCP613"]
    world.write(pa=NEW_A)
    importlib.reload(module)
    assert module.value() == 2
    world.write(pa="print('other')\n")
    with pytest.raises(ImportError, match="BCP516"):
        importlib.reload(module)
    assert module.value() == 2


def test_the_text_of_a_loaded_module_is_not_kept_where_its_file_has_it(world: World) -> None:
    world.write(pa=A)
    module = world.get("pa")
    world.write(pa=NEW_A)
    world.apply({"pa": A}, {"pa": NEW_A})
    assert [one.source for record in world.history.records for one in record.versions] == [None]
    importlib.reload(module)
    assert module.value() == 2
    world.write(pa=A)
    with pytest.raises(ImportError, match="BCP516"):
        importlib.reload(module)
    assert module.value() == 2


def test_a_patched_module_that_is_imported_anew_runs_the_text_of_its_generation(world: World) -> None:
    world.write(pa=A)
    world.get("pa")
    world.apply({"pa": A}, {"pa": NEW_A})
    del sys.modules["pa"]
    assert world.get("pa").value() == 2


def test_a_program_that_is_imported_by_its_name_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write(pa=A)
    main = ModuleType("__main__")
    main.__file__ = str(world.folder / "pa.py")
    main.__spec__ = None
    exec(compile(A, main.__file__, "exec", dont_inherit=True), vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    world.apply({"pa": A}, {"pa": NEW_A})
    assert (vars(main)["value"](), world.get("pa").value()) == (2, 2)


def test_a_module_that_is_run_as_a_program(world: World) -> None:
    world.write(pb=B)
    world.apply({"pb": B}, {"pb": NEW_B}, Policy.LINKED)
    assert runpy.run_module("pb")["TEXT"] == "new"


def test_a_compiled_file_is_not_asked(world: World) -> None:
    world.write(pb=B)
    file = world.folder / "pb.py"
    py_compile.compile(str(file), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    world.apply({"pb": B}, {"pb": NEW_B}, Policy.LINKED)
    assert world.get("pb").TEXT == "new"


def test_lines_and_sources_are_those_that_run(world: World) -> None:
    world.write(pb=B)
    world.apply({"pb": B}, {"pb": "\n\n" + NEW_B}, Policy.LINKED)
    late = world.get("pb")
    assert inspect.getsource(late.made) == 'def made():\n    return "new"\n'
    assert late.__file__ == str(world.folder / "pb.py")


def test_a_module_that_has_put_another_object_in_its_place_is_not_one_that_is_yet_to_come(world: World) -> None:
    text = "import sys\nclass Api:\n    def f(self):\n        return 'old'\nsys.modules[__name__] = Api()\n"
    world.write(pb=text)
    api = world.get("pb")
    with pytest.raises(Refused) as refused:
        world.apply({"pb": text}, {"pb": text.replace("old", "new")}, Policy.LINKED)
    assert codes(refused) == ["BCP523"]
    assert (world.get("pb"), api.f()) == (api, "old")


# --- other loaders -------------------------------------------------------------------------------


def test_a_module_in_an_archive(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = world.folder / "all.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("pz.py", textwrap.dedent(B))
    monkeypatch.syspath_prepend(str(archive))
    world.apply({"pz": B}, {"pz": NEW_B}, Policy.LINKED)
    assert world.get("pz").TEXT == "new"


def test_a_compiled_module_without_its_source(world: World) -> None:
    world.write(pb=B)
    file = world.folder / "pb.py"
    py_compile.compile(str(file), cfile=str(world.folder / "pb.pyc"))
    file.unlink()
    with pytest.raises(Refused) as refused:
        world.apply({"pb": B}, {"pb": NEW_B}, Policy.LINKED)
    assert codes(refused) == ["BCP518"]


def test_a_loader_that_may_rewrite_what_it_loads(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Rewriting(SourceFileLoader):
        pass

    class Other(Finder):
        def find_spec(self, name, path=None, target=None):
            file = str(world.folder / "pb.py")
            return spec_from_file_location(name, file, loader=Rewriting(name, file)) if name == "pb" else None

    class Plain:
        find_spec = Other(world.history).find_spec

    world.write(pb=B)
    monkeypatch.setattr(sys, "meta_path", [Plain, *sys.meta_path])
    world.apply({"pb": B}, {"pb": NEW_B}, Policy.LINKED)
    with pytest.raises(ImportError, match=r"BCP518.*\n.*Rewriting"):
        world.get("pb")
    assert world.presence() == {"pb": Presence.PENDING}
    sys.meta_path.insert(0, Plain)
    assert world.get("pb").TEXT == "base"
    assert world.presence() == {"pb": Presence.BYPASSED}


# --- packages ------------------------------------------------------------------------------------


def test_modules_of_a_package_that_is_not_imported(world: World) -> None:
    old = {"pk": "from .pb import TEXT\n", "pk__pb": B}
    new = {"pk": "from .pb import TEXT\n\nWHO = 1\n", "pk__pb": NEW_B}
    world.write(**old)
    world.apply(old, new, Policy.LINKED)
    package = world.get("pk")
    assert (package.TEXT, package.WHO, package.pb.TEXT) == ("new", 1, "new")
    assert package.__path__ == [str(world.folder / "pk")]


def test_a_module_of_a_package_that_is_imported(world: World) -> None:
    world.write(pk="", pk__pb=B)
    package = world.get("pk")
    world.apply({"pk__pb": B}, {"pk__pb": NEW_B}, Policy.LINKED)
    assert world.get("pk.pb").TEXT == "new"
    assert package.pb is sys.modules["pk.pb"]


# --- imports under way -----------------------------------------------------------------------------


@contextlib.contextmanager
def importing(world: World, name: str, at: str) -> Iterator[None]:
    """Another thread is in the middle of an import, ``at`` its search or its execution, for as long as this lasts."""
    reached, go_on = threading.Event(), threading.Event()
    raised: list[BaseException] = []

    def stop() -> None:
        reached.set()
        assert go_on.wait(SECONDS)

    class Searching:
        @staticmethod
        def find_spec(wanted, path=None, target=None):
            if wanted == name and threading.current_thread() is thread:
                stop()

    def run() -> None:
        try:
            world.get(name)
        except ImportError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    if at == "search":
        sys.meta_path.insert(0, Searching)
    else:
        sys.modules["gate"] = gate = ModuleType("gate")
        vars(gate)["stop"] = stop
    thread.start()
    try:
        assert reached.wait(SECONDS)
        yield
    finally:
        go_on.set()
        thread.join(SECONDS)
    assert raised == []


GATED = "import gate\ngate.stop()\n" + B


@pytest.mark.parametrize("at", ["search", "execution"])
def test_a_module_that_another_thread_is_importing_is_not_patched_meanwhile(
    world: World, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instant, "PATIENCE", 0.02)
    text = GATED if at == "execution" else B
    new = text.replace("base", "new")
    world.write(pa=A, pb=text)
    first = world.get("pa")
    with importing(world, "pb", at):
        with pytest.raises(Refused) as refused:
            world.apply({"pa": A, "pb": text}, {"pa": NEW_A, "pb": new}, Policy.LINKED)
        assert codes(refused) == ["BCP519"]
        assert (first.value(), world.hooks) == (1, 0)
    assert world.get("pb").TEXT == "base"
    world.apply({"pa": A, "pb": text}, {"pa": NEW_A, "pb": new}, Policy.LINKED)
    assert (first.value(), world.get("pb").made()) == (2, "new")


def test_a_module_that_was_imported_since_it_was_linked(world: World) -> None:
    """It has its old text, and nothing was looked for in it."""
    hook = "\n\ndef __bcpatch_update__(update):\n    if update.phase == 'before':\n        import pb\n"
    world.write(pa=A + hook, pb=B)
    first = world.get("pa")
    change = {"pa": A + hook, "pb": B}, {"pa": NEW_A + hook, "pb": NEW_B}
    with pytest.raises(Refused) as refused:
        world.apply(*change, Policy.LINKED)
    assert codes(refused) == ["BCP608"]
    assert (first.value(), world.history.current, world.get("pb").made()) == (1, 0, "base")
    world.apply(*change, Policy.LINKED)
    assert (first.value(), world.get("pb").made()) == (2, "new")


def test_an_import_that_has_failed_is_no_import_under_way(world: World) -> None:
    """What it raised may be kept, and its frames keep importlib's lock alive."""
    world.write(pb="1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        world.get("pb")
    lock = vars(_bootstrap)["_get_module_lock"]("pb")
    world.write(pb=B)
    world.apply({"pb": B}, {"pb": NEW_B}, Policy.LINKED)
    assert lock.owner is None
    assert world.get("pb").TEXT == "new"


def test_no_rollback_while_a_pending_module_is_being_imported(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instant, "PATIENCE", 0.02)
    world.write(pb=GATED)
    world.apply({"pb": GATED}, {"pb": GATED.replace("base", "new")}, Policy.LINKED)
    with importing(world, "pb", "execution"):
        for change in (
            lambda: world.rollback(0),
            lambda: world.apply({"pb": GATED.replace("base", "new")}, {"pb": GATED}, Policy.LINKED),
        ):
            with pytest.raises(Refused) as refused:
                change()
            assert "BCP519" in codes(refused)
    assert (world.get("pb").TEXT, world.history.current) == ("new", 1)


def test_a_patch_that_is_applied_from_within_the_import_of_its_module(world: World) -> None:
    caught: list[Refused] = []

    def apply() -> None:
        try:
            world.apply({"pb": text}, {"pb": text.replace("base", "new")}, Policy.LINKED)
        except Refused as refused:
            caught.append(refused)

    sys.modules["gate"] = gate = ModuleType("gate")
    vars(gate)["stop"] = apply
    text = GATED
    world.write(pb=text)
    assert world.get("pb").TEXT == "base"
    assert "BCP519" in [one.code for one in caught[0].diagnostics]


def test_imports_race_with_rollbacks(world: World) -> None:
    """Whatever an import meets, the module has one text, and its arrival says which."""
    world.write(pb=B)
    world.apply({"pb": B}, {"pb": NEW_B}, Policy.LINKED)
    gone, stop = threading.Event(), threading.Event()
    seen: list[tuple[str, str, bool]] = []

    def swap() -> None:
        while gone.wait(SECONDS) and not stop.is_set():
            gone.clear()
            with contextlib.suppress(Refused):
                world.rollback(1 - world.history.current)

    thread = threading.Thread(target=swap)
    interval = sys.getswitchinterval()
    thread.start()
    try:
        sys.setswitchinterval(1e-5)
        for _ in range(200):
            gone.set()
            module = world.get("pb")
            arrived = arrivals.arrival_of(world.history, "pb", module) is not None
            seen.append((module.TEXT, module.made(), arrived))
            del sys.modules["pb"]
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        gone.set()
        thread.join(SECONDS)
    assert set(seen) <= {("base", "base", False), ("new", "new", True)}
