"""Can the commits of a real history be applied to a live process?

    python benchmarks/replay CLONE REV..REV --package src/shop --python VENV/bin/python [-- ARGUMENTS OF PYTEST]

For each commit that changes the package: a process starts on the parent's tree and imports the package whole, the new
tree takes the place of its files, a patch is built and applied, and the new version's own tests run in that process.
What passes in a process that starts on the new tree must pass there.

The same without a patch, the negative control, tells which commits discriminate: those whose tests fail in an old
process. The others can show damage only; `--everything` replays them too.

THIS RUNS THE CODE OF THE CLONE. The environment of `--python` needs pytest, the package's dependencies and bcpatch.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import itertools
import json
import os
import sys
from collections import Counter
from pathlib import Path, PurePosixPath

import history
from judge import OUTCOMES, Judged, Setting, Verdict, judge


def main() -> int:
    given, arguments = _divided(sys.argv[1:])
    options = _options(given)
    roots = {str(PurePosixPath(package).parent) for package in options.package}
    if len(roots) > 1:
        raise SystemExit("the packages must stand in one folder")
    tool = options.tool if options.tool == "bcpatch" else str(Path(options.tool).resolve())
    setting = Setting(
        options.repository,
        os.path.abspath(options.python),
        roots.pop(),
        tuple(options.package),
        tuple(options.tests or ["tests"]),
        options.whole,
        tool,
        tuple(options.policy or ["linked"]),
        options.seconds,
        arguments,
        options.everything,
    )
    chosen = [*itertools.islice(_chosen(setting, options.span), options.limit)]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        judged = [*map(_told, pool.map(lambda commit: judge(setting, commit), chosen))]
    if options.json:
        Path(options.json).write_text(json.dumps([dataclasses.asdict(one) for one in judged], indent=1) + "\n")
    for policy in setting.policies:
        _table(policy, judged)
    outcomes = {verdict.outcome for one in judged for verdict in one.verdicts}
    return 1 if outcomes & {"wrong", "crash", "refused, changed"} else 0


def _divided(given: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """What stands before ``--``, and what pytest gets (argparse takes no list behind options)."""
    end = given.index("--") if "--" in given else len(given)
    return given[:end], tuple(given[end + 1 :])


def _options(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="replay",
        usage="%(prog)s CLONE REV..REV --package PATH [OPTION...] [-- ARGUMENTS OF PYTEST]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("repository", help="a git clone")
    parser.add_argument("span", metavar="REV..REV", help="which commits")
    parser.add_argument("--package", action="append", required=True, help="a package's path in the clone; repeatable")
    parser.add_argument("--python", default=sys.executable, help="the interpreter, with all that the tests need")
    parser.add_argument("--tests", action="append", help="where the tests are (default: tests); repeatable")
    parser.add_argument("--whole", action="store_true", help="run the whole suite, not the test files a commit changes")
    parser.add_argument("--everything", action="store_true", help="replay commits that do not discriminate as well")
    parser.add_argument("--policy", action="append", choices=("strict", "linked"), help="default: linked; repeatable")
    parser.add_argument("--tool", default="bcpatch", help="bcpatch, or a file that defines apply(old, new, policy)")
    parser.add_argument("--limit", type=int, help="at most so many commits, the newest")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at once")
    parser.add_argument("--seconds", type=float, default=180, help="how long one process may take")
    parser.add_argument("--json", metavar="OUT", help="write everything to a file, failures of tests included")
    return parser.parse_args(given)


def _chosen(setting: Setting, span: str) -> itertools.chain[history.Commit]:
    """The commits that change the package, and tests unless the whole suite runs."""
    found = (
        commit
        for commit in history.commits(setting.repository, span)
        if any(name.endswith(".py") and history.is_below(name, setting.packages) for name in commit.changed)
        and (
            setting.whole
            or any(history.is_test(name) and history.is_below(name, setting.suite) for name in commit.changed)
        )
    )
    return itertools.chain(found)


def _told(one: Judged) -> Judged:
    said = ", ".join(map(_in_words, one.verdicts))
    told = said or one.note or "its tests pass in the old process"
    print(f"{one.commit.digest[:10]}  {told[:110]}  {one.commit.subject[:60]}", file=sys.stderr, flush=True)
    return one


def _in_words(verdict: Verdict) -> str:
    warned = f"({', '.join(verdict.warned)} warned)" if verdict.outcome == "wrong" and verdict.warned else ""
    return " ".join(filter(None, (f"{verdict.policy}: {verdict.outcome}", *_rules(verdict.refused), warned)))


def _rules(refused: tuple[tuple[str, str], ...]) -> list[str]:
    return sorted({code for code, _ in refused})


def _table(policy: str, judged: list[Judged]) -> None:
    print(f"\n{policy:22}" + "".join(f"{outcome:>18}" for outcome in OUTCOMES))
    verdicts = [(one, verdict) for one in judged for verdict in one.verdicts if verdict.policy == policy]
    for heading, wanted in (("discriminating", True), ("other commits", False)):
        counts = Counter(verdict.outcome for one, verdict in verdicts if one.discriminating is wanted)
        print(f"{heading:22}" + "".join(f"{counts[outcome]:>18}" for outcome in OUTCOMES))
    rules = Counter(code for _, verdict in verdicts for code in _rules(verdict.refused))
    for code, count in rules.most_common():
        print(f"  {code} refused {count}")


if __name__ == "__main__":
    sys.exit(main())
