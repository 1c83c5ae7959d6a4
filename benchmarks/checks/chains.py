"""Do chains of patches, rollbacks and loads by hand, of modules full of namesakes, end as a fresh process?

    python -m benchmarks.checks.chains --minutes 10

`tests/test_chains.py` makes the chains. Prints one line of JSON: how many chains and what came of their steps.
A step that succeeded with a wrong outcome ends it, with the seed of its chain.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tests"))

import test_chains as chains


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    outcomes: Counter[str] = Counter()
    end = time.monotonic() + options.minutes * 60
    number = options.seed
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < end:
            try:
                chains.check(random.Random(number), Path(folder), outcomes)
            except AssertionError:
                print("seed", number, file=sys.stderr)
                raise
            number += 1
    count = number - options.seed
    print(json.dumps({"python": platform.python_version(), "seed": options.seed, "chains": count, "steps": outcomes}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
