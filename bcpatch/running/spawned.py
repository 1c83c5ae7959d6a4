"""Makes the processes that a program spawns by ``multiprocessing`` reachable, as those are that it forks.

Such a process is a new interpreter. It is told what to prepare before it does anything
else (``get_preparation_data`` in ``Lib/multiprocessing/spawn.py``), and what is added to
that here opens its loop. Nothing of ``multiprocessing`` is imported before the program does
that itself.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from importlib import abc
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

from bcpatch import runtime

_SPAWN: Final = "multiprocessing.spawn"

#: A process that can't import bcpatch does its work all the same, and takes no patches.
_JOIN: Final = """
import sys
sys.path.append({place!r})
try:
    from bcpatch.running.spawned import join
except ImportError:
    def join(): pass
finally:
    sys.path.pop()
join()
"""


def join() -> None:
    """Make this process reachable, and those that it will spawn."""
    runtime.loop()
    spawn = sys.modules.get(_SPAWN)
    if spawn is None:
        sys.meta_path.insert(0, _Finder())
    else:
        _extend(spawn)


class _Joining:
    """What is unpickled by a call of `join`, in whatever process that is."""

    def __reduce__(self) -> tuple[Any, ...]:
        place = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
        return exec, (_JOIN.format(place=place), {})


def _extend(spawn: ModuleType) -> None:
    prepare = spawn.get_preparation_data

    @functools.wraps(prepare)
    def get_preparation_data(*arguments: Any, **keywords: Any) -> dict[str, Any]:
        return {**prepare(*arguments, **keywords), "bcpatch": _Joining()}

    vars(spawn)["get_preparation_data"] = get_preparation_data


class _Finder(abc.MetaPathFinder):
    """Waits for the import of one module, and is gone then."""

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname != _SPAWN:
            return None
        sys.meta_path[:] = [one for one in sys.meta_path if one is not self]
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(abc.Loader):
    """Leaves the module with the loader that it would have had."""

    def __init__(self, loader: abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        spec.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _extend(module)
