"""What a process keeps of each edit that is made to it.

    python memory.py '{"tool": ..., "folder": ..., "function": ..., "steps": ..., "value": ...}'

Counted is what Python has allocated and not freed, between the end of the first fifth of the edits, when all
that is made once has been made, and the end of the last. Prints the bytes an edit as one line of JSON.
"""

from __future__ import annotations

import gc
import json
import sys
import tracemalloc

import edits
import texts


def kept() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def main() -> None:
    job = json.loads(sys.argv[1])
    folder, steps = job["folder"], job["steps"]
    (module,), refresh = edits.begin(job["tool"], folder, [texts.MODULE])
    warm = steps // 5
    before = 0
    for step in range(steps):
        if step == 2:
            tracemalloc.start()
        if step == warm:
            before = kept()
        edits.place(folder, step)
        refresh(step)
    after = kept()
    found = getattr(module, job["function"])(())
    if found != (0, job["value"]):
        raise SystemExit(f"the last edit is not live: {found}")
    print(json.dumps((after - before) / (steps - warm)))


if __name__ == "__main__":
    main()
