"""Paths in, `Patch` out: read sources, compare, verify, assemble. What ``bcpatch build`` does.

The function `build` here is ``bcpatch.build``. Nothing here knows a process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from bcpatch import compile as compiler
from bcpatch import fingerprint, narrow, patchfile, splices, verify
from bcpatch.diagnostics import NOWHERE, Diagnostic, Place, Refused, errors, finding
from bcpatch.model import CreationEdit, FunctionEdit, Interpreter, Module, ModulePatch, Patch, Policy
from bcpatch.narrow import Compared
from bcpatch.source import importtime, shape
from bcpatch.source.outline import Source, Unit, outline

GIT = "git:"
"""What a base in a git repository begins with: ``git:REV``."""

_LEFT_OUT = frozenset({"__pycache__", "node_modules", "site-packages"})

#: What lies in the topmost folder of a project.
_PROJECT = (".git", "pyproject.toml", "setup.py")


class Outcome(msgspec.Struct, frozen=True):
    """What a comparison came to: a patch, unless an error among the diagnostics refuses it.

    ``patch.modules`` is empty where nothing changed.
    """

    patch: Patch | None
    diagnostics: tuple[Diagnostic, ...]


def build(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    base: str | os.PathLike[str] | None = None,
    policy: str | Policy = Policy.STRICT,
    *,
    parent: Patch | None = None,
    module: str | None = None,
    optimization: int | None = None,
) -> Patch:
    """Compile a change to Python source into a verified patch.

    ``path`` is a file, a package's folder or an import root, or several of these.
    ``base`` is the source that the process runs: a file, a folder or ``git:REV``; by
    default the version in git's HEAD, and without one every function of a file is an
    edit. ``module`` names the module of a lone file where its path can't tell.
    ``optimization`` is the level of the process's ``-O`` (default: this process's).

    Returns a patch without modules where nothing changed. Raises Refused with every
    reason against the patch.
    """
    paths = [os.fspath(path)] if isinstance(path, (str, os.PathLike)) else [os.fspath(one) for one in path]
    news: list[Source] = []
    olds: list[Source] = []
    for one in paths:
        sources = collect(one, module)
        news.extend(sources)
        olds.extend(base_of(one, None if base is None else os.fspath(base), sources))
    outcome = compare(tuple(olds), tuple(news), policy=policy, parent=parent, optimization=optimization)
    if outcome.patch is None:
        raise Refused(outcome.diagnostics)
    return outcome.patch


# --- reading sources -----------------------------------------------------------------------


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
        elif entry.is_dir() and not entry.name.startswith(".") and entry.name not in _LEFT_OUT:
            if (below / "pyvenv.cfg").exists():
                continue
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


# --- reading the base -------------------------------------------------------------------------


def base_of(path: str, base: str | None, sources: tuple[Source, ...]) -> tuple[Source, ...]:
    """The sources that the process runs, for sources read from ``path``.

    ``base`` is a file, a folder, ``git:REV``, or None for git's HEAD where there is one.
    Raises Refused (BCP003, BCP005).
    """
    if base is None or base.startswith(GIT):
        return _from_git(path, base, sources)
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
    folder = path if os.path.isdir(path) else os.path.dirname(path) or os.curdir
    revision = "HEAD" if base is None else base.removeprefix(GIT)
    top = _git(folder, "rev-parse", "--show-toplevel")
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if top is None or commit is None:
        if base is None:
            return ()
        what = "not in a git repository" if top is None else f"no commit `{revision}` in its repository"
        raise Refused([finding("BCP005", what, Place(path))])
    root = os.path.realpath(top.decode().strip())
    commit_name = commit.decode().strip()
    if os.path.isdir(path):
        return tuple(_folder_from_git(path, root, commit_name, revision))
    found = []
    for source in sources:
        inside = Path(os.path.realpath(source.path)).relative_to(root).as_posix()
        data = _git(root, "cat-file", "blob", f"{commit_name}:{inside}")
        if data is not None:
            found.append(Source(source.module, f"{GIT}{revision}:{inside}", data))
        elif base is not None:
            raise Refused([finding("BCP005", f"not in commit `{revision}`", Place(source.path))])
    return tuple(found)


def _folder_from_git(path: str, root: str, commit: str, revision: str) -> Iterator[Source]:
    """The modules that stood below a folder in a commit, named as those that stand there now."""
    start = Path(os.path.realpath(path))
    prefix = start.relative_to(root).as_posix()
    listing = _git(root, "ls-tree", "-r", "-z", "--name-only", commit, "--", "." if prefix == "." else f"{prefix}/")
    files = [Path(root, name) for name in (listing or b"").decode("utf-8", "surrogateescape").split("\0") if name]
    held = set(files)

    def root_of(folder: Path) -> Path:
        while folder / "__init__.py" in held or (folder not in (start, Path(root)) and start in folder.parents):
            if folder.name == "src" and folder / "__init__.py" not in held:
                return folder
            folder = folder.parent
        return _root_above(folder) if folder == start else folder

    wanted = []
    for file in files:
        below = file.relative_to(start)
        if file.suffix != ".py" or any(part.startswith(".") or part in _LEFT_OUT for part in below.parts):
            continue
        module_root = root_of(file.parent)
        parts = file.relative_to(module_root).with_suffix("").parts
        if is_importable(parts):
            wanted.append((file, _named(file, module_root, str(file), None)))
    names = "".join(f"{commit}:{file.relative_to(root).as_posix()}\n" for file, _ in wanted)
    answer = memoryview(_git(root, "cat-file", "--batch", stdin=names.encode("utf-8", "surrogateescape")) or b"")
    for file, module in wanted:
        end = bytes(answer[:512]).index(b"\n")
        size = int(bytes(answer[:end]).rsplit(b" ", 1)[1])
        yield Source(module, f"{GIT}{revision}:{file.relative_to(root)}", bytes(answer[end + 1 : end + 1 + size]))
        answer = answer[end + size + 2 :]


def _git(folder: str, *arguments: str, stdin: bytes = b"") -> bytes | None:
    """What git prints; None where it fails or is not installed."""
    try:
        done = subprocess.run(["git", "-C", folder, *arguments], input=stdin, capture_output=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


# --- comparing ------------------------------------------------------------------------------


def compare(
    old: Iterable[Source],
    new: Iterable[Source],
    *,
    policy: str | Policy = Policy.STRICT,
    parent: Patch | None = None,
    optimization: int | None = None,
) -> Outcome:
    """Compare two versions of some module sources and assemble the verified patch between them.

    A new module travels in a linked patch; otherwise a module of one version alone is told by a note, unless there
    is no old version at all: then every function is an edit. Never raises for what is in the sources.
    """
    sides = tuple(old), tuple(new)
    patch, found = _assembled(*sides, Policy(policy), parent, optimization)
    return _verified(patch, found, *sides)


def draft(
    old: Iterable[Source], new: Iterable[Source], *, policy: str | Policy, optimization: int | None = None
) -> Outcome:
    """Do as `compare` does, but leave the verification to the process that the patch goes to.

    For those who send it at once, and look for the reasons with `compare` where it is refused. Where something
    is against the patch already, all that is comes back as from there.
    """
    sides = tuple(old), tuple(new)
    patch, found = _assembled(*sides, Policy(policy), None, optimization)
    return _verified(patch, found, *sides) if errors(found) else Outcome(patch, tuple(found))


def _verified(patch: Patch, found: Iterable[Diagnostic], old: Iterable[Source], new: Iterable[Source]) -> Outcome:
    """What comes of a patch, when the verifier has said what it finds besides all that was ``found`` before."""
    digests = fingerprint.Digests()
    changed = {part.module for part in patch.modules}
    for source in (*old, *new):
        if source.module in changed:
            digests.add(source.data, source.digest)
    patch, more = verify.verified(patch, digests)
    every = (*found, *_at_paths(more, {source.module: source.path for source in new}))
    return Outcome(None if errors(every) else patch, every)


def _assembled(
    old: Iterable[Source], new: Iterable[Source], policy: Policy, parent: Patch | None, optimization: int | None
) -> tuple[Patch, list[Diagnostic]]:
    """The patch between two versions, not verified, and what is known against it."""
    level = sys.flags.optimize if optimization is None else optimization
    before = {source.module: source for source in old}
    after = {source.module: source for source in new}
    found: list[Diagnostic] = []
    modules = []
    for module, source in after.items():
        base = before.get(module)
        if base is not None and base.data == source.data:
            continue
        is_new = base is None and bool(before)
        if is_new and policy is Policy.STRICT:
            message = f"module `{module.name}` is not in the base: processes import it from their disk"
            found.append(finding("BCP214", message, Place(source.path)))
            continue
        try:
            part = _new_module(source, level) if is_new else _changed(base, source, policy, level, found)
        except Refused as refused:
            found.extend(refused.diagnostics)
            continue
        if part is not None:
            modules.append(part)
    for module, source in before.items():
        if module not in after:
            message = f"module `{module.name}` is gone: processes that imported it keep it"
            found.append(finding("BCP214", message, Place(source.path)))
    if after and not before:
        found.append(_without_base(list(after.values())))
    found.extend(_run_too_early(modules, after, level))
    interpreter = _interpreter(level)
    patch = Patch(
        interpreter,
        policy,
        1 if parent is None else parent.generation + 1,
        None if parent is None else patchfile.digest(parent),
        tuple(sorted(modules, key=lambda part: part.module.name)),
    )
    return patch, found


def _without_base(sources: Sequence[Source]) -> Diagnostic:
    what = f"`{sources[0].module.name}`" if len(sources) == 1 else f"{len(sources)} modules"
    message = f"every function of {what} is in the patch, and nothing else is compared"
    return finding("BCP218", message, Place(sources[0].path) if len(sources) == 1 else NOWHERE)


def prepare(source: Source, optimization: int) -> Iterator[None]:
    """Find out, step by step, what `compare` will ask of a source when its next version is there."""
    verify.prepare(source.module, source.data)
    yield
    yield from narrow.prepare(source, optimization)


def _interpreter(optimization: int) -> Interpreter:
    running = fingerprint.this_interpreter()
    return Interpreter(running.implementation, running.version, running.magic, optimization)


def _changed(
    base: Source | None, source: Source, policy: Policy, level: int, found: list[Diagnostic]
) -> ModulePatch | None:
    """What a patch changes in a module; the verifier finds the names that it links to. None for nothing."""
    changed = _compared(base, source, policy, level)
    found.extend(changed.diagnostics)
    if not changed.edits:
        return None
    return ModulePatch(
        source.module,
        None if base is None else base.digest,
        source.digest,
        changed.imports,
        None,
        changed.edits,
        source.data,
        () if base is None else splices.between(source.data, base.data),
        changed.turns,
    )


def _compared(base: Source | None, source: Source, policy: Policy, level: int) -> Compared:
    """The difference between two versions of a module: between what differs, or the whole where that must be seen."""
    found = None if base is None else narrow.compared(base, source, policy, level)
    if found is not None:
        return found
    new = outline(source, level)
    old = None if base is None else _base_unit(base, level)
    changed = compiler.changes(old, new, policy, level)
    imports = shape.imports(new.tree, source.module, new.own_names)
    return Compared(changed.edits, changed.diagnostics, imports, changed.turns)


def _new_module(source: Source, level: int) -> ModulePatch:
    """The part for a module that the base does not have. Raises Refused where it is no Python source."""
    new = outline(source, level)
    imports = shape.imports(new.tree, source.module, new.own_names)
    return ModulePatch(source.module, None, source.digest, imports, None, (CreationEdit(),), source.data, ())


def _run_too_early(
    modules: Iterable[ModulePatch], sources: Mapping[Module, Source], level: int
) -> Iterator[Diagnostic]:
    """New modules whose import runs what the patch changes in others: they may be imported before the swap."""
    changed = {
        (part.module.name, edit.site.qualname.partition(".")[0])
        for part in modules
        for edit in part.changes
        if isinstance(edit, FunctionEdit)
    }
    for part in modules:
        if part.is_new and changed:
            unit = outline(sources[part.module], level)
            for statement, name in importtime.calls_of_others(unit, part.imports, changed):
                message = f"this runs `{name}`, perhaps before the swap, while that is still the old code"
                yield finding("BCP211", message, unit.place(statement))


def _base_unit(base: Source, level: int) -> Unit:
    try:
        return outline(base, level)
    except Refused as refused:
        message = f"the base does not compile: {refused.diagnostics[0].message}"
        raise Refused([finding("BCP005", message, Place(base.path, refused.diagnostics[0].line))]) from refused


def _at_paths(found: Iterable[Diagnostic], paths: dict[Module, str]) -> Iterator[Diagnostic]:
    """Findings of the verifier, which knows modules only, at the paths that were read."""
    shown = {module.path: path for module, path in paths.items()}
    for one in found:
        yield msgspec.structs.replace(one, file=shown.get(one.file, one.file))
