"""Which file and which lines a traceback shows for code that a patch brought.

Where the process's disk has the new text, patched code keeps the file name of the code
that it replaces. Elsewhere the file would show other lines than those that run: then
the code gets a file name of its own. Under either name ``linecache`` finds the text that
the code was compiled from, whatever becomes of the disk.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import io
import linecache
import operator
import os
import time
import tokenize
import weakref
import zipimport
from types import ModuleType
from typing import Final

from bcpatch.fingerprint import blake
from bcpatch.process.objects import namespace_of
from bcpatch.process.swap import Row

_MARK: Final = "bcpatch "
_DIGITS: Final = 8


def file_of(module: ModuleType) -> str:
    """The source file that a module was loaded from, or an empty string."""
    found = namespace_of(module).get("__file__")
    if not isinstance(found, str):
        return ""
    if found.endswith(".pyc"):
        try:
            return importlib.util.source_from_cache(found)
        except ValueError:  # a .pyc that stands beside its source, or alone
            return found[:-1]
    return found


def on_disk(module: ModuleType, piece: int = 1 << 20) -> bytes | None:
    """What a module's file holds now; None where there is none. Reads ``piece`` bytes at once, or what there is.

    Takes few calls of the system: each lets every other thread of the application go first.
    """
    try:
        descriptor = os.open(file_of(module), os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError):
        return None
    try:
        return b"".join(iter(functools.partial(os.read, descriptor, piece), b""))
    except OSError:  # a folder
        return None
    finally:
        os.close(descriptor)


def is_on_disk(module: ModuleType, source: bytes) -> bool:
    """Whether a module's file holds exactly this text now."""
    return on_disk(module, len(source) + 1) == source


#: What they load has no import statements that could have taken a name of the application.
_WITHOUT_STATEMENTS: Final = (importlib.machinery.ExtensionFileLoader, importlib.machinery.NamespaceLoader)
#: The same; these are classes that are used as they are.
_OF_THE_INTERPRETER: Final = (importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter)

_texts: Final[weakref.WeakKeyDictionary[ModuleType, bytes]] = weakref.WeakKeyDictionary()


def remember(module: ModuleType, source: bytes) -> None:
    """Note the text that a module executes, where its file may have another one."""
    _texts[module] = source


def text_of(module: ModuleType) -> bytes | None:
    """The source text of a module; None where there is none."""
    if module in _texts:
        return _texts[module]
    file = file_of(module)
    if not file.endswith(".py"):
        return None
    loader = getattr(namespace_of(module).get("__spec__"), "loader", None)
    if not isinstance(loader, zipimport.zipimporter):
        return on_disk(module)
    try:
        return loader.get_data(file)
    except (OSError, ValueError):
        return None


#: A file whose last change is older than this (nanoseconds) shows by its times when it changes again; the clocks of
#: its file system may be coarse, and behind.
_SETTLED: Final = 60_000_000_000


def state_of(module: ModuleType) -> object | None:
    """What is equal later only if `text_of` the module is still the same; None where nothing tells.

    It takes one call of the system.
    """
    if module in _texts:
        return _texts[module]
    file = file_of(module)
    loader = getattr(namespace_of(module).get("__spec__"), "loader", None)
    if not file.endswith(".py") or isinstance(loader, zipimport.zipimporter):
        return None
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return None
    if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) < _SETTLED:
        return None
    return file, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def is_opaque(module: ModuleType) -> bool:
    """Whether code that nobody can read may have bound a module's names: typed in, or loaded without a source."""
    loader = getattr(namespace_of(module).get("__spec__"), "loader", None)
    if isinstance(loader, _WITHOUT_STATEMENTS) or any(loader is one for one in _OF_THE_INTERPRETER):
        return False
    return text_of(module) is None


def name_for(path: str, source: bytes) -> str:
    """A file name that no file has, the same for the same text of the same module."""
    return f"<{_MARK}{blake(source)[:_DIGITS]} {path}>"


def is_own_name(filename: str) -> bool:
    """Whether `name_for` made this file name."""
    return filename.startswith(f"<{_MARK}")


def lines_of(source: bytes) -> list[str]:
    """The lines of a text as ``linecache`` would read them from its file."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    lines = io.StringIO(source.decode(encoding), newline=None).readlines()
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return lines


def published(filename: str, source: bytes) -> Row:
    """The store that lets tracebacks, debuggers and ``inspect.getsource`` find a text under a file name."""
    # no modification time: linecache then takes the entry as it is and never looks for a file
    entry = (len(source), None, lines_of(source), filename)
    return operator.setitem, linecache.cache, filename, entry
