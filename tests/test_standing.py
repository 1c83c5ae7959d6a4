"""What a process tells of its patched functions, and of the calls that still run older code."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path
from typing import Any

import worlds

from bcpatch import apply
from bcpatch.process.history import History

TEXT = """
def blocked(entered, event):
    entered.set()
    event.wait()
    return "old"

def numbers():
    yield "old"
    yield "old"

async def waiting(event):
    await event.wait()
    return "old"

def quick():
    return "old"
"""
NEW = TEXT.replace('"old"', '"new"')


def test_generations_of_sites(tmp_path: Path) -> None:
    history = History()
    newer = NEW.replace('quick():\n    return "new"', 'quick():\n    return "newer"')
    with worlds.world(TEXT, tmp_path) as module:
        worlds.applied(TEXT, NEW, history)
        worlds.applied(NEW, newer, history)
        assert [(one.site.qualname, one.generation) for one in apply.sites(history)] == [
            ("blocked", 1),
            ("numbers", 1),
            ("quick", 2),
            ("waiting", 1),
        ]
        with history.exclusive():
            apply.rollback(history, 1)
        assert [one.generation for one in apply.sites(history)] == [1, 1, 1, 1]
        with history.exclusive():
            apply.rollback(history, 0)
        assert [one.generation for one in apply.sites(history)] == [0, 0, 0, 0]
        quick = apply.sites(history)[2]
        assert (quick.file, quick.line) == (str(module.__file__), 15)


def test_calls_on_older_code_are_told(tmp_path: Path) -> None:
    history = History()

    async def main(module: Any) -> None:
        task = asyncio.create_task(module.waiting(asyncio.Event()), name="the task")
        await asyncio.sleep(0)
        generator = module.numbers()
        next(generator)
        entered, event = threading.Event(), threading.Event()
        thread = threading.Thread(target=module.blocked, args=(entered, event), name="worker", daemon=True)
        thread.start()
        entered.wait()
        worlds.applied(TEXT, NEW, history)
        found = {
            one.site.qualname: [(call.generation, call.holder, call.line) for call in one.flights]
            for one in apply.sites(history)
        }
        assert found == {
            "blocked": [(0, "thread worker", 4)],
            "numbers": [(0, "generator", 8)],
            "quick": [],
            "waiting": [(0, "task the task", 12)],
        }
        event.set()
        thread.join()
        generator.close()
        task.cancel()

    with worlds.world(TEXT, tmp_path) as module:
        asyncio.run(main(module))
        assert not any(one.flights for one in apply.sites(history))


def test_a_suspended_call_that_the_collector_has_frozen_is_told(tmp_path: Path) -> None:
    history = History()
    with worlds.world(TEXT, tmp_path) as module:
        left = [module.numbers()]
        next(left[0])
        gc.freeze()  # to thaw these would thaw all that the session has frozen (conftest.py)
        worlds.applied(TEXT, NEW, history)
        flights = {one.site.qualname: one.flights for one in apply.sites(history)}
        assert [(one.holder, one.generation, one.line) for one in flights["numbers"]] == [("generator", 0, 8)]
        left.clear()
        assert not any(one.flights for one in apply.sites(history))
