"""bcpatch: compile a change to Python source into a verified patch, and load it into running processes.

The names below are the public interface; each is imported when it is first used, so
that an application which only wants ``bcpatch.runtime`` pays for nothing else.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what typing has under this name, without the time that its import takes
if TYPE_CHECKING:
    from bcpatch.builder import build
    from bcpatch.diagnostics import Diagnostic, Error, PatchFileError, Refused
    from bcpatch.model import Patch, Policy
    from bcpatch.patchfile import read, write

__version__ = "0.1.0"
__all__ = [
    "Diagnostic",
    "Error",
    "Patch",
    "PatchFileError",
    "Policy",
    "Refused",
    "build",
    "read",
    "write",
]

_HOME = {
    "Diagnostic": "diagnostics",
    "Error": "diagnostics",
    "Patch": "model",
    "PatchFileError": "diagnostics",
    "Policy": "model",
    "Refused": "diagnostics",
    "build": "builder",
    "read": "patchfile",
    "write": "patchfile",
}


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
