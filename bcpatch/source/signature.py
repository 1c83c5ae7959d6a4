"""Whether a changed signature still accepts every call that the old one accepted.

The rules are those by which CPython binds arguments (language reference, "Calls"). This
module knows signatures only, not who calls.
"""

from __future__ import annotations

import ast

import msgspec


class Signature(msgspec.Struct, frozen=True):
    """Parameters by how a call reaches them; ``optional`` are those with a default."""

    positional_only: tuple[str, ...]
    positional: tuple[str, ...]
    keyword_only: tuple[str, ...]
    optional: frozenset[str]
    variadic: bool
    variadic_keywords: bool

    @property
    def by_position(self) -> tuple[str, ...]:
        return self.positional_only + self.positional

    @property
    def by_name(self) -> frozenset[str]:
        return frozenset(self.positional + self.keyword_only)


def signature(arguments: ast.arguments) -> Signature:
    """The signature that a definition writes."""
    ordered = [one.arg for one in (*arguments.posonlyargs, *arguments.args)]
    optional = set(ordered[len(ordered) - len(arguments.defaults) :])
    optional.update(
        one.arg for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default
    )
    return Signature(
        tuple(one.arg for one in arguments.posonlyargs),
        tuple(one.arg for one in arguments.args),
        tuple(one.arg for one in arguments.kwonlyargs),
        frozenset(optional),
        arguments.vararg is not None,
        arguments.kwarg is not None,
    )


def rejected_call(old: Signature, new: Signature) -> str | None:
    """A call that the old signature accepted and the new one may not, in words; None where there is none."""
    if old.variadic and not new.variadic:
        return "any number of positional arguments was accepted"
    if old.variadic_keywords and not new.variadic_keywords:
        return "any keyword argument was accepted"
    return _lost_position(old, new) or _lost_keyword(old, new) or _newly_required(old, new) or _captured(old, new)


def _lost_position(old: Signature, new: Signature) -> str | None:
    if len(new.by_position) < len(old.by_position) and not new.variadic:
        return f"`{old.by_position[len(new.by_position)]}` could be passed by position"
    return None


def _lost_keyword(old: Signature, new: Signature) -> str | None:
    for index, name in enumerate(old.by_position):
        if name in old.positional_only:
            continue
        stays = index < len(new.by_position) and new.by_position[index] == name and name in new.positional
        swallowed = index >= len(new.by_position) and name not in new.by_name and new.variadic_keywords
        if not (stays or swallowed):
            if name in new.by_name and index < len(new.by_position):
                return f"parameter {index + 1} was `{name}` and is `{new.by_position[index]}` now"
            return f"`{name}` could be passed by keyword"
    for name in old.keyword_only:
        # a position that old calls filled otherwise would reach it a second time
        free = name in new.by_position[len(old.by_position) :] and name in new.positional and not old.variadic
        reachable = name in new.keyword_only or free
        if not (reachable or (new.variadic_keywords and name not in new.by_position)):
            return f"`{name}` could be passed by keyword"
    return None


def _newly_required(old: Signature, new: Signature) -> str | None:
    was_required = {name for name in old.keyword_only if name not in old.optional}
    for index, name in enumerate(new.by_position):
        same_place = index < len(old.by_position) and old.by_position[index] not in old.optional
        if name not in new.optional and not same_place and name not in was_required:
            return f"`{name}` need not be passed before"
    for name in new.keyword_only:
        if name not in new.optional and name not in was_required:
            return f"`{name}` need not be passed before"
    return None


def _captured(old: Signature, new: Signature) -> str | None:
    """A keyword that went into ``**keywords`` and now names a parameter that a position fills too."""
    if not old.variadic_keywords:
        return None
    for index, name in enumerate(new.by_position):
        was_free = name not in old.by_name
        if name in new.positional and was_free and (index < len(old.by_position) or old.variadic):
            return f"`{name}` could be passed by keyword beside {index + 1} positional arguments"
    return None
