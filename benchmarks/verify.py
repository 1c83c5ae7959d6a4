"""What does verifying cost, an instruction, and which part of it how much?

    python -m benchmarks.verify [--quick]

Microseconds of processor time an instruction, on modules of the standard library: for the structure rules, and
for all that a patch must satisfy, with the share of each part; beside ``compile()``, ``dis._unpack_opargs`` and
``dis.get_instructions`` on the same code.
"""

from __future__ import annotations

import contextlib
import dis
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from bcpatch import fingerprint, flow, verify
from bcpatch.model import Patch
from bcpatch.rules import needs, references, structure, wellformed
from benchmarks.suite import sample
from benchmarks.suite.results import Measure, Row
from benchmarks.suite.run import Run, alone

#: The parts of verifying a patch, by the functions that do them.
_PARTS: Final = {
    "structure": [(structure, "check")],
    "references": [(references, "check")],
    "links": [(needs, "links")],
    "form": [(wellformed, "check"), (wellformed, "edits")],
}
GOAL: Final = 10.0


def rows(run: Run) -> Iterator[Row]:
    """Microseconds an instruction, by what is done; and shares of verifying in percent."""
    step, rounds = (6, 7) if run.quick else (4, 9)
    compiled = [compile(text, name, "exec", dont_inherit=True) for name, text in sample.texts(step)]
    flat = [one for code in compiled for one in sample.nested(code)]
    encoded = [fingerprint.encode(code) for code in compiled]
    unpack: Callable[[bytes], Iterator[object]] = dis._unpack_opargs  # type: ignore[attr-defined]
    count = sum(len(list(unpack(code.co_code))) for code in flat)
    works = {
        "compile()": sample.each(
            lambda pair: compile(pair[1], pair[0], "exec", dont_inherit=True), list(sample.texts(step))
        ),
        "dis._unpack_opargs": sample.each(lambda code: list(unpack(code.co_code)), flat),
        "dis.get_instructions": sample.each(lambda code: list(dis.get_instructions(code)), flat),
        "bcpatch: structure": sample.each(flow.analyze, encoded),
        "bcpatch: structure, uses": sample.each(lambda code: _uses(flow.analyze(code)), encoded),
    }
    measure = Measure("verify", "modules of the standard library", "an instruction", "µs", "compile()")
    for tool, work in works.items():
        yield measure.of(tool, [sample.seconds(work) / count * 1e6 for _ in range(rounds)])
    for kind, patches in (("linked", sample.patches(step)), ("strict", sample.strict_patches(step))):
        yield from _patches(measure, kind, list(patches), rounds)


def _uses(found: flow.Flow) -> int:
    return len(found.uses) + sum(map(_uses, found.nested.values()))


def _patches(measure: Measure, kind: str, patches: list[Patch], rounds: int) -> Iterator[Row]:
    count = sum(map(sample.instructions, patches))
    work = sample.each(verify.verify, patches)
    yield measure.of(f"bcpatch: a {kind} patch", [sample.seconds(work) / count * 1e6 for _ in range(rounds)], goal=GOAL)
    spent: dict[str, list[float]] = {part: [] for part in (*_PARTS, "the rest")}
    for _ in range(rounds):
        with _timed() as found:
            total = sample.seconds(work)
        for part, seconds in found.items():
            spent[part].append(100 * seconds / total)
        spent["the rest"].append(100 * (1 - sum(found.values()) / total))
    share = Measure("verify", f"a {kind} patch", "share of the time", "%")
    for part, shares in spent.items():
        yield share.of(f"bcpatch: {part}", shares)


@contextlib.contextmanager
def _timed() -> Iterator[dict[str, float]]:
    """Seconds of processor time spent in each part, while this lasts."""
    spent = dict.fromkeys(_PARTS, 0.0)
    with contextlib.ExitStack() as stack:
        for part, functions in _PARTS.items():
            for module, name in functions:
                real = getattr(module, name)
                setattr(module, name, _timing(real, spent, part))
                stack.callback(setattr, module, name, real)
        yield spent


def _timing(real: Callable[..., Any], spent: dict[str, float], part: str) -> Callable[..., Any]:
    def timed(*arguments: Any, **options: Any) -> Any:
        began = time.process_time()
        found = real(*arguments, **options)
        if isinstance(found, Iterator):
            found = list(found)  # it does its work only now
        spent[part] += time.process_time() - began
        return found

    return timed


if __name__ == "__main__":
    alone(rows)
