"""Paths → module sources: what stands on the disk, and what stood there in a commit.

Which module a file is, which files below a folder are modules, and where the version is that a process runs. Knows
no compiler: a source is a name and bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from bcpatch import git
from bcpatch.diagnostics import Place, Refused, finding
from bcpatch.model import Module
from bcpatch.source.outline import Source

GIT = "git:"
"""What a base in a git repository begins with: ``git:REV``."""

#: Folders that hold other people's code, or none.
_FOREIGN = frozenset({"__pycache__", "node_modules", "site-packages"})

#: What lies in the topmost folder of a project.
_PROJECT = (".git", "pyproject.toml", "setup.py")


def versions(
    paths: Sequence[str], base: str | None, module: str | None = None
) -> tuple[tuple[Source, ...], tuple[Source, ...]]:
    """The sources that a process runs and those that are there now, of some files and folders.

    ``base`` and ``module`` are those of `base_of` and `collect`. Raises Refused (BCP003, BCP004, BCP005).
    """
    old: list[Source] = []
    new: list[Source] = []
    for path in paths:
        sources = collect(path, module)
        new += sources
        old += base_of(path, base, sources)
    return tuple(old), tuple(new)


# --- the disk ------------------------------------------------------------------------------


def collect(path: str, module: str | None = None) -> tuple[Source, ...]:
    """The module sources of a file, or of every module below a package's folder or an import root.

    Raises Refused: BCP003 (unreadable), BCP004 (no module name).
    """
    if not os.path.isdir(path):
        return (Source(module_of(path, module), path, read(path)),)
    if module is not None:
        raise Refused([finding("BCP004", "--module names the module of one file, and this is a folder", Place(path))])
    return tuple(Source(named, file, read(file)) for named, file in modules_below(path))


def read(path: str) -> bytes:
    """The bytes of a source file. Raises Refused (BCP003)."""
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error).lower()
        raise Refused([finding("BCP003", reason, Place(path))]) from error


def module_of(path: str, name: str | None = None) -> Module:
    """The module that a lone file is: its import root is the folder above its topmost package.

    ``name`` says it where the path can't; its last parts must be those of the path.
    Raises Refused (BCP004).
    """
    file = Path(os.path.abspath(path))
    if file.suffix not in (".py", ".pyw"):
        raise Refused([finding("BCP004", "a module source ends in .py", Place(path))])
    root = _root_above(file.parent)
    if name is not None:
        for _ in range(name.count(".") + (file.stem == "__init__") - len(file.relative_to(root).parts) + 1):
            root = root.parent
    return _named(file, root, path, name)


def modules_below(folder: str) -> Iterator[tuple[Module, str]]:
    """Every module below a package's folder or an import root, in the order of their paths.

    A folder inside an import root that is no package is a namespace package (PEP 420),
    except ``src``, which is an import root of its own. Raises Refused (BCP003).
    """
    start = Path(os.path.abspath(folder))
    is_package = (start / "__init__.py").exists()
    root = _root_above(start) if is_package else start
    for file, file_root in _python_files(start, root):
        shown = os.path.join(folder, *file.relative_to(start).parts)
        parts = file.relative_to(file_root).with_suffix("").parts
        if is_importable(parts):
            yield _named(file, file_root, shown, None), shown


def is_foreign(folder: str) -> bool:
    """Whether a folder is hidden, a virtual environment, or holds installed code."""
    return _is_foreign_name(os.path.basename(folder)) or os.path.exists(os.path.join(folder, "pyvenv.cfg"))


def _is_foreign_name(name: str) -> bool:
    return name.startswith(".") or name in _FOREIGN


def is_importable(parts: Sequence[str]) -> bool:
    """Whether a module with such a path has a name: ``importlib.import_module`` takes any that no dot divides."""
    return not any("." in part for part in parts)


def _python_files(folder: Path, root: Path) -> Iterator[tuple[Path, Path]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise Refused([finding("BCP003", str(error.strerror).lower(), Place(str(folder)))]) from error
    for entry in entries:
        below = Path(entry.path)
        if entry.is_file() and below.suffix == ".py":
            yield below, root
        elif entry.is_dir() and not is_foreign(entry.path):
            is_root = entry.name == "src" and not (below / "__init__.py").exists()
            yield from _python_files(below, below if is_root else root)


def _root_above(folder: Path) -> Path:
    """The folder above the topmost package; folders that are none may lie in one (PEP 420), not above their project."""
    inside = folder
    while not (inside / "__init__.py").exists():
        if not inside.name.isidentifier() or inside.name == "src" or any((inside / one).exists() for one in _PROJECT):
            return folder
        inside = inside.parent
    folder = inside
    while (folder / "__init__.py").exists() and folder.parent != folder:
        folder = folder.parent
    return folder


def _named(file: Path, root: Path, shown: str, name: str | None) -> Module:
    relative = file.relative_to(root)
    parts = relative.with_suffix("").parts
    derived = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    if name is not None and name != derived:
        message = f"its path ends in the module name `{derived}`, which is not `{name}`"
        raise Refused([finding("BCP004", message, Place(shown))])
    if not derived or not is_importable(parts):
        raise Refused([finding("BCP004", f"`{derived or relative}` can't be imported by that name", Place(shown))])
    return Module(derived, PurePosixPath(*relative.parts).as_posix())


# --- the base ------------------------------------------------------------------------------


def base_of(path: str, base: str | None, sources: tuple[Source, ...]) -> tuple[Source, ...]:
    """The sources that the process runs, for sources read from ``path``.

    ``base`` is a file, a folder, ``git:REV``, or None for git's HEAD where there is one.
    Raises Refused (BCP003, BCP005).
    """
    if base is None or base.startswith(GIT):
        try:
            return _from_git(path, base, sources)
        except git.Failed as failed:
            raise Refused([finding("BCP005", str(failed), Place(path))]) from failed
    if os.path.isdir(base) == os.path.isdir(path):
        if os.path.isdir(path):
            return collect(base)
        return tuple(Source(source.module, base, read(base)) for source in sources)
    if not os.path.exists(base):
        raise Refused([finding("BCP005", "no such file or folder", Place(base))])
    if os.path.isdir(path):
        raise Refused([finding("BCP005", f"`{path}` is a folder, and its base is a file", Place(base))])
    found = [source for source in collect(base) if source.module == sources[0].module]
    if not found:
        message = f"no module `{sources[0].module.name}` ({sources[0].module.path}) below this folder"
        raise Refused([finding("BCP005", message, Place(base))])
    return tuple(found)


def _from_git(path: str, base: str | None, sources: tuple[Source, ...]) -> tuple[Source, ...]:
    revision = "HEAD" if base is None else base.removeprefix(GIT)
    found = _commit(path, revision)
    if isinstance(found, str):
        if base is None:
            return ()
        raise Refused([finding("BCP005", found, Place(path))])
    root, commit = found
    with git.Objects(root) as objects:
        if os.path.isdir(path):
            return tuple(_folder_from_git(path, objects, commit, revision))
        there = []
        for source in sources:
            inside = Path(os.path.realpath(source.path)).relative_to(root).as_posix()
            data = objects.blob(f"{commit}:{inside}")
            if data is not None:
                there.append(Source(source.module, f"{GIT}{revision}:{inside}", data))
            elif base is not None:
                raise Refused([finding("BCP005", f"not in commit `{revision}`", Place(source.path))])
    return tuple(there)


def _commit(path: str, revision: str) -> tuple[str, str] | str:
    """The repository that a path leads into, and a commit of it; in words, which of them there isn't."""
    real = os.path.realpath(path)
    folder = real if os.path.isdir(real) else os.path.dirname(real)
    try:
        top = git.run(folder, "rev-parse", "--show-toplevel")
    except git.Failed:
        return "not in a git repository"
    try:
        asked = f"{revision}^{{commit}}"
        commit = git.run(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", asked)
    except git.Failed:
        return f"no commit `{revision}` in its repository"
    return os.path.realpath(os.fsdecode(top).removesuffix("\n")), commit.decode().strip()


def _folder_from_git(path: str, objects: git.Objects, commit: str, revision: str) -> Iterator[Source]:
    """The modules that stood below a folder in a commit, named as those that stand there now."""
    root = objects.repository
    start = Path(os.path.realpath(path))
    prefix = start.relative_to(root).as_posix()
    below = "." if prefix == "." else f"{prefix}/"
    listing = git.run(root, "ls-tree", "-r", "-z", "--name-only", commit, "--", below)
    files = [Path(root, name) for name in os.fsdecode(listing).split("\0") if name]
    held = set(files)

    def root_of(folder: Path) -> Path:
        while folder / "__init__.py" in held or (folder not in (start, Path(root)) and start in folder.parents):
            if folder.name == "src" and folder / "__init__.py" not in held:
                return folder
            folder = folder.parent
        return _root_above(folder) if folder == start else folder

    for file in files:
        if file.suffix != ".py" or any(map(_is_foreign_name, file.relative_to(start).parts)):
            continue
        module_root = root_of(file.parent)
        if not is_importable(file.relative_to(module_root).with_suffix("").parts):
            continue
        name = file.relative_to(root).as_posix()
        data = objects.blob(f"{commit}:{name}")
        if data is not None:
            yield Source(_named(file, module_root, str(file), None), f"{GIT}{revision}:{name}", data)
