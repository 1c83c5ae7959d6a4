"""Starts a Python program as the interpreter would, after making it reachable.

`bcpatch run SCRIPT` and ``bcpatch run -m MODULE`` come through here, so that an
application need not call ``runtime.loop()`` itself. The program runs in the real
``__main__``, sees the arguments, path and tracebacks that it would see without
bcpatch, and ends the same way. Knows nothing of supervisors.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from types import CodeType, TracebackType
from typing import Final

from bcpatch import pythons
from bcpatch.running import spawned

#: What ``python -c`` is given: it leaves no name in ``__main__``, imports nothing from the
#: current folder, which is none of a script's folders, and finds the bcpatch that wrote it.
_START: Final = (
    "import sys; sys.flags.safe_path or sys.path.pop(0); sys.path.append({place!r});"
    " from bcpatch.running.bootstrap import main; sys.path.pop(); main()"
)


def command(words: Sequence[str], module: str | None, options: Sequence[str] = ()) -> list[str]:
    """The command line that starts a script (its path and arguments), or a module with its arguments.

    ``options`` are the interpreter's.
    """
    kind = ["script"] if module is None else ["module", module]
    start = _START.format(place=os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    return [sys.executable, *options, "-c", f"exec({start!r}, {{}})", *kind, *words]


def main() -> None:
    """Run what the arguments after ``-c`` name."""
    _, kind, name, *arguments = sys.argv
    sys.orig_argv = [
        *sys.orig_argv[: sys.orig_argv.index("-c")],
        *(["-m"] if kind == "module" else []),
        name,
        *arguments,
    ]
    spawned.join()
    try:
        if kind == "module":
            _run_module(name, arguments)
        else:
            _run_script(name, arguments)
    except BaseException:
        # The interpreter prints what nobody caught by this hook, and then ends as it would have.
        hook = sys.excepthook

        def without_us(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
            trace = _without_us(trace)
            hook(kind, error.with_traceback(trace), trace)

        sys.excepthook = without_us
        raise


def _run_module(name: str, arguments: Sequence[str]) -> None:
    sys.argv = ["-m", *arguments]
    if not sys.flags.safe_path:
        sys.path.insert(0, os.getcwd())
    runpy._run_module_as_main(name)  # type: ignore[attr-defined]  # what `python -m` calls


def _run_script(path: str, arguments: Sequence[str]) -> None:
    sys.argv = [path, *arguments]
    if os.path.isdir(path):
        sys.path.insert(0, os.path.abspath(path))
        runpy._run_module_as_main("__main__", False)  # type: ignore[attr-defined]
        return
    if not sys.flags.safe_path:
        sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    file = os.path.abspath(path)
    names = vars(sys.modules["__main__"])
    names["__file__"] = file
    names["__loader__"] = SourceFileLoader("__main__", file)
    if pythons.MAIN_CACHED:
        names["__cached__"] = None
    exec(_compiled(file), names)


def _compiled(file: str) -> CodeType:
    with open(file, "rb") as stream:
        return compile(stream.read(), file, "exec", dont_inherit=True)


def _without_us(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames below the program's own."""
    ours = {"<string>", __file__}
    while trace is not None and trace.tb_frame.f_code.co_filename in ours:
        trace = trace.tb_next
    return trace
