"""What a process says of its generations: plain data.

A generation is told by a `Record`: what it exchanged, which texts came with it, what files
show since. This module knows nothing of how records are kept or made.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType
from typing import Final, NamedTuple

import msgspec

from bcpatch.diagnostics import Diagnostic
from bcpatch.model import Module, Policy, Site, Splice
from bcpatch.process.swap import Change
from bcpatch.status import GenerationStatus


class SiteChange(msgspec.Struct, frozen=True):
    """What a generation did to one site: fingerprints, and how many functions it switched."""

    site: Site
    replaced: str
    brought: str
    functions: int
    closures: int = 0


class Generation(msgspec.Struct, frozen=True):
    """What one applied patch made of the process; 0 is the process as started.

    ``parent`` is the generation it was applied to, ``patch`` the digest of the patch file.
    ``applied`` is in seconds since the epoch, to a thousandth; ``milliseconds`` is what the
    apply took, to a tenth. ``certain`` is False where a Python audit hook made the one
    instant likely instead of certain. ``notes`` are warnings and notes. ``pending`` names
    the modules that were not imported when it was applied.
    """

    number: int
    parent: int
    patch: str | None
    policy: Policy | None
    applied: float
    milliseconds: float
    sites: tuple[SiteChange, ...] = ()
    notes: tuple[Diagnostic, ...] = ()
    certain: bool = True
    pending: tuple[str, ...] = ()

    @property
    def instant(self) -> str:
        """``certain`` or ``likely``."""
        return "certain" if self.certain else "likely"

    def status(self) -> GenerationStatus:
        """The same as it travels to another process."""
        return GenerationStatus(
            number=self.number,
            patch=self.patch,
            policy=self.policy,
            applied=self.applied,
            milliseconds=self.milliseconds,
            sites=len(self.sites),
            certain=self.certain,
        )


class Target:
    """A function that a generation switched, and its site."""

    __slots__ = ("function", "site")

    def __init__(self, function: FunctionType, site: Site) -> None:
        self.function: Final = function
        self.site: Final = site


class Version(msgspec.Struct, frozen=True):
    """The source text that a patch has for a module. ``replaces`` and ``brings`` are digests of texts.

    ``brought`` identifies everything that the patch's edits bring, where the policy is strict.
    ``source`` is None where the module was loaded and its file had just this text: then it is not kept.
    """

    module: Module
    replaces: str | None
    brings: str
    policy: Policy
    is_new: bool
    brought: frozenset[tuple[str, ...]]
    source: bytes | None


class Shown(NamedTuple):
    """What a file name shows: the text that code under it was compiled from, None where that is not known.

    It is ``left`` where a patch has since brought code under a name of its own.
    """

    text: bytes | None
    left: bool


class Turn(NamedTuple):
    """What makes a `Shown` of another; no ``splices`` where its text is not known."""

    splices: tuple[Splice, ...] | None
    left: bool


class Step(NamedTuple):
    """How a generation changed what a file name shows, both ways."""

    back: Turn
    forward: Turn


class Record(msgspec.Struct, frozen=True, eq=False):
    """A generation and the values it exchanged.

    ``versions`` are the texts that its patch has, ``steps`` what it did to what file names show.
    """

    generation: Generation
    changes: tuple[Change, ...] = ()
    targets: tuple[Target, ...] = ()
    versions: tuple[Version, ...] = ()
    steps: Mapping[str, Step] = msgspec.field(default_factory=dict)


class Arrival(msgspec.Struct, frozen=True, eq=False):
    """A module that was imported, or loaded again, when a generation had a text for it.

    ``text`` is the digest of what it runs, and ``on_disk`` tells whether its file had just that.
    ``since`` is the number of the newest generation then. ``changes`` are the stores that made
    a new module known; they are those of generation ``brought_by``.
    """

    name: str
    module: object
    text: str
    on_disk: bool
    since: int
    brought_by: int = 0
    changes: tuple[Change, ...] = ()
