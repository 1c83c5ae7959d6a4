"""Edits that were prepared as files, put into place one after another by the process that they are made to."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

from tools import TOOLS, Refresh


def begin(tool: str, folder: str, names: list[str]) -> tuple[list[ModuleType], Refresh]:
    """Import some modules under a tool; they, and what brings them to their files."""
    sys.path.insert(0, folder)
    ready = TOOLS[tool](folder)
    modules = [importlib.import_module(name) for name in names]
    return modules, ready(modules)


def place(folder: str, step: int) -> None:
    """Rename the files of an edit, which lie in a folder of their own, over those that are loaded."""
    prepared = os.path.join(os.path.dirname(folder), "aside", f"{step:05}")
    for name in sorted(os.listdir(prepared)):
        os.replace(os.path.join(prepared, name), os.path.join(folder, name))
