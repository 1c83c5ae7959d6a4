"""The functions of two versions of a module → edits of those that differ.

What is compared is compiled code and the headers of definitions.
"""

from __future__ import annotations

import ast
import inspect
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from types import CodeType
from typing import TypeAlias

import msgspec

from bcpatch import fingerprint
from bcpatch.diagnostics import Diagnostic, as_warning, finding
from bcpatch.model import Annotations, Code, Default, Edit, FunctionEdit, Policy, PositionEdit, Positions, Rival, Site
from bcpatch.source import branches, given, importtime, readers
from bcpatch.source.bodies import Found
from bcpatch.source.comparison import Anew, Comparison
from bcpatch.source.evaluated import evaluated
from bcpatch.source.header import Header, defaults, header, keeps_text
from bcpatch.source.outline import Function, Unit, nested
from bcpatch.source.pairing import Pairing, context_key
from bcpatch.source.signature import rejected_call, signature

_KIND_FLAGS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR
_KINDS = {
    0: "a plain function",
    inspect.CO_GENERATOR: "a generator",
    inspect.CO_COROUTINE: "a coroutine",
    inspect.CO_ASYNC_GENERATOR: "an asynchronous generator",
}


def without_base(new: Unit, optimization: int) -> Iterator[FunctionEdit]:
    """Every function of a version, as an edit of whatever runs."""
    for function in new.functions:
        yield _edit(function, header(new, function, optimization), None, None)


def edits(at: Comparison, pairing: Pairing) -> Iterator[Edit]:
    """The edits of functions that differ, or stand elsewhere."""
    old, new, changed = at.old, at.new, at.beyond.names()
    branched = _Branched(old, pairing.pairs)
    at.said.extend(_unpaired_findings(at, pairing))
    ran: dict[str, ast.stmt] | None = None
    for before, after in pairing.pairs:
        at.said.extend(_decorator_findings(before, after, new))
        same_code = fingerprint.of(before.code) == fingerprint.of(after.code)
        follows = readers.following(new, after, changed).keys()
        if same_code and not follows and before.header == after.header:
            if not _same_positions(before.code, after.code):
                yield _moved(before, after)
            continue
        new_header = header(new, after, at.optimization)
        same_header = keeps_text(old) == keeps_text(new) and before.header == after.header
        old_header = new_header if same_header else header(old, before, at.optimization)
        at.said.extend(_shape_findings(before, after, new, at.policy))
        edit = branched.told(before, after, _edit(after, new_header, before, old_header, frozenset(follows)))
        ran = importtime.ran(new) if ran is None else ran
        if edit.runs_otherwise and before.site.qualname in ran:
            stale = _import_time_finding(before, after, ran[before.site.qualname], new)
            at.said.append(stale if at.is_strict else as_warning(stale))
        at.said.extend(given.findings(new, before, after, edit, at.policy))
        at.said.extend(_evaluated_again(after, edit, new, at.anew))
        yield edit


def _evaluated_again(after: Function, edit: FunctionEdit, new: Unit, anew: Anew) -> Iterator[Diagnostic]:
    """Note what of a function's header is evaluated at the apply, and what can't be."""
    if edit.annotations.changed:
        annotations = readers.annotations_of(after)
        yield from _bound_findings(annotations, new)
        yield from readers.class_scope(new, annotations, after.chain, after.site.qualname)
        anew.note(annotations)
    parameters = {one.parameter for one in (*edit.positional, *edit.keywords) if one.changed or one.follows}
    if parameters:
        anew.defaults.append((after, frozenset(parameters)))
        positional, keywords = defaults(after)
        values = [value for name, value in (*positional, *keywords) if name in parameters]
        yield from _bound_findings(values, new)
        anew.note(values)


def _bound_findings(expressions: Iterable[ast.expr], new: Unit) -> Iterator[Diagnostic]:
    """Names that an expression in a header binds around the function, as ``:=`` does."""
    for node in (node for one in expressions for node in evaluated(one)):
        if isinstance(node, ast.NamedExpr):
            message = f"`{node.target.id}` is bound here when the function is defined, not when it is called"
            yield finding("BCP208", message, new.place(node))


def _unpaired_findings(at: Comparison, pairing: Pairing) -> Iterator[Diagnostic]:
    yield from _merged_findings(at, pairing)
    yield from _alone_findings("BCP201", "is not in the base", at.new, pairing.added, at.beyond)
    yield from _alone_findings("BCP202", "of the base is gone", at.old, pairing.removed, at.beyond)


def _alone_findings(
    code: str, words: str, unit: Unit, functions: Iterable[Function], beyond: Found
) -> Iterator[Diagnostic]:
    """Functions of one version alone; of a lambda the statement or the default around it shows as changed."""
    for function in functions:
        if not isinstance(function.node, ast.Lambda) and not beyond.handles(function.statement, *function.chain):
            message = f"`{function.site.qualname}` {words}"
            yield finding(code, message, unit.place(function.node), site=function.site)


class _Branched:
    """The functions of the base by their names, the branches that they stand in, and what continues each."""

    def __init__(self, old: Unit, pairs: Sequence[tuple[Function, Function]]) -> None:
        self._paths = branches.paths(old.tree)
        self._continued = {before.site: after for before, after in pairs}
        self._named: defaultdict[str, list[Function]] = defaultdict(list)
        for one in old.functions:
            self._named[one.site.qualname].append(one)

    def _path(self, function: Function) -> branches.Path:
        if id(function.node) in self._paths:
            return self._paths[id(function.node)]
        return self._paths.get(id(function.statement), ())

    def told(self, before: Function, after: Function, edit: FunctionEdit) -> FunctionEdit:
        """An edit that tells what else may be there by the name of its function."""
        return msgspec.structs.replace(
            edit,
            conditional=bool(self._path(before)),
            rivals=tuple(self._rivals(before)),
            twins=tuple(self._alike(before, before.code)),
            doubles=tuple(self._alike(before, after.code)),
        )

    def _rivals(self, function: Function) -> Iterator[Rival]:
        """Its namesakes in the other branches."""
        for other in self._namesakes(function):
            if self._are_apart(function, other):
                continued = self._continued.get(other.site, other)
                prints = fingerprint.of(other.code), fingerprint.of(continued.code)
                yield Rival(tuple(dict.fromkeys(prints)), other.code.co_firstlineno)

    def _alike(self, function: Function, code: CodeType) -> Iterator[int]:
        """The ordinals of namesakes that run some code, and may be there beside a function."""
        for other in self._namesakes(function):
            same = fingerprint.of(other.code) == fingerprint.of(code)
            if same and not self._are_apart(function, other):
                yield other.site.ordinal

    def _namesakes(self, function: Function) -> Iterator[Function]:
        return (one for one in self._named[function.site.qualname] if one is not function)

    def _are_apart(self, one: Function, other: Function) -> bool:
        return branches.exclude(self._path(one), self._path(other))


def _merged_findings(at: Comparison, pairing: Pairing) -> Iterator[Diagnostic]:
    """Lambdas that share their code with others, in one version or in both, and not with the same ones in both."""
    message = "a lambda of this statement changed, and which one it is can't be told"
    old, new = at.old, at.new
    both = {context_key(one) for one in (*old.functions, *old.merged)}
    both &= {context_key(one) for one in (*new.functions, *new.merged)}
    for unit, alone in ((new, pairing.added), (old, pairing.removed)):
        for function in alone:
            if not isinstance(function.node, ast.Lambda) or at.beyond.handles(function.statement, *function.chain):
                continue
            if context_key(function) in both:
                yield finding("BCP213", message, unit.place(function.node), site=function.site)
    if old.merged or new.merged:
        was, now = map(_sharers, (old, new))
        for before, after in pairing.pairs:
            if _told(was[before.site]) != _told(now[after.site]):
                yield finding("BCP213", message, new.place(after.node), site=before.site)


_Sharer: TypeAlias = tuple[Function, int]
"""A lambda, and how many stand before it that nothing but their order tells from it."""


def _sharers(unit: Unit) -> defaultdict[Site, list[_Sharer]]:
    """The lambdas that share their code with others, by their site."""
    found: defaultdict[Site, list[_Sharer]] = defaultdict(list)
    several = {one.site for one in unit.merged}
    turns: Counter[object] = Counter()
    lambdas = [one for one in (*unit.functions, *unit.merged) if isinstance(one.node, ast.Lambda)]
    for one in sorted(lambdas, key=lambda one: (one.node.lineno, one.node.col_offset)):
        key = context_key(one)
        if one.site in several:
            found[one.site].append((one, turns[key]))
        turns[key] += 1
    return found


def _told(sharers: Sequence[_Sharer]) -> list[object]:
    """Which lambdas share their code, and what each takes where that is not the same."""
    headers = [ast.dump(one.node.args) for one, _ in sharers]
    each = headers if len(set(headers)) > 1 else [""] * len(headers)
    return [(context_key(one), turn, header) for (one, turn), header in zip(sharers, each, strict=True)]


def _edit(
    after: Function, new: Header, before: Function | None, old: Header | None, follows: frozenset[str] = frozenset()
) -> FunctionEdit:
    code = fingerprint.encode(after.code)
    old_defaults = dict(old.positional + old.keywords) if old else {}
    annotations = _digest(new.annotations)
    generic = old is None or _digest(old.type_parameters) != _digest(new.type_parameters)
    annotated = old is None or _digest(old.annotations) != annotations or old.lazy != new.lazy
    return FunctionEdit(
        site=before.site if before else after.site,
        replaces=fingerprint.of(before.code) if before else "",
        brings=fingerprint.of(after.code),
        code=code,
        positional=_defaults(new.positional, old_defaults, follows),
        keywords=_defaults(new.keywords, old_defaults, follows),
        annotations=Annotations(new.annotations, new.lazy, annotated),
        type_parameters=new.type_parameters if generic or annotated else None,
        replaced_line=before.code.co_firstlineno if before else 0,
    )


def _defaults(new: Sequence[tuple[str, Code]], old: dict[str, Code], follows: frozenset[str]) -> tuple[Default, ...]:
    found = []
    for parameter, code in new:
        changed = _digest(old.get(parameter)) != _digest(code)
        found.append(Default(parameter, code, changed, not changed and parameter in follows))
    return tuple(found)


def _digest(code: Code | None) -> str:
    return "" if code is None else fingerprint.digest(code)


def _decorator_findings(before: Function, after: Function, new: Unit) -> Iterator[Diagnostic]:
    if not isinstance(after.node, ast.Lambda) and context_key(before) != context_key(after):
        message = f"`{before.site.qualname}` has other decorators than in the base"
        yield finding("BCP205", message, new.place(after.node), site=before.site)


def _shape_findings(before: Function, after: Function, new: Unit, policy: Policy) -> Iterator[Diagnostic]:
    """What forbids a changed function by its shape: kind and signature."""
    site = before.site
    kinds = [function.code.co_flags & _KIND_FLAGS for function in (before, after)]
    if kinds[0] != kinds[1]:
        was, now = (_KINDS.get(kind, "another kind of function") for kind in kinds)
        yield finding("BCP204", f"`{site.qualname}` was {was} and is now {now}", new.place(after.node), site=site)
    lost = rejected_call(signature(before.node.args), signature(after.node.args))
    if lost:
        message = f"calls of `{site.qualname}` that were valid may fail: {lost}"
        fewer = finding("BCP203", message, new.place(after.node), site=site)
        yield fewer if policy is Policy.STRICT else as_warning(fewer)


def _import_time_finding(before: Function, after: Function, statement: ast.stmt, new: Unit) -> Diagnostic:
    line = statement.lineno
    message = (
        f"`{before.site.qualname}` ran when the module was imported, by line {line}: "
        f"`{new.line(line).strip()}`; what it returned or did there stays as the old code made it"
    )
    return finding("BCP211", message, new.place(after.node), site=before.site)


# --- positions ---------------------------------------------------------------------------


def _moved(before: Function, after: Function) -> PositionEdit:
    positions = _positions(before.code, after.code)
    return PositionEdit(before.site, fingerprint.of(before.code), positions, before.code.co_firstlineno)


def _same_positions(before: CodeType, after: CodeType) -> bool:
    if before.co_firstlineno != after.co_firstlineno or before.co_linetable != after.co_linetable:
        return False
    return all(map(_same_positions, nested(before), nested(after)))


def _positions(before: CodeType, after: CodeType) -> Positions:
    """The positions of code that has the fingerprint of the code before it."""
    return Positions(
        after.co_firstlineno,
        None if before.co_linetable == after.co_linetable else after.co_linetable,
        tuple(map(_positions, nested(before), nested(after))),
    )
