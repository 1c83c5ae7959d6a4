"""The environments of the tools: each its own, made from the package registry with the Python that is measured."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
WORKERS: Final = ROOT / "benchmarks" / "workers"

#: What is installed for each tool that bcpatch is measured beside.
REQUIREMENTS: Final = {
    "jurigged": ("jurigged>=0.6.1",),
    "IPython": ("ipython>=8.30",),
    "uvicorn --reload": ("uvicorn>=0.30",),
}


class NotHere(Exception):
    """A tool can't be installed on this Python; the message says why."""


def version() -> str:
    """The minor version of the Python that is measured, such as ``3.13``."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def folder() -> Path:
    """Where the environments for this Python are kept."""
    return ROOT / ".venvs" / "bench" / version()


@cache
def python(tool: str) -> Path:
    """The interpreter that has a tool; this one for bcpatch and for what needs no package.

    The first call makes the environment. Raises NotHere, again at every call.
    """
    if tool not in REQUIREMENTS:
        return Path(sys.executable)
    made = folder() / tool.split()[0]
    script = str(ROOT / "scripts" / "make-venv")
    command = [script, sys.executable, str(made), "--only", *REQUIREMENTS[tool]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith(("ERROR", "error", "make-venv"))]
        raise NotHere(f"does not install on Python {version()}: {(errors or ['pip failed'])[0]}")
    return made / "bin" / "python"


def versions() -> dict[str, str]:
    """The version of each tool whose environment has been made, and of bcpatch."""
    import bcpatch

    found = {"bcpatch": bcpatch.__version__}
    for tool, requirements in REQUIREMENTS.items():
        name = requirements[0].partition(">=")[0]
        interpreter = folder() / tool.split()[0] / "bin" / "python"
        if interpreter.exists():
            ask = f"from importlib.metadata import version; print(version({name!r}))"
            done = subprocess.run([interpreter, "-c", ask], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                found[tool] = done.stdout.strip()
    return found
