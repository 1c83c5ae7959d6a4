"""Does the process stay what a fresh one is, whatever happens to it? The tests' state machine, for as long as you like.

    python -m benchmarks.checks.states --minutes 10

Lives of a process, each with edits, rollbacks, threads that call, closures and generators
that are kept, and errors raised at any step: `tests/test_state_machine.py` says what is
looked at after each. Every life is another one, but for ``--seed``. Prints one line of
JSON; a life that went wrong ends it, with the steps that lead there.
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

import test_state_machine as machines

LIVES = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--steps", type=int, default=20, help="of one life")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--policy", choices=machines.MACHINES, nargs="+", default=list(machines.MACHINES))
    options = parser.parse_args()
    print("seed", options.seed, file=sys.stderr)
    outcomes: dict[str, Counter[str]] = {policy: Counter() for policy in options.policy}
    end = time.monotonic() + options.minutes * 60
    number = options.seed
    while time.monotonic() < end:
        for policy in options.policy:
            outcomes[policy] += machines.run(policy, LIVES, options.steps, number)
            outcomes[policy]["lives"] += LIVES
        number += 1
    print(json.dumps({"python": platform.python_version(), "seed": options.seed, "steps": outcomes}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
