"""Keeps running processes equal to the sources on disk.

What was saved is compared with what each process runs, built, and sent; what a process
runs is known from the sources at the start and from what it accepted since. Knows no
editors, no terminal, and neither starts nor ends a process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from bcpatch import across, builder, patchfile
from bcpatch.builder import Outcome
from bcpatch.channels.peer import Peer
from bcpatch.channels.protocol import (
    Applied,
    Apply,
    LoadedReply,
    LoadedRequest,
    Refusal,
    identity,
)
from bcpatch.diagnostics import Diagnostic, errors, relative
from bcpatch.fingerprint import this_interpreter
from bcpatch.model import (
    AdditionEdit,
    ClassPositionEdit,
    Edit,
    FunctionEdit,
    ImportEdit,
    Interpreter,
    Module,
    Patch,
    Policy,
    PositionEdit,
    RemovalEdit,
    ValueEdit,
)
from bcpatch.running.worker import Content, Delta, Worker, answers, application, asked, real, reason
from bcpatch.source.outline import Source
from bcpatch.watch import SUFFIX, Batch, Fate, Voice, sources

#: Findings that a half-written file causes too: looked at again before they are believed.
DOUBTFUL: Final = frozenset({"BCP001", "BCP002", "BCP202"})

#: A process that says only this runs something else than it was taken for.
DIFFERS: Final = frozenset({"BCP502", "BCP503", "BCP504"})

#: Seconds that a process may take to answer what is asked to save time later.
IDLE_SECONDS: Final = 0.5

#: Bytes of text from which on a process reads them from its disk, rather than from the patch: that takes less time.
LARGE: Final = 1 << 16

#: Sites that a line names; more are counted.
NAMED: Final = 4


class Change(msgspec.Struct, frozen=True):
    """The loaded sources in which what a process runs differs from the disk, before and after.

    ``interpreter`` compiled what runs. Processes of equal changes get the same patch.
    """

    interpreter: Interpreter
    old: tuple[Source, ...]
    new: tuple[Source, ...]

    def of(self, paths: Iterable[str]) -> Change:
        """The part of it that concerns some files."""
        wanted = set(paths)
        kept = [index for index, source in enumerate(self.new) if os.path.abspath(source.path) in wanted]
        return Change(
            self.interpreter, tuple(self.old[index] for index in kept), tuple(self.new[index] for index in kept)
        )

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(os.path.abspath(source.path) for source in self.new))


class Built(msgspec.Struct, frozen=True):
    """What building a change came to, and the workers that it is for."""

    change: Change
    outcome: Outcome
    workers: list[Worker]


class Sent(msgspec.Struct, frozen=True):
    """What came of sending a patch, besides what was said: the workers that have loaded something else by now.

    ``refused`` is the change with all that speaks against it, where it is the patch itself that all refuse.
    """

    other: Sequence[Worker] = ()
    refused: Sequence[tuple[Change, Outcome]] = ()


class Follower:
    """Brings every worker to what is saved. ``start`` are the sources, by path, before the application started."""

    def __init__(self, start: Mapping[str, bytes], policy: Policy, voice: Voice) -> None:
        self._policy = policy
        self._voice = voice
        self._start = start
        self._disk: dict[str, Content] = {}
        self._refused: set[str] = set()
        self._loaded: set[str] = set()
        self._prepared: set[str] = set()
        self._workers: dict[Peer, Worker] = {}
        self._strangers: set[Interpreter] = set()

    # --- workers -------------------------------------------------------------------

    def joined(self, peer: Peer) -> None:
        """A process has greeted: it runs the sources at the start, those on disk, or what its parent ran."""
        if not self._same_python(peer.hello.interpreter):
            return
        generation = peer.hello.generation
        relatives = [worker.runs for worker in self._workers.values() if generation in worker.runs]
        runs = dict(relatives[0]) if generation and relatives else {generation: {}}
        worker = Worker(peer, runs, generation)
        self._workers[peer] = worker
        self._voice.say(f"process {worker.pid} takes patches")
        peer.ask(Apply(patch=patchfile.encode(_nothing(worker.interpreter)), dry_run=True))
        if self._disk:
            self._catch_up(worker)

    def left(self, peer: Peer) -> None:
        """A process has ended, or hung up."""
        self._workers.pop(peer, None)

    def _same_python(self, theirs: Interpreter) -> bool:
        ours = this_interpreter()
        if msgspec.structs.replace(theirs, optimization=ours.optimization) == ours:
            return True
        if theirs not in self._strangers:
            self._strangers.add(theirs)
            self._voice.say(f"can't patch a process that runs {theirs}: this bcpatch runs {ours}; use one for both")
        return False

    def _catch_up(self, worker: Worker) -> None:
        """Bring a late process to the disk, unless it has imported that already.

        One that can't be brought there now is taken to run the old sources still: the next save tries again.
        """
        change = self._changes([worker], self._disk).get(worker)
        if change is None or not change.new:
            return
        outcome = self._compared(change)
        if outcome.patch is None or not outcome.patch.modules:
            worker.imports(self._disk)
            return
        data = patchfile.encode(outcome.patch)
        reply = asked([worker], Apply(patch=data))[worker]
        if isinstance(reply, Applied):
            worker.went_live(reply.generation, patchfile.digest_of(data), dict(self._disk))
            self._voice.say(f"process {worker.pid} was brought to what is live")
        elif isinstance(reply, Refusal) and {one.code for one in errors(reply.diagnostics)} <= DIFFERS:
            worker.imports(self._disk)

    def prepare(self, more: Callable[[], bool] = lambda: False) -> bool:
        """Read what the processes have loaded, so that the first save of it takes no longer than others.

        ``more`` tells, at every step, whether there is something else to do. Returns whether there may be more to read.
        """
        for worker, reply in asked(self._workers.values(), LoadedRequest(), IDLE_SECONDS).items():
            if isinstance(reply, LoadedReply):
                worker.says(reply)
        files = {real(path): path for path in (*self._start, *self._disk)}
        before = len(self._prepared)
        for worker in self._workers.values():
            level = worker.interpreter.optimization
            for file in files.keys() & worker.modules.keys() - self._prepared:
                content = self._seen(files[file])
                source = _source(worker.modules[file][0], files[file], content or b"")
                if any(more() for _ in builder.prepare(source, level)):
                    return True
                self._prepared.add(file)
        return len(self._prepared) > before

    # --- saves -----------------------------------------------------------------------

    def saved(self, batch: Batch, more: Callable[[], bool] = lambda: False) -> Fate:
        """Make live what was saved, or say why not.

        ``more`` tells, before anything is sent, whether something else was saved meanwhile.
        """
        fresh = self._fresh(batch.paths)
        if not fresh:
            return Fate.DONE
        if not batch.again and any(not content and self._seen(path) for path, content in fresh.items()):
            return Fate.DOUBTFUL
        disk = {**self._disk, **fresh}
        workers = list(self._workers.values())
        expected = self._expected(workers, fresh, disk)
        made = self._made(expected, fresh)
        sure = not expected or not all(one.outcome.patch and one.outcome.patch.modules for one in made)
        if sure:
            made = self._made(self._changes(workers, disk), fresh)
        if not batch.again and any(one.code in DOUBTFUL for some in made for one in errors(some.outcome.diagnostics)):
            return Fate.DOUBTFUL
        if more():
            return Fate.MORE
        self._disk = disk
        self._conclude(made, fresh, batch.since, sure=sure)
        return Fate.DONE

    def _made(self, changes: Mapping[Worker, Change], fresh: Delta) -> list[Built]:
        """What building comes to for each worker; once for those that need the same."""
        groups: dict[Change, list[Worker]] = {}
        for worker, change in changes.items():
            groups.setdefault(change, []).append(worker)
        return [Built(*self._outcome(change, fresh), workers) for change, workers in groups.items()]

    def _conclude(self, made: Sequence[Built], fresh: Delta, since: float, *, sure: bool) -> None:
        """Send what was made, and tell of the rest. It is not ``sure`` where workers were not asked what they run."""
        if made:
            self._explain(fresh, {path for one in made for path in one.change.paths})
        self._refuse((one.change, one.outcome) for one in made if one.outcome.patch is None)
        sent = [
            self._bring(one, one.outcome.patch, since, sure=sure)
            for one in made
            if one.change.new and one.outcome.patch is not None
        ]
        self._refuse(refused for one in sent for refused in one.refused)
        other = [worker for one in sent for worker in one.other]
        if other:
            self._conclude(self._made(self._changes(other, self._disk), fresh), fresh, since, sure=True)

    def _refuse(self, refused: Iterable[tuple[Change, Outcome]]) -> None:
        """Tell why changes become no patches: once, however many processes would have got them."""
        reasons: dict[tuple[Diagnostic, ...], set[str]] = {}
        for change, outcome in refused:
            reasons.setdefault(outcome.diagnostics, set()).update(change.paths)
        for diagnostics, paths in reasons.items():
            self._refused.update(paths)
            self._voice.tell(diagnostics)
            names = _listed(map(relative, sorted(paths)))
            self._voice.say(f"refused: the application runs on with the code it has ({names})")

    def _explain(self, fresh: Delta, changed: set[str]) -> None:
        """Say why nothing comes of some of the saved files."""
        gone = [path for path, content in fresh.items() if content is None]
        same = [path for path in fresh if path not in changed and path not in gone]
        undone = [path for path in same if real(path) in self._loaded]
        unloaded = [path for path in same if real(path) not in self._loaded]
        self._refused.difference_update(undone, gone)
        for paths, words in (
            (gone, "deleted; what was imported from there runs on"),
            (undone, "back to what runs"),
            (unloaded, "not imported by the application yet, as its sys.modules tells: nothing to patch"),
        ):
            if paths:
                self._voice.say(f"{_listed(map(relative, paths))}: {words}")

    def _fresh(self, paths: Iterable[str]) -> dict[str, Content]:
        """The files at or below ``paths`` whose content is not what was last seen."""
        found: dict[str, Content] = {}
        for path in sorted(paths):
            for file in self._files(path):
                try:
                    content = _read(file)
                except OSError as error:
                    self._voice.say(f"can't read {relative(file)}: {str(error.strerror).lower()}")
                    continue
                if content != self._seen(file):
                    found[file] = content
        return found

    def _files(self, path: str) -> Iterator[str]:
        """A file; or, for a folder that came or went, the sources that are or were below it."""
        if os.path.isdir(path):
            yield from sources(path)
        if path in self._start or path in self._disk or path.endswith(SUFFIX):
            yield path
            return
        below = path + os.sep
        yield from (file for file in {**self._start, **self._disk} if file.startswith(below))

    def _seen(self, path: str) -> Content:
        return self._disk.get(path, self._start.get(path))

    # --- what differs ------------------------------------------------------------------

    def _changes(self, workers: Sequence[Worker], disk: Delta) -> dict[Worker, Change]:
        """For each worker that answers: the modules that it has loaded, where they differ from the disk.

        A file that it has not loaded is no change: a later import reads the disk.
        """
        changes = {}
        for worker, reply in asked(workers, LoadedRequest()).items():
            if not isinstance(reply, LoadedReply):
                worker.loaded = None
                self._voice.say(f"process {worker.pid}: {reason(reply)}")
                continue
            worker.says(reply)
            self._loaded.update(worker.modules)
            unloaded, changes[worker] = self._change(worker, reply, disk)
            if unloaded:
                worker.imports(unloaded)
        return changes

    def _expected(self, workers: Sequence[Worker], fresh: Delta, disk: Delta) -> dict[Worker, Change]:
        """The changes as they must be if no worker has loaded anything since it was asked; empty where one must be.

        A file that was not loaded may be by now. One that was is asked for by the way (`Apply.basis`).
        """
        changes = {}
        for worker in workers:
            if worker.loaded is None or not all(map(worker.modules.__contains__, map(real, fresh))):
                return {}
            unloaded, changes[worker] = self._change(worker, worker.loaded, disk)
            if unloaded:
                return {}
        return changes

    def _change(self, worker: Worker, loaded: LoadedReply, disk: Delta) -> tuple[Delta, Change]:
        """The files in which what a worker runs differs from the disk: those that it has not loaded, and the rest."""
        base = worker.base(loaded)
        modules = worker.modules
        pairs = []
        unloaded = {}
        for path in sorted({*disk, *base}):
            old, new = base.get(path, self._start.get(path)), disk.get(path, self._start.get(path))
            named = modules.get(real(path), ())
            if old == new:
                continue
            if not named or old is None:
                unloaded[path] = new
            elif new is not None:
                pairs += [(_source(module, path, old), _source(module, path, new)) for module in named]
        return unloaded, Change(worker.interpreter, tuple(old for old, _ in pairs), tuple(new for _, new in pairs))

    # --- building ------------------------------------------------------------------------

    def _outcome(self, change: Change, fresh: Iterable[str]) -> tuple[Change, Outcome]:
        """What building comes to: of all that differs, or without the files that were refused before.

        A file that needs a restart so holds up nothing that is saved after it.
        """
        held = self._refused.difference(fresh).intersection(change.paths)
        outcome = self._compared(change) if held else self._drafted(change)
        if outcome.patch is None and held:
            rest = change.of(path for path in change.paths if path not in held)
            return rest, self._drafted(rest)
        return change, outcome

    def _drafted(self, change: Change) -> Outcome:
        """What building comes to as far as it is looked at here: the process that a patch goes to verifies it."""
        return builder.draft(change.old, change.new, policy=self._policy, optimization=change.interpreter.optimization)

    def _compared(self, change: Change) -> Outcome:
        return builder.compare(
            change.old, change.new, policy=self._policy, optimization=change.interpreter.optimization
        )

    # --- sending -------------------------------------------------------------------------

    def _bring(self, made: Built, patch: Patch, since: float, *, sure: bool) -> Sent:
        """Send the patch that was made, unless there is nothing in it."""
        paths = made.change.paths
        self._refused.difference_update(paths)
        content = {path: self._seen(path) for path in paths}
        if patch.modules:
            return self._send(made, patch, content, since, sure=sure)
        for worker in made.workers:
            worker.imports(content)
        self._voice.tell(made.outcome.diagnostics)
        self._voice.say(f"saved, and no code changed ({_listed(map(relative, paths))})")
        return Sent()

    def _send(self, made: Built, patch: Patch, content: Delta, since: float, *, sure: bool) -> Sent:
        lean = not sure and is_large(patch) and all(worker.has_texts for worker in made.workers)
        data = patchfile.encode(patchfile.without_texts(patch) if lean else patch)
        digest = patchfile.digest_of(data)
        applied: list[Applied] = []
        refusals: dict[tuple[Diagnostic, ...], list[int]] = {}
        notes: list[Diagnostic] = []
        other: list[Worker] = []
        requests = {worker: application(data, worker, sure=sure, texts_on_disk=lean) for worker in made.workers}
        for worker, reply in answers(requests).items():
            runs = worker.went(content)
            if isinstance(reply, Applied):
                worker.went_live(reply.generation, digest, runs)
                applied.append(reply)
                notes += map(_from_here, reply.notes)
            elif isinstance(reply, Refusal):
                refusals.setdefault(tuple(map(_from_here, reply.diagnostics)), []).append(worker.pid)
            elif isinstance(reply, LoadedReply):
                other.append(worker)
                worker.has_texts &= not lean or identity(reply) != requests[worker].basis
            else:
                worker.loaded = None
                worker.unanswered[digest] = runs
                self._voice.say(f"process {worker.pid}: {reason(reply)}")
        milliseconds = (time.monotonic() - since) * 1000
        if refusals and not applied:
            verified = self._compared(made.change)
            if verified.patch is None:
                return Sent(other, [(made.change, verified)])
        if len(other) < len(made.workers):
            notes[:0] = made.outcome.diagnostics
        self._voice.tell(tuple(dict.fromkeys(notes)))
        if applied:
            numbers = _listed(dict.fromkeys(f"generation {reply.generation}" for reply in applied))
            count = f"{len(applied)} process{'' if len(applied) == 1 else 'es'}"
            self._voice.say(f"live in {count} after {milliseconds:.0f} ms: {_brought(patch)} ({numbers})")
            loaded = list(self._loaded_by(made.workers))
            self._voice.tell(tuple(across.told(patch, loaded, made.outcome.diagnostics)))
        for found, pids in refusals.items():
            self._voice.tell(found)
            who = _listed(f"process {pid}" for pid in pids)
            self._voice.say(f"refused by {who}: the old code runs on there; the next save tries again")
        return Sent(other)

    def _loaded_by(self, workers: Iterable[Worker]) -> Iterator[Source]:
        """The sources of the modules that some workers have loaded."""
        files = {real(path): path for path in (*self._start, *self._disk)}
        for worker in workers:
            for file in files.keys() & worker.modules.keys():
                content = self._seen(files[file])
                if content is not None:
                    yield from (_source(module, files[file], content) for module in worker.modules[file])


# --- sources and words ------------------------------------------------------------------


def _nothing(interpreter: Interpreter) -> Patch:
    """A patch of no module: rehearsing it, a process imports what the first real one would have to wait for."""
    return Patch(interpreter, Policy.STRICT, 1, None, ())


def is_large(patch: Patch) -> bool:
    """Whether the texts that a patch carries are left to the disk of the process, if that may be."""
    return sum([len(part.source) for part in patch.modules]) >= LARGE


def _read(path: str) -> Content:
    """A file's content; None where there is no file."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _source(module: Module, path: str, content: bytes) -> Source:
    return Source(module, relative(path), content)


def _from_here(found: Diagnostic) -> Diagnostic:
    """What a process found, under the file's name that is shown for what was found here."""
    return msgspec.structs.replace(found, file=relative(found.file)) if found.file else found


def _brought(patch: Patch) -> str:
    """What a patch brings, in few words."""
    edits = [(part.module.name, edit) for part in patch.modules for edit in part.edits]
    named = [words for module, edit in edits for words in _named(module, edit)]
    if named:
        return _listed(dict.fromkeys(named))
    moved = all(isinstance(edit, (PositionEdit, ClassPositionEdit)) for _, edit in edits)
    what = "line numbers" if moved else "annotations or documentation"
    return f"{what} of {_listed(sorted({name for name, _ in edits}))}"


def _named(module: str, edit: Edit) -> Iterator[str]:
    """The functions and names that an edit changes."""
    match edit:
        case FunctionEdit(site=site):
            yield str(site)
        case AdditionEdit(owner=owner, names=names):
            yield from (f"{module}:{owner}{'.' if owner else ''}{name}" for name in names)
        case ValueEdit(owner=owner, name=name) | RemovalEdit(owner=owner, name=name):
            yield f"{module}:{owner}{'.' if owner else ''}{name}"
        case ImportEdit(binding=binding):
            yield f"{module}:{binding.name}"


def _listed(items: Iterable[str]) -> str:
    """Items with commas between them; of many, the first few and a count."""
    every = list(items)
    shown = every if len(every) <= NAMED else [*every[: NAMED - 1], f"and {len(every) - NAMED + 1} more"]
    return ", ".join(shown)
