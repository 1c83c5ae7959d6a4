"""Is what is found between the sections that differ what is found where the whole is compared?

    python -m benchmarks.checks.narrow_corpus [FOLDER...] [--edits N] [--step N] [--seed N]

Makes N edits, each of a few random changes, in every source below the standard library (or FOLDERs)
and compares the edits, findings and imports that `bcpatch.narrow` tells with those of
`bcpatch.compile`. --step N takes every Nth file.

Prints the differences on standard error and one line of JSON: how many edits were told between
the sections, and how many were left to the whole. Exit status 1 where something differs.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bcpatch import compile as compiler
from bcpatch import narrow
from bcpatch.diagnostics import Refused
from bcpatch.model import Module, Policy
from bcpatch.source import shape
from bcpatch.source.outline import Source, Unit, outline

#: Bytes beyond which a source is left out: comparing the whole of it takes long.
LARGEST: Final = 200_000
#: Numbers of changes, each as often as it stands here.
PLACES: Final = (1, 1, 2, 3)
MODULE: Final = Module("m", "m.py")
_STATEMENTS: Final = (
    "pass",
    "y = 1",
    "self.other = 3",
    "print(7)",
    "lambda: 3",
    "global other",
    "import json",
    "super",
)


def edited(text: str, draw: random.Random) -> str:
    """A text with a few small changes somewhere."""
    for _ in range(draw.choice(PLACES)):
        text = draw.choice(EDITS)(text, draw)
    return text


def _insert(line: str) -> Callable[[str, random.Random], str]:
    def insert(text: str, draw: random.Random) -> str:
        lines = text.split("\n")
        lines.insert(draw.randrange(len(lines)), line)
        return "\n".join(lines)

    return insert


def _on_top(text: str, draw: random.Random) -> str:
    return draw.choice(("\n", "# a comment\n", "\n\n")) + text


def _digit(text: str, draw: random.Random) -> str:
    places = [place for place, letter in enumerate(text) if letter in "0123456789"]
    if not places:
        return text
    place = draw.choice(places)
    return text[:place] + draw.choice("0123456789") + text[place + 1 :]


def _statement(text: str, draw: random.Random) -> str:
    lines = text.split("\n")
    places = [
        number for number, line in enumerate(lines) if line.lstrip().startswith(("return ", "self.", "if ", "x ="))
    ]
    if places:
        number = draw.choice(places)
        indent = lines[number][: len(lines[number]) - len(lines[number].lstrip())]
        lines.insert(number, indent + draw.choice(_STATEMENTS))
    return "\n".join(lines)


def _without(text: str, draw: random.Random) -> str:
    lines = text.split("\n")
    start = draw.randrange(len(lines))
    return "\n".join(lines[:start] + lines[start + draw.randrange(1, 6) :])


def _swapped(text: str, draw: random.Random) -> str:
    paragraphs = text.split("\n\n")
    one, other = draw.randrange(len(paragraphs)), draw.randrange(len(paragraphs))
    paragraphs[one], paragraphs[other] = paragraphs[other], paragraphs[one]
    return "\n\n".join(paragraphs)


EDITS: Final = (
    _insert(""),
    _insert("# a comment"),
    _on_top,
    _digit,
    _digit,
    _statement,
    _statement,
    _without,
    _swapped,
)


def differs(old: Unit, source: Source, policy: Policy) -> bool | None:
    """Whether both ways tell something else; None where the whole is asked anyway."""
    found = narrow.compared(old.source, source, policy, 0)
    if found is None:
        return None
    try:
        new = outline(source, 0)
    except Refused:
        return True
    whole = compiler.changes(old, new, policy, 0)
    imports = shape.imports(new.tree, MODULE, new.own_names)
    return found != narrow.Compared(whole.edits, whole.diagnostics, imports, whole.turns, whole.gained)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, default=[Path(sysconfig.get_path("stdlib"))])
    parser.add_argument("--edits", type=int, default=10)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    counts = {"between": 0, "whole": 0, "different": 0}
    for path in [path for folder in options.folders for path in sorted(folder.rglob("*.py"))][:: options.step]:
        data = path.read_bytes()
        try:
            text = data.decode()
            old = outline(Source(MODULE, "m.py", data), 0)
        except (UnicodeDecodeError, Refused):  # tests of the compiler keep some that don't compile
            continue
        if len(data) > LARGEST:
            continue
        for number in range(options.edits):
            source = Source(MODULE, "m.py", edited(text, draw).encode())
            for policy in Policy:
                found = differs(old, source, policy)
                counts["whole" if found is None else "different" if found else "between"] += 1
                if found:
                    sys.stderr.write(f"{path}: edit {number}, {policy.value}\n")
    sys.stdout.write(json.dumps({"python": sys.version.split()[0], **counts}) + "\n")
    return 1 if counts["different"] else 0


if __name__ == "__main__":
    sys.exit(main())
