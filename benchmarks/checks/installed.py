"""Are edits of the modules that are installed here live as in a fresh process, or refused with nothing changed?

    python -m benchmarks.checks.installed --modules 200 --seed 1
    python -m benchmarks.checks.installed --only argparse --only json.decoder --edits 50

Takes modules of the standard library and of site-packages, writes edits of them (`retouch`), builds, and applies to
a process that has imported the module and a client that took names from it. What the modules hold then must be what
they hold in a process that imported the new text: every name, function, class and value that can be reached, every
line. The same after the patch that follows, and after each rollback; a refusal must change nothing.

Prints one line of JSON: what came of the edits, by kind, and the rules that refused. Ends with status 1 where something
differs, and tells it on standard error, with the seed that makes the module's edits again. Imports what is installed.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import itertools
import json
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from bcpatch import builder, patchfile
from bcpatch.diagnostics import Severity, errors
from bcpatch.model import Module
from bcpatch.source.outline import Source
from benchmarks.checks import retouch

WORKER = Path(__file__).resolve().parents[1] / "workers" / "installed.py"
CLIENT = "client_of_installed"
#: What shows windows, talks when it is imported, or is of no use in a process.
LEFT_OUT = frozenset(
    "antigravity this idlelib turtledemo test tests lib2to3 ensurepip tkinter __main__ bcpatch".split()
)
SMALLEST, LARGEST = 300, 200_000
"""Bytes of a source that is worth an edit, and that can be compared in a short time."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modules", type=int, default=50, help="how many modules")
    parser.add_argument("--edits", type=int, default=8, help="how many edits of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", metavar="MODULE", help="this module; repeatable")
    parser.add_argument("--folder", action="append", help="look for modules here too; repeatable")
    parser.add_argument("--verbose", action="store_true", help="tell what the process refused, too")
    options = parser.parse_args()
    every = dict(_installed(options.folder or []))
    chosen = options.only or Random(options.seed).sample(sorted(every), min(options.modules, len(every)))
    total = _Total(options.verbose)
    for name in chosen:
        _module(name, *every[name], options.edits, options.seed, total)
    found = {"python": platform.python_version(), "seed": options.seed, "modules": total.modules}
    print(json.dumps({**found, "outcomes": total.outcomes, "rules": total.rules, "kinds": total.kinds}))
    return 1 if total.failed else 0


class _Total:
    """What is counted."""

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose
        self.modules = 0
        self.failed = 0
        self.outcomes: Counter[str] = Counter()
        self.rules: Counter[str] = Counter()
        self.kinds: dict[str, Counter[str]] = {}

    def add(self, kinds: tuple[str, ...], outcome: str, rules: list[str]) -> None:
        self.outcomes[outcome] += 1
        self.rules.update(rules)
        for kind in kinds if len(kinds) == 1 else ():
            self.kinds.setdefault(kind, Counter())[outcome] += 1

    def fail(self, module: str, kinds: tuple[str, ...], what: list[str], texts: list[str]) -> None:
        self.failed += 1
        print(f"== {module}: {', '.join(kinds)}", *what[:12], *_changes(texts), sep="\n", file=sys.stderr, flush=True)


def _changes(texts: list[str]) -> list[str]:
    return [
        line
        for old, new in itertools.pairwise(texts)
        for line in [*difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=2)][:80]
    ]


def _installed(folders: list[str]) -> Iterator[tuple[str, tuple[str, str]]]:
    """The modules of the standard library, of site-packages and of some folders: their roots and files."""
    roots = [sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), *map(os.path.abspath, folders)]
    for root in roots:
        for at, below, files in os.walk(root):
            below[:] = sorted(one for one in below if one.isidentifier() and one not in LEFT_OUT)
            for file in sorted(files):
                path = Path(at, file)
                parts = path.relative_to(root).with_suffix("").parts
                if path.suffix != ".py" or not path.is_file() or not LEFT_OUT.isdisjoint(parts):
                    continue
                if SMALLEST < path.stat().st_size < LARGEST:
                    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                    yield name, (root, path.relative_to(root).as_posix())


def _module(name: str, root: str, path: str, edits: int, seed: int, total: _Total) -> None:
    try:
        text = Path(root, path).read_bytes().decode()
        ast.parse(text)
    except (UnicodeDecodeError, SyntaxError, ValueError):
        return
    if "\r" in text or "\f" in text:
        return
    rng = Random(f"{seed} {name}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows = [row for _ in range(edits) if (row := _row(name, path, text, rng, folder, total)) is not None]
        cases = [{key: row[key] for key in ("texts", "patches", "probes", "warned")} for row in rows]
        _lay_out(Path(root), path, folder / "root")
        (folder / "root" / f"{CLIENT}.py").write_text(_client(name, text, rng))
        where = {"folder": str(folder / "root"), "file": str(folder / "root" / path)}
        job = folder / "job.json"
        job.write_text(json.dumps({"module": name, "client": CLIENT, **where, "cases": cases}))
        more = {"PYTHONPATH": str(WORKER.parents[2]), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
        done = subprocess.run(
            [sys.executable, str(WORKER), str(job)],
            capture_output=True, stdin=subprocess.DEVNULL, cwd=folder, text=True, check=False,
            env={**os.environ, **more},
        )  # fmt: skip
    said = [json.loads(line) for line in done.stdout.splitlines()]
    if any(one["outcome"] in ("in use", "not importable") and not one.get("version") for one in said):
        total.outcomes["module not importable" if said[0]["outcome"] != "in use" else "module in use"] += 1
        return
    total.modules += 1
    if len(said) < len(rows):
        total.fail(name, (), [f"the worker ended early: {done.stderr[-1500:]}"], [])
    for row, one in zip(rows, said, strict=False):
        _judge(name, row, one, total)


def _judge(name: str, row: dict[str, Any], said: dict[str, Any], total: _Total) -> None:
    if "steps" not in said:
        total.add(row["kinds"], said["outcome"], [])
        if said["outcome"] == "crash":
            total.fail(name, row["kinds"], [said["said"]], row["texts"])
        return
    for number, (what, rules, told, found) in enumerate(said["steps"]):
        outcome = f"{what}, wrong" if found else what
        total.add(row["kinds"] if not number else (), outcome, rules if what.startswith("refused") else [])
        if what.startswith("refused") and total.verbose:
            print(
                f"-- {name}: {', '.join(row['kinds'])}: {what}",
                *told,
                *_changes(row["texts"]),
                sep="\n",
                file=sys.stderr,
                flush=True,
            )
        if found:
            total.fail(name, row["kinds"], [f"step {number}: {outcome}", *found, *told], row["texts"])
            return


def _row(name: str, path: str, text: str, rng: Random, folder: Path, total: _Total) -> dict[str, Any] | None:
    """A text and one or two versions after it, with the patches between; None where the build refuses the first."""
    module = Module(name, path)
    texts = [text]
    patches: list[str | None] = []
    every: tuple[str, ...] = ()
    warned = False  # that what import-time code made of something is state, and stays
    probes: list[list[str]] = [[]]
    for step in range(rng.choice((1, 2))):
        done = retouch.edited(texts[-1], rng)
        if done is None:
            break
        kinds, new = done
        try:
            outcome = builder.compare(
                [Source(module, path, texts[-1].encode())], [Source(module, path, new.encode())], policy="linked"
            )
        except Exception:  # noqa: BLE001 - a traceback of the build is what is looked for
            total.fail(name, kinds, [traceback.format_exc()[-1500:]], [texts[-1], new])
            break
        if outcome.patch is None:
            if not step:
                total.add(kinds, "refused by the build", sorted({one.code for one in errors(outcome.diagnostics)}))
            break
        texts.append(new)
        every += kinds
        warned |= any(one.severity is Severity.WARNING for one in outcome.diagnostics)
        there = {one for one, _ in _qualnames(ast.parse(new))}
        probes.append(sorted(there & {*probes[-1], *_probes(kinds, texts[-2], new)}))
        if outcome.patch.modules:
            file = folder / f"{rng.getrandbits(64):x}.patch"
            file.write_bytes(patchfile.encode(outcome.patch))
            patches.append(str(file))
        else:
            patches.append(None)
            break
    if len(texts) == 1:
        return None
    return {"texts": texts, "patches": patches, "probes": probes, "kinds": every, "warned": warned}


def _probes(kinds: tuple[str, ...], old: str, new: str) -> Iterator[str]:
    """The functions that an edit of that kind has given a body which does no harm."""
    if "probe" not in kinds:
        return
    before = dict(_qualnames(ast.parse(old)))
    for name, node in _qualnames(ast.parse(new)):
        harmless = isinstance(node.body[-1], ast.Return) and isinstance(node.body[-1].value, ast.Constant)
        if harmless and len(node.body) <= 2 and name in before and ast.dump(before[name]) != ast.dump(node):
            yield name


def _qualnames(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for one in ast.iter_child_nodes(node):
        if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield f"{prefix}{one.name}", one
        elif isinstance(one, ast.ClassDef):
            yield from _qualnames(one, f"{prefix}{one.name}.")


def _lay_out(root: Path, path: str, folder: Path) -> None:
    """A folder that looks like the root of a module, where only the module's file may be written."""
    folder.mkdir()
    parts = Path(path).parts
    for depth in range(1, len(parts)):
        here, there = folder.joinpath(*parts[:depth]), root.joinpath(*parts[:depth])
        here.mkdir()
        for one in there.iterdir():
            if one.name not in ("__pycache__", parts[depth]) and one.name.partition(".")[0] != Path(path).stem:
                (here / one.name).symlink_to(one)


def _client(name: str, text: str, rng: Random) -> str:
    """A module that takes names of another, and derives a class from one of its."""
    tree = ast.parse(text)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = [one.name for one in tree.body if isinstance(one, kinds)]
    names += [
        each.id
        for one in tree.body
        for each in ast.walk(one)
        if isinstance(one, (ast.Assign, ast.AnnAssign))
        and isinstance(each, ast.Name)
        and isinstance(each.ctx, ast.Store)
    ]
    classes = [one.name for one in tree.body if isinstance(one, ast.ClassDef)]
    lines = [f"import {name}", f"import {name} as it"]
    for one in sorted(rng.sample(names, min(len(names), 8))):
        lines += ["try:", f"    from {name} import {one} as {one}_of_it", "except ImportError:", "    pass"]
    for one in rng.sample(classes, min(len(classes), 2)):
        lines += ["try:", f"    class Below{one}(it.{one}):", "        pass", "except Exception:", "    pass"]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
