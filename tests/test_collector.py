"""The garbage collector waits while a patch is applied, and is the application's again afterwards."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import pytest
import worlds

from bcpatch import load
from bcpatch.process.collector import PER_EDIT, fewer_collections
from bcpatch.process.history import History


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[tuple[int, int, int]]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield gc.get_threshold()
    gc.set_threshold(*before)


def test_it_waits_for_as_many_objects_as_a_patch_takes(thresholds: tuple[int, int, int]) -> None:
    with fewer_collections(1000):
        assert gc.get_threshold() == (1000 * PER_EDIT, *thresholds[1:])
    assert gc.get_threshold() == thresholds


def test_after_an_error_too(thresholds: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="of the patch"), fewer_collections(1000):
        raise ValueError("of the patch")
    assert gc.get_threshold() == thresholds


def test_a_small_patch_changes_nothing(thresholds: tuple[int, int, int]) -> None:
    with fewer_collections(1):
        assert gc.get_threshold() == thresholds


def test_what_the_application_sets_meanwhile_stays() -> None:
    with fewer_collections(1000):
        gc.set_threshold(5000, 20, 20)
    assert gc.get_threshold()[0] == 5000


def test_an_application_that_never_collects_by_count_stays_so() -> None:
    gc.set_threshold(0)
    with fewer_collections(1000):
        assert gc.get_threshold()[0] == 0
    assert gc.get_threshold()[0] == 0


def test_whether_it_collects_at_all_is_left_alone() -> None:
    gc.disable()
    try:
        with fewer_collections(1000):
            gc.enable()
        assert gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the runner of the tests has threads
def test_a_child_forked_meanwhile_has_the_thresholds_of_the_application(thresholds: tuple[int, int, int]) -> None:
    with fewer_collections(1000):
        child = os.fork()
        if child == 0:
            os._exit(gc.get_threshold() != thresholds)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert gc.get_threshold()[0] == 1000 * PER_EDIT
    assert gc.get_threshold() == thresholds


def test_no_apply_nor_rollback_of_many_functions_is_stopped_by_the_collector(tmp_path: Path) -> None:
    old, new = ("".join(f"def f{one}(x):\n    return x + {more}\n" for one in range(50)) for more in (1, 2))
    patch = worlds.patch(worlds.module_patch(old, new, imports=()))
    history, passes = History(), 0

    def count(phase: str, _: object) -> None:
        nonlocal passes
        passes += phase == "start"

    with worlds.world(old, tmp_path) as module:
        gc.set_threshold(200, 1, 1)
        gc.collect()
        gc.callbacks.append(count)
        try:
            load.apply(patch, history)
            assert module.f49(0) == 2
            load.rollback(history)
            assert module.f49(0) == 1
        finally:
            gc.callbacks.remove(count)
    assert passes <= 4  # what the end of each brings back


def test_an_apply_and_a_rollback_leave_it_nothing_of_bcpatch_to_collect(tmp_path: Path) -> None:
    text = "import os\nV = {0}\nclass C:\n    f = lambda self: {0}\ndef g():\n    def k(): return {0}\n    return k\n"
    history, patch = History(), worlds.linked(text.format(0), text.format(1))
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.disable()
    try:
        with worlds.world(text.format(0), tmp_path):
            load.apply(patch, history)
            load.rollback(history, 0)
            gc.collect()
        found = [one for one in gc.garbage if isinstance(one, FunctionType) and one.__module__.startswith("bcpatch.")]
        assert found == []
    finally:
        gc.enable()
        gc.set_debug(0)
        gc.garbage.clear()
