"""An application whose module is edited while it runs: one thread tells when it first sees each new value.

    python live.py TOOL FOLDER FUNCTION

Runs in the environment of the tool, so it needs nothing but the standard library and the tool. Each line
that it prints is a value and the time, on the monotonic clock of the whole machine, of the call that gave it;
``ready`` is printed once the tool is at work.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from types import CodeType, ModuleType

import texts

#: Seconds between two looks: short beside what is measured, long enough to leave the tool its processor.
LOOK = 5e-5
POLL = 0.001


def observe(module: ModuleType, name: str) -> None:
    """Call the function over and over, by its name in the module."""
    last = None
    while True:
        try:
            _, value = getattr(module, name)(())
        except AttributeError:  # there are tools that empty the module first
            continue
        now = time.monotonic()
        if value != last:
            print(value, repr(now), flush=True)
            last = value
        time.sleep(LOOK)


# --- tools: what has to be done before the import, and what keeps the module fresh after it ----------


def bcpatch(module: ModuleType, name: str) -> None:
    """Nothing: ``bcpatch run`` started this program."""
    wait()


def jurigged(module: ModuleType, name: str) -> None:
    """Nothing more: it watches since before the import."""
    wait()


def reload(module: ModuleType, name: str) -> None:
    """It watches nothing, so the file is looked at every millisecond."""
    before = os.stat(module.__file__).st_mtime_ns
    print(texts.READY, flush=True)
    while True:
        after = os.stat(module.__file__).st_mtime_ns
        if after != before:
            importlib.reload(module)
            before = after
        time.sleep(POLL)


def ipython(module: ModuleType, name: str) -> None:
    """It looks before each cell, so cells are run back to back."""
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "autoreload")
    shell.run_line_magic("autoreload", "2")
    shell.run_cell("pass", store_history=False)
    print(texts.READY, flush=True)
    while True:
        shell.run_cell("pass", store_history=False)


def floor(module: ModuleType, name: str) -> None:
    """A file event, ``compile()`` of the whole file, and one assignment: nothing is looked at twice."""
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers import Observer

    path = module.__file__

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            if event.event_type not in {"created", "moved"} or path not in {event.src_path, event.dest_path}:
                return
            with open(path, "rb") as file:
                code = compile(file.read(), path, "exec", dont_inherit=True)
            codes = [one for one in code.co_consts if isinstance(one, CodeType) and one.co_name == name]
            getattr(module, name).__code__ = codes[0]

    observer = Observer()
    observer.schedule(Handler(), os.path.dirname(path))
    observer.start()
    wait()


def wait() -> None:
    print(texts.READY, flush=True)
    threading.Event().wait()


def main() -> None:
    tool, folder, name = sys.argv[1:]
    sys.path.insert(0, folder)
    if tool == "jurigged":
        from jurigged import watch

        watch(os.path.join(folder, "*.py"), logger=lambda *_: None)
    module = importlib.import_module(texts.MODULE)
    threading.Thread(target=observe, args=(module, name), daemon=True).start()
    {"bcpatch": bcpatch, "jurigged": jurigged, "importlib.reload": reload, "IPython": ipython, "floor": floor}[tool](
        module, name
    )


if __name__ == "__main__":
    main()
