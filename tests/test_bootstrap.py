"""A program started through bcpatch sees, prints and ends as it does when Python starts it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from running import PATIENCE, environment

from bcpatch.running import bootstrap

LOOK = """
    '''What a program can see of how it was started.'''
    import atexit, os, pickle, sys

    class Here:
        pass

    atexit.register(print, "at exit")
    names = {name: value for name, value in globals().items() if name not in ("__builtins__", "Here")}
    print(sorted(names.items(), key=str))
    print(type(__builtins__), __name__, __doc__)
    print(sys.argv, sys.path, sys.orig_argv[1:], sys.flags)
    print(pickle.loads(pickle.dumps(Here())).__class__ is Here, sys.modules["__main__"].Here is Here)
"""

ENDS = {
    "by its end": "",
    "by sys.exit": "import sys; sys.exit(3)",
    "by sys.exit with words": "import sys; sys.exit('words')",
    "by an error": "def f():\n    1 / 0\nf()",
    "by an error with a cause": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError from e",
    "by a syntax error": "x = (",
    "by an interrupt": "raise KeyboardInterrupt",
    "by a signal": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "with a hook of its own": "import sys\nsys.excepthook = lambda *_: print('hook', _[0], _[2].tb_lineno)\n1 / 0",
    "with a thread left": "import threading\nthreading.Timer(0.05, print, ['thread']).start()\n1 / 0",
}


def outcome(command: list[str], folder: Path, **more: str) -> tuple[int, str, str]:
    done = subprocess.run(
        command, cwd=folder, env=environment(**more), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    where = re.compile(r"0x[0-9a-f]+")
    return done.returncode, where.sub("0x", done.stdout), where.sub("0x", done.stderr)


def both(words: list[str], folder: Path, module: str | None = None, *options: str, **more: str):
    """What comes of starting a program plainly, and through bcpatch."""
    plain = [sys.executable, *options, *(["-m", module] if module else []), *words]
    return (
        outcome(plain, folder, **more),
        outcome(bootstrap.command(words, module, options), folder, BCPATCH_SUPERVISOR="", **more),
    )


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("module", [None, "program"])
def test_it_sees_prints_and_ends_the_same(tmp_path, end, module):
    (tmp_path / "program.py").write_text(dedent(LOOK) + ENDS[end] + "\n")
    (tmp_path / "__pycache__").mkdir()  # so that the first start of a module is like the second
    words = ["a", "-m", "--b"] if module else ["program.py", "a", "-m", "--b"]
    if module:
        outcome([sys.executable, "-m", "compileall", "-q", "."], tmp_path)
    plain, ours = both(words, tmp_path, module)
    assert ours == plain


def test_a_script_elsewhere_and_through_a_symbolic_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "helper.py").write_text("print('helper')\n")
    (tmp_path / "real" / "program.py").write_text("import helper\n" + dedent(LOOK))
    (tmp_path / "link.py").symlink_to(tmp_path / "real" / "program.py")
    plain, ours = both(["link.py"], tmp_path)
    assert ours == plain
    assert ours[1].startswith("helper")


def test_the_current_folder_is_none_of_a_scripts(tmp_path):
    """Modules there that are called like those of the standard library are not bcpatch's business either."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "program.py").write_text(dedent(LOOK))
    for name in ("logging", "socket", "queue", "threading", "msgspec", "bcpatch"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')\n")
    plain, ours = both(["real/program.py"], tmp_path)
    assert ours == plain
    assert plain[0] == 0


def test_a_folder_with_a_main_module(tmp_path):
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "__main__.py").write_text(dedent(LOOK))
    plain, ours = both(["program", "a"], tmp_path)
    assert ours == plain


def test_the_safe_path_is_kept_safe(tmp_path):
    (tmp_path / "program.py").write_text(dedent(LOOK))
    plain, ours = both(["program.py"], tmp_path, PYTHONSAFEPATH="1")
    assert ours == plain


def test_the_interpreters_options(tmp_path):
    (tmp_path / "program.py").write_text("import sys; assert False; print(sys.flags, sys._xoptions)\n")
    plain, ours = both(["program.py"], tmp_path, None, "-O", "-X", "utf8")
    assert ours == plain
    assert plain[0] == 0


def test_a_module_that_is_not_there(tmp_path):
    plain, ours = both([], tmp_path, "no_such_module")
    assert ours == plain
    assert plain[0] == 1


def test_multiprocessing_finds_its_functions_again(tmp_path):
    (tmp_path / "program.py").write_text(
        dedent("""
        import multiprocessing

        def square(number):
            return number * number

        if __name__ == "__main__":
            for method in multiprocessing.get_all_start_methods():
                with multiprocessing.get_context(method).Pool(1) as pool:
                    print(method, pool.map(square, [1, 2, 3]))
        """)
    )
    plain, ours = both(["program.py"], tmp_path, PYTHONWARNINGS="ignore")
    assert ours == plain
    assert "[1, 4, 9]" in ours[1]
