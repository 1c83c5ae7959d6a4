"""What is measured on: processor, memory, system, and how busy it is besides."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def description() -> dict[str, str]:
    """The machine in a few words, and its load at the start."""
    return {
        "processor": _line("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "load at the start": f"{os.getloadavg()[0]:.2f}",
    }


def busy() -> str:
    """A warning where other programs are at work, else nothing."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load < 0.15 * cores:
        return ""
    return f"the machine is busy (load average {load:.2f} on {cores} cores): times will be too long, and ratios off"


def _line(file: str, name: str) -> str:
    try:
        lines = Path(file).read_text("utf-8").splitlines()
    except OSError:  # this system has no such file
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
