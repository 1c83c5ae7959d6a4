"""A process for the edits of one module: versions imported afresh, and brought into a process that ran another.

    python installed.py JOB.json

Everything happens in children that it forks: nothing of one edit is there in the next. Prints a line of JSON for each
case: what came of its steps, and where the live process holds something else than a fresh one.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from anatomy import called, portrait

from bcpatch import load
from bcpatch.diagnostics import Refused, Severity
from bcpatch.process.history import History

MODULES = 25
SECONDS = 60


def main(file: str) -> int:
    job = json.loads(Path(file).read_text())
    sys.path.insert(0, job["folder"])
    top = job["module"].partition(".")[0]
    if top in sys.modules:
        print(json.dumps({"case": None, "outcome": "in use"}))
        return 0
    for number, case in enumerate(job["cases"]):
        said = {"case": number, **_Case(job, case).judged()}
        print(json.dumps(said), flush=True)
        if said["outcome"] == "not importable" and said["version"] == 0:
            break
    return 0


class _Case:
    """One module in a row of versions, and the patch from each to the next."""

    def __init__(self, job: dict[str, Any], case: dict[str, Any]) -> None:
        self.job, self.case = job, case
        self.texts: list[str] = case["texts"]
        self.stays = False
        """Whether it was told that instances, or documentation that something had made, stay as they were."""

    def judged(self) -> dict[str, Any]:
        fresh = []
        for version in range(len(self.texts)):
            seen = _in_child(lambda version=version: self._fresh(version))  # type: ignore[misc]
            if "portrait" not in seen:
                if version == 0:
                    return {"outcome": "not importable", "version": 0, "said": seen.get("said", "")}
                break
            fresh.append(seen)
        if len(fresh) < 2:
            return {"outcome": "not importable", "version": len(fresh)}
        if self.case["patches"][0] is None:
            found = _differences(_without_places(fresh[0]), _without_places(fresh[1]))
            return {"outcome": "nothing to do", "steps": [["nothing to do", [], [], found]]}
        return _in_child(lambda: self._live(fresh))

    def _fresh(self, version: int) -> dict[str, Any]:
        module = self._started(version)
        return self._seen(module, version, None)

    def _started(self, version: int) -> ModuleType:
        self._write(version)
        module = importlib.import_module(self.job["module"])
        if module.__file__ != self.job["file"]:
            raise ImportError(f"it comes from {module.__file__}")
        importlib.import_module(self.job["client"])
        return module

    def _write(self, version: int) -> None:
        Path(self.job["file"]).write_bytes(self.texts[version].encode())

    def _seen(self, module: ModuleType, version: int, names: dict[str, list[str]] | None) -> dict[str, Any]:
        """What the modules of the folder hold, and what the functions do that do no harm."""
        there = [
            one
            for name, one in sorted(sys.modules.items())
            if isinstance(one, ModuleType) and str(getattr(one, "__file__", "")).startswith(self.job["folder"])
        ]
        if names is not None:
            there = [one for one in there if one.__name__ in names]
        first = [one for one in there if one.__name__ in (self.job["module"], self.job["client"])]
        rest = [one for one in there if one not in first][: MODULES - len(first)]
        found = portrait([*first, *rest], {self.job["file"]: self.texts[version]}, names)
        calls = {name: called(module, name) for name in self.case["probes"][version]}
        return {
            "portrait": {**found, "calls": calls},
            "names": {one.__name__: sorted(vars(one)) for one in (*first, *rest)},
        }

    def _live(self, fresh: list[dict[str, Any]]) -> dict[str, Any]:
        history = History()
        module = self._started(0)
        before = self._seen(module, 0, None)
        unstable = frozenset(name for name, _ in _changed(before, fresh[0]))
        steps: list[list[Any]] = []
        generations = {0: 0}
        now = 0
        for version in range(1, len(fresh)):
            patch = self.case["patches"][version - 1]
            if patch is None:
                break
            held = self._seen(module, now, None)
            self._write(version)
            try:
                done = load.apply(Path(patch).read_bytes(), history)
            except Refused as refused:
                codes = sorted({one.code for one in refused.diagnostics if one.severity is Severity.ERROR})
                said = [f"{one.code} {one.message}" for one in refused.diagnostics]
                found = _differences(self._seen(module, now, None), held)
                steps.append(["refused", codes, said, found])
                break
            generations[version] = done.number
            now = version
            notes = [f"{one.code} {one.severity.value} {one.message}" for one in done.notes]
            self.stays |= "BCP521" in " ".join(notes)
            found = [*self._compared(module, fresh, version, unstable, now)]
            steps.append(["live", sorted({one.partition(" ")[0] for one in notes}), notes, found])
        for version in (*range(now - 1, -1, -1), now) if now else ():
            self._write(version)
            try:
                load.rollback(history, generations[version])
            except Refused as refused:
                said = [f"{one.code} {one.message}" for one in refused.diagnostics]
                steps.append(["refused to go back", sorted({one.code for one in refused.diagnostics}), said, []])
                break
            steps.append(["back", [], [], [*self._compared(module, fresh, version, unstable, now)]])
        return {"outcome": steps[0][0], "steps": steps}

    def _is_state(self, path: str) -> bool:
        """Whether something stays as it is: what was told of, and what another module's import made of a call."""
        if self.stays and ("/state/" in path or path.endswith("/doc")):
            return True
        if self.case["warned"] and not any(part in path for part in ("/code", "/defaults", "/keywords")):
            return True
        own = path.startswith((f"/{self.job['module']}:", f"/{self.job['client']}:", "/calls"))
        return not own and not any(part in path for part in ("/code", "/members", "/closure"))

    def _compared(
        self, module: ModuleType, fresh: list[dict[str, Any]], version: int, unstable: frozenset[str], last: int
    ) -> Iterator[str]:
        wanted = fresh[version]
        live = self._seen(module, version, wanted["names"])
        for path, said in _changed(live, wanted):
            if path not in unstable and not self._is_state(path):
                yield said
        for name, names in live["names"].items():
            known = {one for each in fresh[: last + 1] for one in each["names"].get(name, ())}
            more = set(names) - known - {"__annotations__", "__warningregistry__", "__annotate__"}
            if more:
                yield f"{name} holds more: {sorted(more)}"


def _in_child(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What some work says, done in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        status = 0
        try:
            os.close(reading)
            signal.alarm(SECONDS)
            with open(writing, "wb") as stream, open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), 1)
                os.dup2(nothing.fileno(), 2)
                try:
                    said = work()
                except BaseException:  # noqa: BLE001 - it is told by whoever waits
                    said = {"outcome": "crash", "said": traceback.format_exc()[-1500:]}
                pickle.dump(said, stream)
        except BaseException:  # noqa: BLE001 - a child must not go on as its parent
            status = 1
        os._exit(status)
    os.close(writing)
    with open(reading, "rb") as stream:
        data = stream.read()
    _, status = os.waitpid(child, 0)
    if not data:
        return {"outcome": "crash", "said": f"a process ended with status {status}"}
    said = pickle.loads(data)
    assert isinstance(said, dict)
    return said


# --- comparing ---------------------------------------------------------------------------------------


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _flat(one, f"{path}/{key}")
    elif isinstance(value, (list, tuple)):
        yield f"{path}#", len(value)
        for at, one in enumerate(value):
            yield from _flat(one, f"{path}/{at}")
    else:
        yield path, value


def _changed(live: dict[str, Any], fresh: dict[str, Any]) -> Iterator[tuple[str, str]]:
    mine, its = dict(_flat(live["portrait"])), dict(_flat(fresh["portrait"]))
    for path in {**its, **mine}:
        if mine.get(path, "nothing") != its.get(path, "nothing"):
            yield path, f"{path}: {mine.get(path, 'nothing')!r:.200}; fresh: {its.get(path, 'nothing')!r:.200}"


def _differences(live: dict[str, Any], fresh: dict[str, Any]) -> list[str]:
    return [said for _, said in _changed(live, fresh)]


def _without_places(seen: dict[str, Any]) -> dict[str, Any]:
    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: cut(one[:2] if key == "code" else one) for key, one in value.items() if key != "__firstlineno__"
            }
        if isinstance(value, (list, tuple)):
            return [cut(one) for one in value]
        return value

    return {"portrait": {key: cut(one) for key, one in seen["portrait"].items() if key != "calls"}}


if __name__ == "__main__":
    main(sys.argv[1])
    sys.stdout.flush()
    os._exit(0)
