"""What does verifying cost, an instruction?

    python benchmarks/verify_speed.py [--step N] [--rounds N]

Microseconds of processor time an instruction for the structure rules (`flow.analyze`), beside `compile()`,
`dis._unpack_opargs` and `dis.get_instructions` on the same code, in one run: the median of some rounds over a sample of
the standard library. Under 10 is the aim. `uses` is what the reference rules ask for on top.

Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import dis
import gc
import json
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import verify_corpus  # noqa: E402

from bcpatch import fingerprint, flow  # noqa: E402


def _all(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _all(constant)


def _uses(found: flow.Flow) -> int:
    return len(found.uses) + sum(map(_uses, found.nested.values()))


def _each(work: Callable[[Any], object], inputs: Iterable[Any]) -> None:
    """Do it to each and keep nothing: what is kept, the garbage collector walks over and over."""
    deque(map(work, inputs), maxlen=0)


def _seconds(work: Callable[[], object]) -> float:
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--step", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    texts = []
    for path in verify_corpus.sources(verify_corpus.folders()[:1], options.step):
        try:
            compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            continue
        texts.append(path.read_bytes())
    codes = [compile(text, "sample", "exec", dont_inherit=True) for text in texts]
    flat = [one for code in codes for one in _all(code)]
    encoded = [fingerprint.encode(code) for code in codes]
    instructions = sum(verify_corpus.count(flow.analyze(code))[1] for code in encoded)
    unpack: Callable[[bytes], Iterator[object]] = dis._unpack_opargs  # type: ignore[attr-defined]
    rows: dict[str, Callable[[], object]] = {
        "compile()": lambda: _each(lambda text: compile(text, "sample", "exec", dont_inherit=True), texts),
        "dis._unpack_opargs": lambda: _each(lambda code: list(unpack(code.co_code)), flat),
        "dis.get_instructions": lambda: _each(lambda code: list(dis.get_instructions(code)), flat),
        "flow.analyze": lambda: _each(flow.analyze, encoded),
        "flow.analyze and uses": lambda: _each(lambda code: _uses(flow.analyze(code)), encoded),
    }
    result: dict[str, object] = {
        "python": sys.version.split()[0],
        "code objects": len(flat),
        "instructions": instructions,
    }
    for name, work in rows.items():
        median = statistics.median(_seconds(work) for _ in range(options.rounds))
        result[name] = round(median / instructions * 1e6, 2)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
