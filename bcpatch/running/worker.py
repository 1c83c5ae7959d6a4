"""A process below the supervisor: what it runs, what it has loaded, and asking it.

Knows no patches but by digest, and no sources but as the contents of files.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import msgspec

from bcpatch.channels.peer import Peer
from bcpatch.channels.protocol import (
    Apply,
    Failure,
    LoadedModule,
    LoadedReply,
    Reply,
    Request,
    identity,
)
from bcpatch.channels.workers import ask_each
from bcpatch.model import Interpreter, Module

#: Seconds that a process may take to answer. One that is stopped in a debugger never does.
ANSWER_SECONDS: Final = 10.0

Content: TypeAlias = bytes | None
Delta: TypeAlias = Mapping[str, Content]

real = functools.cache(os.path.realpath)


class Worker(msgspec.Struct, eq=False):
    """A process that can be sent patches.

    ``runs`` tells for each of its generations how what it runs differs from the sources
    at the start, ``current`` which of them it runs; ``unanswered`` the same for each patch
    that it has not answered to yet, by digest. ``loaded`` is what it last said of its modules,
    and ``modules`` are these by the real path of their file. ``has_texts`` is False where it does
    not find on its disk what we find there.
    """

    peer: Peer
    runs: dict[int, Delta]
    current: int
    unanswered: dict[str, Delta] = msgspec.field(default_factory=dict)
    loaded: LoadedReply | None = None
    modules: dict[str, list[Module]] = msgspec.field(default_factory=dict)
    has_texts: bool = True

    @property
    def pid(self) -> int:
        return self.peer.hello.pid

    @property
    def interpreter(self) -> Interpreter:
        return self.peer.hello.interpreter

    def base(self, loaded: LoadedReply) -> Delta:
        """What it runs now; the latest that is known where another one has patched it."""
        found = self.runs.get(loaded.generation)
        if found is None and loaded.patch is not None:
            found = self.unanswered.get(loaded.patch)
        if found is None:
            found = self.runs[self.current]
        self.current = loaded.generation
        self.runs[self.current] = found
        return found

    def went(self, content: Delta) -> Delta:
        """What it runs when ``content`` has gone live on top of what it runs now."""
        return {**self.runs[self.current], **content}

    def says(self, loaded: LoadedReply) -> None:
        """It has told which modules it has loaded, and its generation."""
        self.loaded = loaded
        self.modules = {}
        for one in loaded.modules:
            self.modules.setdefault(real(one.path), []).append(_module(one))

    def went_live(self, generation: int, patch: str, runs: Delta) -> None:
        """A patch has made what it runs a generation; as far as is known it has loaded nothing meanwhile."""
        self.current = generation
        self.runs[generation] = runs
        if self.loaded is not None:
            self.loaded = LoadedReply(generation, patch, self.loaded.modules)

    def imports(self, content: Delta) -> None:
        """What it runs differs by ``content``, in whatever generation it is."""
        self.runs = {generation: {**delta, **content} for generation, delta in self.runs.items()}


def _module(loaded: LoadedModule) -> Module:
    folders = loaded.package.split(".") if loaded.package else []
    return Module(loaded.name, "/".join([*folders, os.path.basename(loaded.path)]))


def asked(workers: Iterable[Worker], request: Request, seconds: float = ANSWER_SECONDS) -> dict[Worker, Reply]:
    """What each worker answers to one request within ``seconds``; `Failure` where it doesn't."""
    return answers(dict.fromkeys(workers, request), seconds)


def answers(requests: Mapping[Worker, Request], seconds: float = ANSWER_SECONDS) -> dict[Worker, Reply]:
    """What each worker answers to its request."""
    answers = ask_each([(worker.peer, request) for worker, request in requests.items()], seconds)
    return {worker: answer.reply or Failure(answer.reason) for worker, answer in zip(requests, answers, strict=True)}


def application(data: bytes, worker: Worker, *, sure: bool, texts_on_disk: bool) -> Apply:
    """The request to apply a patch; where it's not ``sure`` what the worker has loaded, it may say so instead."""
    basis = None if sure or worker.loaded is None else identity(worker.loaded)
    return Apply(patch=data, basis=basis, texts_on_disk=texts_on_disk)


def reason(reply: Reply) -> str:
    return reply.message if isinstance(reply, Failure) else "it gave an answer to another question"
