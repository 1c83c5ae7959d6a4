"""Does the verifier refuse anything that the compiler made?

    python -m benchmarks.checks.verify_corpus [FOLDER...] [--also FOLDER]... [--step N]

Compiles every source below the standard library and the installed packages (or FOLDERs)
and asks for the structure of every code object, nested ones too. No false refusal means 0 faults. --also adds a
folder, such as the ``test`` of another Python's standard library: its sources are compiled by this one. --step N takes
every Nth file.

Prints the faults on standard error and one line of JSON; exit status 1 where there is a fault.
"""

from __future__ import annotations

import argparse
import json
import sys
import sysconfig
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bcpatch import fingerprint, flow
from bcpatch.model import Code


def folders() -> list[Path]:
    """The standard library and the installed packages."""
    return [Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))]


def sources(roots: list[Path], step: int) -> list[Path]:
    """Every ``.py`` file below the folders, once."""
    found = {path.resolve(): None for root in roots for path in sorted(root.rglob("*.py"))}
    return list(found)[::step]


def compiled(paths: list[Path]) -> Iterator[tuple[Path, Code]]:
    """The module code of each source that compiles; tests of the compiler keep some that don't."""
    warnings.simplefilter("ignore")
    for path in paths:
        try:
            code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        except (SyntaxError, ValueError, OSError, RecursionError, MemoryError):
            continue
        yield path, fingerprint.encode(code)


def count(found: flow.Flow) -> tuple[int, int]:
    """Code objects and instructions."""
    objects, instructions = 1, len(found.instructions)
    for nested in found.nested.values():
        more_objects, more_instructions = count(nested)
        objects += more_objects
        instructions += more_instructions
    return objects, instructions


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--also", action="append", default=[], type=Path, metavar="FOLDER")
    parser.add_argument("--step", type=int, default=1)
    options = parser.parse_args()
    files = objects = instructions = 0
    faults: Counter[str] = Counter()
    began = time.monotonic()
    for path, code in compiled(sources([*(options.folders or folders()), *options.also], options.step)):
        files += 1
        try:
            more_objects, more_instructions = count(flow.analyze(code))
        except flow.Malformed as malformed:
            for fault in malformed.faults:
                faults[fault.rule] += 1
                print(path, fault.qualname, fault.offset, fault.rule, fault.message, sep=": ", file=sys.stderr)
            continue
        objects += more_objects
        instructions += more_instructions
    result = {
        "python": sys.version.split()[0],
        "files": files,
        "code objects": objects,
        "instructions": instructions,
        "faults": dict(faults),
        "seconds": round(time.monotonic() - began),
    }
    print(json.dumps(result))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
