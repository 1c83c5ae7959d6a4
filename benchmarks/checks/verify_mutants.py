"""Does anything that the verifier accepts crash the interpreter?

    python -m benchmarks.checks.verify_mutants [--seed N] [--count N] [--keep FOLDER]

Takes functions of the standard library and of tests/data/features_*.py, damages copies of their code
(mutation.py), verifies each copy, and runs every accepted one with made-up arguments in a child process
under limits of time and memory, with CPython's debugging allocator. The numbers that count: crashed must be 0, and of
the undamaged functions none may be refused. Mutant number K of seed N is always the same.

Prints one line of JSON; exit status 1 where something crashed. --keep stores what crashed, for a regression test.
"""

from __future__ import annotations

import argparse
import base64
import gc
import importlib
import inspect
import json
import os
import random
import resource
import select
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import CellType, CodeType, FrameType, FunctionType
from typing import Any, Final, NamedTuple

import msgspec

from bcpatch import fingerprint, flow
from bcpatch.flow.opcodes import FACTS
from bcpatch.model import Code
from benchmarks.checks import mutation

_DATA: Final = Path(__file__).resolve().parent.parent.parent / "tests" / "data"

#: Modules whose functions touch nothing but their arguments.
MODULES: Final = (
    "textwrap", "difflib", "heapq", "bisect", "statistics", "dataclasses", "functools", "collections", "contextlib",
    "fractions", "string", "tokenize", "ast", "enum", "random", "shlex", "urllib.parse", "html.parser", "argparse",
    "json.decoder", "json.encoder", "json.scanner", "csv", "typing", "types", "abc", "copy", "pprint", "reprlib",
    "graphlib", "numbers", "operator", "colorsys", "calendar", "datetime", "_pydecimal", "decimal", "configparser",
    "email._header_value_parser", "email.message", "inspect", "dis", "traceback", "weakref", "queue", "sched",
    "asyncio.tasks", "asyncio.locks", "asyncio.queues", "asyncio.streams", "asyncio.futures",
    "concurrent.futures._base", "xml.etree.ElementTree", "optparse", "gettext", "locale", "cmd", "code", "codeop",
    "ipaddress", "uuid", "base64",
    "quopri", "plistlib", "zipfile", "tarfile", "gzip", "lzma", "bz2", "_pyio", "pickle", "pickletools", "fnmatch",
    "posixpath", "ntpath", "genericpath", "stat", "mimetypes", "netrc", "getopt", "timeit", "unittest.mock",
    "unittest.case", "doctest", "logging", "logging.config", "http.cookies", "wsgiref.headers", "re._parser",
    "re._compiler",
)  # fmt: skip

#: What code under test must not do to the machine: refused by an audit hook.
FORBIDDEN: Final = (
    "os.", "subprocess.", "socket.", "shutil.", "ctypes.", "signal.", "pty.", "fcntl.", "mmap.", "tempfile.",
    "webbrowser.", "urllib.Request", "ftplib.", "smtplib.", "sqlite3.", "sys.addaudithook", "cpython.run_", "_thread.",
    "open", "syslog.", "resource.",
)  # fmt: skip

CALLS: Final = 14
SECONDS: Final = 0.25
STUCK: Final = 5.0
MEMORY: Final = 3 << 30
LARGEST: Final = 2500


class Subject(NamedTuple):
    """A function's code, and the globals to run it in."""

    code: Code
    globals: dict[str, Any]


def _functions(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & 1 and constant.co_name[0] not in "<.":
                yield constant
            yield from _functions(constant)


def subjects() -> list[Subject]:
    """The functions to damage, the same ones in the same order each time."""
    found = []
    for name in MODULES:
        try:
            module = importlib.import_module(name)
            source = Path(inspect.getsourcefile(module) or "").read_bytes()
        except (ImportError, OSError, TypeError):
            continue
        compiled = compile(source, name, "exec", dont_inherit=True)
        found += [Subject(fingerprint.encode(code), vars(module)) for code in _functions(compiled)]
    features: list[Subject] = []
    for path in sorted(_DATA.glob("features_*.py")):
        if tuple(map(int, path.stem.split("_")[1:])) > sys.version_info[:2]:
            continue
        scope = {"__name__": path.stem, "__builtins__": __builtins__}
        compiled = compile(path.read_bytes(), path.name, "exec", dont_inherit=True)
        features.append(Subject(fingerprint.encode(compiled), scope))
        features += [Subject(fingerprint.encode(code), scope) for code in _functions(compiled)]
    found = [subject for subject in found if len(subject.code.bytecode) <= LARGEST]
    return found + features * max(1, len(found) // (3 * len(features)))


# --- running ---------------------------------------------------------------------------


class Sponge:
    """An argument that takes part in everything, so that code gets far."""

    def __init__(self, *rest: object, **options: object) -> None:
        self.left = 3

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *rest: object, **options: object) -> Any:
        return self

    def __getitem__(self, key: object) -> Any:
        if isinstance(key, int) and key > 3:
            raise IndexError(key)
        return self

    def __setitem__(self, key: object, value: object) -> None: ...

    def __delitem__(self, key: object) -> None: ...

    def __iter__(self) -> Iterator[Any]:
        return iter((self, 1, "text"))

    def __len__(self) -> int:
        return 3

    def __bool__(self) -> bool:
        self.left -= 1
        return self.left % 3 != 0

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *rest: object) -> bool:
        return True

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *rest: object) -> bool:
        return True

    def __await__(self) -> Generator[Any, None, Any]:
        yield self
        return self

    def __aiter__(self) -> Any:
        self.left = 3
        return self

    async def __anext__(self) -> Any:
        self.left -= 1
        if self.left < 0:
            raise StopAsyncIteration
        return self

    def keys(self) -> list[str]:
        return ["a", "b"]

    def __add__(self, other: object) -> Any:
        return self

    __radd__ = __sub__ = __mul__ = __truediv__ = __or__ = __and__ = __mod__ = __add__

    def __lt__(self, other: object) -> bool:
        return True

    __gt__ = __le__ = __ge__ = __lt__


class Late(Exception):
    """Raised in code that runs too long."""


def _arguments(choose: random.Random, count: int) -> list[Any]:
    """Values of all sorts, new ones each time."""
    makers: tuple[Callable[[], Any], ...] = (
        Sponge, Sponge, Sponge, lambda: None, lambda: 0, lambda: 3, lambda: -1, lambda: 1 << 70, lambda: 1.5,
        lambda: "", lambda: "abc", lambda: b"ab", list, lambda: [1, 2, 3], tuple, lambda: (1, "a"), dict,
        lambda: {"a": 1, "b": [2]}, set, lambda: {1, 2}, lambda: range(3), lambda: iter([1, (2, 3)]), object,
        lambda: int, lambda: len, lambda: (lambda *a, **k: a), lambda: ValueError("x"), lambda: (x for x in (1, 2)),
        lambda: True, lambda: [(1, 2), (3, 4)], lambda: "key", lambda: ExceptionGroup("g", [ValueError(1), OSError(2)]),
        lambda: _raiser, lambda: bytearray(b"xy"), lambda: [Sponge()], lambda: {"only": 1},
    )  # fmt: skip
    return [choose.choice(makers)() for _ in range(count)]


def _raiser(*rest: object, **options: object) -> None:
    raise ExceptionGroup("group", [ValueError(1), KeyError(2), OSError(3)])


def _drive(value: Any, choose: random.Random) -> None:
    """Run what a call gave: generators and coroutines do nothing until asked."""
    if inspect.isasyncgen(value):
        source: Any = value
        ways = (source.__anext__, lambda: source.asend(None), lambda: source.athrow(ValueError), source.aclose)
        value = choose.choice(ways)().__await__()
    for _ in range(6):
        if not hasattr(value, "throw"):
            return
        match choose.randrange(8):
            case 0:
                value.throw(choose.choice((ValueError("thrown"), KeyError(1), GeneratorExit())))
            case 1:
                value.close()
            case 2:
                value.send(3)
            case _:
                value.send(None)


def _call(subject: Subject, code: CodeType, choose: random.Random) -> None:
    """Call a code object often enough that the interpreter specialises it."""
    cells = tuple(CellType(value) for value in _arguments(choose, len(code.co_freevars)))
    scope = dict(subject.globals)
    function = FunctionType(code, scope, "mutant", None, cells or None)
    for _ in range(CALLS):
        keywords = dict(
            zip(code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount], _arguments(choose, 9), strict=False)
        )
        extra = choose.choice((0, 0, 2)) if code.co_flags & 4 else 0
        try:
            result = function(*_arguments(choose, code.co_argcount + extra), **keywords)
            _drive(result, choose)
        except (Late, MemoryError):
            raise
        except BaseException:  # noqa: BLE001  whatever the mutant raises is its own affair
            continue


def _trace(frame: FrameType, event: str, argument: object) -> Any:
    """Follows every instruction, as a debugger may."""
    frame.f_trace_opcodes = True
    return _trace


def execute(subject: Subject, mutant: Code, choose: random.Random) -> str:
    """Run an accepted mutant: "ran", or "late" where time or memory ran out."""
    traced = choose.randrange(6) == 0
    try:
        _armed[0] = True
        signal.setitimer(signal.ITIMER_REAL, SECONDS, SECONDS)
        sys.settrace(_trace if traced else None)
        _call(subject, fingerprint.decode(mutant, "<mutant>"), choose)
    except (Late, MemoryError, RecursionError):
        return "late"
    finally:
        sys.settrace(None)
        _armed[0] = False
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "ran"


# --- child -----------------------------------------------------------------------------


def mutant(found: list[Subject], seed: int, number: int) -> tuple[Subject, Code, random.Random]:
    """Mutant ``number`` of ``seed``."""
    choose = random.Random(f"{seed}:{number}")
    subject = choose.choice(found)
    return subject, mutation.mutate(subject.code, choose), choose


def _is_accepted(code: Code) -> bool:
    try:
        flow.analyze(code)
    except flow.Malformed:
        return False
    return True


def _late(number: int, frame: FrameType | None) -> None:
    """Not in `execute` itself, which the exception would leave by another way than the mutant's; it comes again."""
    if _armed[0] and frame is not None and frame.f_code is not execute.__code__:
        raise Late


#: Whether the alarm may still raise: one that is late itself must not hit the verifier.
_armed = [False]


def _restrict() -> None:
    """Take from this process what a mutant could do harm with."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    allowed = frozenset(("os.fwalk", "os.walk", "open_code"))
    armed = os.getpid()

    def guard(event: str, arguments: tuple[object, ...]) -> None:
        if event.startswith(FORBIDDEN) and event not in allowed and os.getpid() == armed:
            raise PermissionError(event)

    signal.signal(signal.SIGALRM, _late)
    sys.addaudithook(guard)
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda unraisable: None
    sys.stdout = sys.stderr = _Quiet()


class _Quiet:
    """Where mutants may print to."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None: ...


def child(found: list[Subject], seed: int, start: int, end: int, out: int) -> None:
    """Mutants ``start`` to before ``end``; says on ``out`` what it is about to run and what came of it."""
    executed: set[str] = set()
    _restrict()
    for number in range(start, end):
        subject, code, choose = mutant(found, seed, number)
        if code == subject.code:
            os.write(out, b"same\n")
            continue
        if not _is_accepted(code):
            os.write(out, b"refused\n")
            continue
        os.write(out, b"run %d\n" % number)
        outcome = execute(subject, code, choose)
        executed |= mutation.opcodes(code)
        if number % 50 == 0:
            gc.collect()
        os.write(out, outcome.encode() + b"\n")
    os.write(out, b"opcodes " + ",".join(sorted(executed)).encode() + b"\n")
    os.write(out, b"end\n")


# --- parent ----------------------------------------------------------------------------


class Tally:
    """What came of the mutants so far."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.opcodes: set[str] = set()
        self.crashed: list[tuple[int, int]] = []
        self.running = -1

    def line(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "run":
            self.running = int(rest)
        elif word == "opcodes":
            self.opcodes.update(rest.split(","))
        elif word != "end":
            self.outcomes[word] += 1
            self.running = -1


def _batch(found: list[Subject], seed: int, start: int, end: int, tally: Tally) -> int:
    """Run one child; the number of the mutant to go on with."""
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(read)
        child(found, seed, start, end, write)
        os._exit(0)
    os.close(write)
    seen, buffer = start, b""
    while True:
        ready, _, _ = select.select([read], [], [], STUCK)
        data = os.read(read, 1 << 16) if ready else b""
        if not ready:
            os.kill(process, signal.SIGKILL)
        if not data:
            break
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            tally.line(line.decode())
            seen += not line.startswith((b"run", b"opcodes", b"end"))
    os.close(read)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if tally.running < 0:
        if status == 0:
            return end
        print(f"mutant {seen} of seed {seed}: status {status} between mutants", file=sys.stderr, flush=True)
        if status == -signal.SIGALRM:  # a mutant had taken the alarm's handler away
            tally.outcomes["stuck"] += 1
        elif status < 0:  # what ran before broke something
            tally.outcomes["crashed"] += 1
            tally.crashed.append((seen, -status))
        else:
            tally.outcomes["verifier failed"] += 1
        return seen + 1
    number, tally.running = tally.running, -1
    if status in (-signal.SIGKILL, -signal.SIGALRM):  # a mutant can take the alarm's handler away
        tally.outcomes["stuck"] += 1
    elif status < 0:
        tally.outcomes["crashed"] += 1
        tally.crashed.append((number, -status))
        print(f"mutant {number} of seed {seed}: {signal.Signals(-status).name}", file=sys.stderr, flush=True)
    else:
        tally.outcomes["left"] += 1
    return number + 1


def keep(folder: Path, seed: int, number: int) -> None:
    """Store a mutant for a regression test."""
    _, code, _ = mutant(subjects(), seed, number)
    version = ".".join(map(str, sys.version_info[:2]))
    row = {
        "python": version,
        "seed": seed,
        "number": number,
        "code": base64.b64encode(msgspec.msgpack.encode(code)).decode(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"crash-{version}-{seed}-{number}.json").write_text(json.dumps(row, indent=1) + "\n")


def run(seed: int, count: int, folder: Path | None, start: int = 0) -> dict[str, object]:
    """All of it; the numbers."""
    found = subjects()
    distinct = list(dict.fromkeys(subject.code for subject in found))
    refused = sum(not _is_accepted(code) for code in distinct)
    tally, began, at = Tally(), time.monotonic(), start
    home = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="mutants") as empty:
        os.chdir(empty)
        while at < start + count:
            at = _batch(found, seed, at, min(at + 2000, start + count), tally)
        os.chdir(home)
    for number, _ in tally.crashed:
        if folder:
            keep(folder, seed, number)
    outcomes = tally.outcomes
    return {
        "python": sys.version.split()[0],
        "seed": seed,
        "undamaged": len(distinct),
        "undamaged refused": refused,
        "mutants": sum(outcomes.values()) - outcomes["same"],
        "refused": outcomes["refused"],
        "accepted": sum(outcomes[word] for word in ("ran", "late", "stuck", "left", "crashed")),
        "ran out of time": outcomes["late"] + outcomes["stuck"],
        "exited": outcomes["left"],
        "verifier failed": outcomes["verifier failed"],
        "crashed": outcomes["crashed"],
        "crashes": [f"{number}:{signal.Signals(number_).name}" for number, number_ in tally.crashed],
        "opcodes run": len(tally.opcodes),
        "opcodes never run": sorted({facts.row.name for facts in FACTS.values()} - tally.opcodes),
        "seconds": round(time.monotonic() - began),
    }


def _enlarge_the_stack() -> None:
    """Let what is executed next have all the C stack that it may have.

    A mutant may go on and on with ``x = coroutine(x)``. So may plain Python code, and CPython 3.11 to 3.13
    ends with SIGSEGV when it frees a chain of 200,000 coroutines on a stack of 8 MB (3.14 does not).
    """
    _, most = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (most, most))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    if "PYTHONMALLOC" not in os.environ:  # finds writes behind a frame's stack where they happen
        _enlarge_the_stack()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {"PYTHONMALLOC": "debug"})
    result = run(options.seed, options.count, options.keep, options.start)
    print(json.dumps(result))
    return 1 if result["crashed"] or result["verifier failed"] or result["undamaged refused"] else 0


if __name__ == "__main__":
    sys.exit(main())
