"""The tools as a program calls them: watch a module, and bring it to what its file says now.

Each is a function that is given the folder before the module is imported, and returns one to call after it:
that is given the module, and returns the one that brings the module up to date.
"""

from __future__ import annotations

import glob
import importlib
import os
from collections.abc import Callable
from types import CodeType, ModuleType
from typing import TypeAlias

#: Brings what is loaded to the files; ``step`` counts the edits from 0.
Refresh: TypeAlias = Callable[[int], object]


def _bcpatch(folder: str, **how: object) -> Callable[[list[ModuleType]], Refresh]:
    """Patches that were built before, one a step."""
    from bcpatch import runtime

    def ready(modules: list[ModuleType]) -> Refresh:
        patches = []
        for path in sorted(glob.glob(os.path.join(folder, "*.patch"))):
            with open(path, "rb") as file:
                patches.append(file.read())
        return lambda step: runtime.apply(patches[step], **how)

    return ready


def bcpatch(folder: str) -> Callable[[list[ModuleType]], Refresh]:
    return _bcpatch(folder)


def quiescent(folder: str) -> Callable[[list[ModuleType]], Refresh]:
    """At an instant when nothing runs any function of the patch."""
    return _bcpatch(folder, consistency="quiescent", timeout=60)


def reload(folder: str) -> Callable[[list[ModuleType]], Refresh]:
    def ready(modules: list[ModuleType]) -> Refresh:
        def refresh(step: int) -> None:
            for module in modules:
                importlib.reload(module)

        return refresh

    return ready


def ipython(folder: str) -> Callable[[list[ModuleType]], Refresh]:
    """What ``%autoreload 2`` does before each cell, without the cell."""
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "autoreload")
    shell.run_line_magic("autoreload", "2")

    def ready(modules: list[ModuleType]) -> Refresh:
        shell.run_cell("pass", store_history=False)
        return lambda step: shell.events.trigger("pre_run_cell", None)

    return ready


def jurigged(folder: str) -> Callable[[list[ModuleType]], Refresh]:
    """What its watching thread does for each file that was saved."""
    from jurigged.live import watch

    watcher = watch([os.path.join(folder, "*.py")], logger=lambda *_: None, autostart=False)

    def ready(modules: list[ModuleType]) -> Refresh:
        def refresh(step: int) -> None:
            for module in modules:
                watcher.refresh(module.__file__)

        return refresh

    return ready


def code_objects(folder: str) -> Callable[[list[ModuleType]], Refresh]:
    """The floor for what is kept: the code that differs is assigned, and what it replaces is kept."""
    kept = []

    def ready(modules: list[ModuleType]) -> Refresh:
        def refresh(step: int) -> None:
            for module in modules:
                with open(module.__file__, encoding="utf-8") as file:
                    fresh = compile(file.read(), module.__file__, "exec", dont_inherit=True)
                for code in fresh.co_consts:
                    if isinstance(code, CodeType) and (function := vars(module)[code.co_name]).__code__ != code:
                        kept.append(function.__code__)
                        function.__code__ = code

        return refresh

    return ready


TOOLS = {
    "code objects alone": code_objects,
    "bcpatch": bcpatch,
    "bcpatch quiescent": quiescent,
    "importlib.reload": reload,
    "IPython": ipython,
    "jurigged": jurigged,
}
