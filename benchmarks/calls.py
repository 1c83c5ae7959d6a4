"""What does a call cost after a patch? Beside a twin that was never patched, and one by plain assignment.

    python benchmarks/calls.py --repeat 9

Four modules of one text run the new code: imported with it; patched; assigned by
``f.__code__ = ...``; and patched to code that captures another variable, for which bcpatch
makes a new function object. Prints one line of JSON; nanoseconds a call, the best of
several rounds.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import timeit
from types import ModuleType

import subject

from bcpatch import load
from bcpatch.process.history import History

TEXT = """
class Base:
    pass

class Thing(Base):
    def exact(self, a):
        BODY

    def default(self, a, b=2):
        BODY

    @property
    def accessor(self):
        BODY

    def __getitem__(self, a):
        BODY

def function(a):
    BODY
"""
OLD, NEW = TEXT.replace("BODY", "return 1"), TEXT.replace("BODY", "return 2")
CAPTURING = OLD.replace("        return 1", "        if 0: super\n        return 2")
CALLS = {
    "function": "function(1)",
    "method": "thing.exact(1)",
    "default": "thing.default(1)",
    "property": "thing.accessor",
    "__getitem__": "thing[1]",
}


def nanoseconds(module: ModuleType, repeat: int, number: int) -> dict[str, float]:
    names = {"thing": module.Thing(), "function": module.function}
    found = {}
    for name, call in CALLS.items():
        best = min(timeit.repeat(f"{call};" * 10, globals=names, repeat=repeat, number=number))
        found[name] = round(best / number / 10 * 1e9, 1)
    return found


def patched(name: str, new: str) -> ModuleType:
    module = subject.load(OLD, name)
    load.apply(subject.patch(OLD, new, name), History())
    return module


def assigned() -> ModuleType:
    module, source = subject.load(OLD, "assigned"), subject.load(NEW, "source")
    module.function.__code__ = source.function.__code__
    for name in ("exact", "default", "__getitem__"):
        vars(module.Thing)[name].__code__ = vars(source.Thing)[name].__code__
    module.Thing.accessor.fget.__code__ = source.Thing.accessor.fget.__code__
    return module


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--number", type=int, default=20_000)
    options = parser.parse_args()
    modules = {
        "never patched": subject.load(NEW, "never"),
        "patched": patched("patched", NEW),
        "assigned": assigned(),
        "new object": patched("replaced", CAPTURING),
    }
    found = {kind: nanoseconds(module, options.repeat, options.number) for kind, module in modules.items()}
    print(json.dumps({"python": platform.python_version(), **found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
