"""Are random edits of several modules at once live as in a fresh process, refused, or told? For as long as you like.

    python -m benchmarks.checks.modules --minutes 10 [--package]

`tests/programs.py` makes the modules and the edits and says what is looked at. Prints one line of JSON: what
came of the edits, and the rules that refused or warned. An edit that went wrong ends it, with its seed and all texts.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tests"))

import programs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--package", action="store_true", help="modules of a package, and one that uses it")
    parser.add_argument("--common", action="store_true", help="leave out rare ways to keep functions")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    layout = programs.PACKAGE if options.package else programs.SIDE_BY_SIDE
    outcomes: Counter[str] = Counter()
    rules: Counter[str] = Counter()
    end = time.monotonic() + options.minutes * 60
    number = options.seed
    while time.monotonic() < end:
        try:
            programs.check(random.Random(number), outcomes, rules, layout, rare=not options.common)
        except Exception:
            print("seed", number, file=sys.stderr)
            raise
        number += 1
    found = {"python": platform.python_version(), "seed": options.seed, "outcomes": outcomes, "rules": rules}
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
