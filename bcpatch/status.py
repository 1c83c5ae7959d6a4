"""What a process tells of itself, as plain frozen data.

Nothing here knows how it is found out, sent or shown.
"""

from __future__ import annotations

from enum import StrEnum

from bcpatch.model import Interpreter, Noun, Policy, Site


class Flight(Noun, frozen=True):
    """A call that still runs the code that its site had in an older generation.

    ``holder`` says who runs it: ``thread MainThread``, ``task Task-3``, ``generator``.
    """

    generation: int
    holder: str
    file: str
    line: int


class SiteStatus(Noun, frozen=True):
    """A patched function: the generation its code came with, and calls on older ones."""

    site: Site
    generation: int
    fingerprint: str
    file: str
    line: int
    flights: tuple[Flight, ...] = ()


class GenerationStatus(Noun, frozen=True):
    """One generation: the patch that made it (0 has none), when, and what it switched.

    ``applied`` is in seconds since the epoch. ``certain`` is False where a Python audit
    hook made the one instant likely instead of certain.
    """

    number: int
    patch: str | None
    policy: Policy | None
    applied: float
    milliseconds: float
    sites: int
    certain: bool = True


class Presence(StrEnum):
    """What became of a module that a patch changes or brings, and that was not imported then."""

    PENDING = "pending"  # it is not imported
    CARRIED = "carried"  # it was imported with the text that the patch carried
    DISK = "disk"  # it was imported from its file, which had that text
    BYPASSED = "bypassed"  # it was imported around bcpatch: what it runs is not known


class ModuleStatus(Noun, frozen=True):
    """A module that was not imported when its patch was applied. ``generation`` is the latest one with its text."""

    module: str
    generation: int
    is_new: bool
    presence: Presence


class Status(Noun, frozen=True):
    """A process: who it is, its generations, every function that was ever patched, and modules that came later."""

    pid: int
    program: str
    interpreter: Interpreter
    policy: Policy | None
    started: float
    generation: int
    generations: tuple[GenerationStatus, ...]
    sites: tuple[SiteStatus, ...]
    modules: tuple[ModuleStatus, ...] = ()
