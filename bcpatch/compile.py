"""Base and new source of a module → its edits.

What is compared is compiled code: a change in comments or formatting is no edit, or a
refresh of positions. Edits that no policy of this version can carry come back as
diagnostics (BCP2xx) at the place of the change. Whether the code may be *used* is the
verifier's business.
"""

from __future__ import annotations

import ast
import difflib
import inspect
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import CodeType
from typing import TypeAlias

import msgspec

from bcpatch import fingerprint, pythons
from bcpatch.diagnostics import Diagnostic, Severity, as_warning, errors, finding
from bcpatch.model import (
    Annotations,
    AnnotationsEdit,
    ClassPositionEdit,
    Code,
    Default,
    DocstringEdit,
    Edit,
    FunctionEdit,
    Import,
    ImportEdit,
    Policy,
    PositionEdit,
    Positions,
    ProgramEdit,
    RemovalEdit,
    Rival,
    Site,
)
from bcpatch.source import branches, given, importtime, order, readers, shape
from bcpatch.source.additions import Found, additions, premature, stale
from bcpatch.source.facts import recorded
from bcpatch.source.fidelity import compiled_alike
from bcpatch.source.header import Header, defaults, header, is_lazy, keeps_text, variable_annotations
from bcpatch.source.outline import Class, Function, Unit, nested
from bcpatch.source.pairing import context_key, paired
from bcpatch.source.signature import rejected_call, signature

_KIND_FLAGS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR
_KINDS = {
    0: "a plain function",
    inspect.CO_GENERATOR: "a generator",
    inspect.CO_COROUTINE: "a coroutine",
    inspect.CO_ASYNC_GENERATOR: "an asynchronous generator",
}

_HIDES = "keep the import, or build with --policy linked: the name hides a builtin, or what `__getattr__` would answer"


@dataclass(frozen=True)
class Changes:
    """What differs between two versions of a module: edits, and findings about the rest."""

    edits: tuple[Edit, ...]
    diagnostics: tuple[Diagnostic, ...]


@dataclass
class Anew:
    """What is evaluated again: default values, by function and parameters, and every node in it by id."""

    defaults: list[tuple[Function, frozenset[str]]] = field(default_factory=list)
    nodes: set[int] = field(default_factory=set)

    def note(self, expressions: Iterable[ast.expr]) -> None:
        self.nodes.update(id(node) for one in expressions for node in ast.walk(one))


def changes(old: Unit | None, new: Unit, policy: Policy, optimization: int) -> Changes:
    """Compare two versions of one module source.

    Without an old version every function of the new one is an edit of whatever runs.
    """
    if old is None:
        return Changes(tuple(_without_base(new, optimization)), ())
    found: list[Diagnostic] = []
    imports = list(_imports(old, new))
    removed = list(_unimported(old, new, policy, found))
    reimported = frozenset(edit.binding.name for edit in imports if edit.replaces is not None)
    reimported |= {edit.name for edit in removed if not edit.stays}
    beyond = additions(old, new, reimported, optimization) if policy is Policy.LINKED else Found()
    found += beyond.diagnostics
    anew = Anew()
    edits: list[Edit] = [
        *_program(old, new, optimization, beyond),
        *_bodies(old, new, optimization, policy, beyond, anew, found),
        *imports,
        *removed,
        *beyond.edits,
        *_functions(old, new, policy, optimization, beyond, anew, found),
    ]
    changed = {edit.site.qualname for edit in edits if isinstance(edit, FunctionEdit)}
    found.extend(premature(new, beyond, frozenset(changed)))
    found.extend(stale(new, beyond, anew.nodes))
    for function, parameters in anew.defaults:
        what = beyond.names(), beyond.attributes(), frozenset(changed)
        found.extend(readers.premature_header(new, function, parameters, *what))
    if not errors(found):
        found.extend(_unplaced_findings(old, new))
    said = _without_repeats(found)
    return Changes(tuple(edits), tuple(map(_for_linked, said) if policy is Policy.LINKED else said))


def _program(old: Unit, new: Unit, optimization: int, beyond: Found) -> Iterator[ProgramEdit]:
    """What differs in what ``if __name__ == "__main__":`` guards; definitions in there need no other rule."""
    was, now = (unit.body.program for unit in (old, new))
    beyond.handled.update(id(node) for one in (*was, *now) for node in ast.walk(one.node))
    if any(_statement_findings(was, now, old, new, optimization)):
        yield ProgramEdit(now[0].node.lineno if now else 0)


def _unplaced_findings(old: Unit, new: Unit) -> Iterator[Diagnostic]:
    """A change in a lambda whose place is not known is in no edit: it must not pass for none."""
    before, after = (Counter(map(fingerprint.of, unit.unplaced)) for unit in (old, new))
    if before != after:
        changed = next((code for code in new.unplaced if not before[fingerprint.of(code)]), None)
        place = new.place() if changed is None else new.place()._replace(line=changed.co_firstlineno)
        message = "a lambda on this line changed, and which one it is can't be told"
        yield finding("BCP213", message, place._replace(text=new.line(place.line)))


def _for_linked(found: Diagnostic) -> Diagnostic:
    """A finding that does not advise what was done already."""
    return msgspec.structs.replace(found, help=found.help.replace(", or build with --policy linked", ""))


def _without_repeats(found: list[Diagnostic]) -> Iterator[Diagnostic]:
    """Findings, but for "executed statement changed" where another rule says it better."""
    said = {(one.file, one.line) for one in found if one.code in ("BCP201", "BCP202", "BCP205", "BCP206")}
    return (one for one in found if one.code != "BCP208" or (one.file, one.line) not in said)


def _without_base(new: Unit, optimization: int) -> Iterator[FunctionEdit]:
    for function in new.functions:
        yield _edit(function, header(new, function, optimization), None, None)


# --- functions ---------------------------------------------------------------------------


def _functions(
    old: Unit,
    new: Unit,
    policy: Policy,
    optimization: int,
    beyond: Found,
    anew: Anew,
    found: list[Diagnostic],
) -> Iterator[Edit]:
    pairs, added, removed = paired(old, new)
    branched = _Branched(old, pairs)
    found.extend(_merged_findings(old, new, pairs, added, removed, beyond))
    found.extend(_alone_findings("BCP201", "is not in the base", new, added, beyond))
    found.extend(_alone_findings("BCP202", "of the base is gone", old, removed, beyond))
    ran: dict[str, ast.stmt] | None = None
    for before, after in pairs:
        found.extend(_decorator_findings(before, after, new))
        same_code = fingerprint.of(before.code) == fingerprint.of(after.code)
        follows = readers.following(new, after, beyond.names()).keys()
        if same_code and not follows and before.header == after.header:
            if not _same_positions(before.code, after.code):
                yield PositionEdit(
                    before.site,
                    fingerprint.of(before.code),
                    _positions(before.code, after.code),
                    before.code.co_firstlineno,
                )
            continue
        new_header = header(new, after, optimization)
        same_header = keeps_text(old) == keeps_text(new) and before.header == after.header
        old_header = new_header if same_header else header(old, before, optimization)
        found.extend(_shape_findings(before, after, new, policy))
        ran = importtime.ran(new) if ran is None else ran
        if not same_code and before.site.qualname in ran:
            stale = _import_time_finding(before, after, ran[before.site.qualname], new)
            found.append(stale if policy is Policy.STRICT else as_warning(stale))
        edit = _edit(after, new_header, before, old_header, frozenset(follows))
        edit = msgspec.structs.replace(
            edit,
            conditional=branched.is_conditional(before),
            rivals=tuple(branched.rivals(before)),
            twins=tuple(branched.alike(before, before.code)),
            doubles=tuple(branched.alike(before, after.code)),
        )
        found.extend(given.findings(new, before, after, edit, policy))
        if edit.annotations.changed:
            annotations = readers.annotations_of(after)
            found.extend(readers.class_scope(new, annotations, after.chain, after.site.qualname))
            anew.note(annotations)
        parameters = {one.parameter for one in (*edit.positional, *edit.keywords) if one.changed or one.follows}
        if parameters:
            anew.defaults.append((after, frozenset(parameters)))
            positional, keywords = defaults(after)
            anew.note(value for name, value in (*positional, *keywords) if name in parameters)
        yield edit


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

    def is_conditional(self, function: Function) -> bool:
        return bool(self._path(function))

    def rivals(self, function: Function) -> Iterator[Rival]:
        """Its namesakes in the other branches."""
        for other in self._namesakes(function):
            if self._are_apart(function, other):
                continued = self._continued.get(other.site, other)
                prints = fingerprint.of(other.code), fingerprint.of(continued.code)
                yield Rival(tuple(dict.fromkeys(prints)), other.code.co_firstlineno)

    def alike(self, function: Function, code: CodeType) -> Iterator[int]:
        """The ordinals of namesakes that run some code, and may be there beside a function."""
        for other in self._namesakes(function):
            same = fingerprint.of(other.code) == fingerprint.of(code)
            if same and not self._are_apart(function, other):
                yield other.site.ordinal

    def _namesakes(self, function: Function) -> Iterator[Function]:
        return (one for one in self._named[function.site.qualname] if one is not function)

    def _are_apart(self, one: Function, other: Function) -> bool:
        return branches.exclude(self._path(one), self._path(other))


def _merged_findings(
    old: Unit,
    new: Unit,
    pairs: Sequence[tuple[Function, Function]],
    added: list[Function],
    removed: list[Function],
    beyond: Found,
) -> Iterator[Diagnostic]:
    """Lambdas that share their code with others, in one version or in both, and not with the same ones in both."""
    message = "a lambda of this statement changed, and which one it is can't be told"
    both = {context_key(one) for one in (*old.functions, *old.merged)}
    both &= {context_key(one) for one in (*new.functions, *new.merged)}
    for unit, alone in ((new, added), (old, removed)):
        for function in alone:
            if not isinstance(function.node, ast.Lambda) or beyond.handles(function.statement, *function.chain):
                continue
            if context_key(function) in both:
                yield finding("BCP213", message, unit.place(function.node), site=function.site)
    if old.merged or new.merged:
        was, now = map(_sharers, (old, new))
        for before, after in pairs:
            if _told(was[before.site]) != _told(now[after.site]):
                yield finding("BCP213", message, new.place(after.node), site=before.site)


_Turn: TypeAlias = tuple[Function, int]
"""A lambda, and how many stand before it that nothing but their order tells from it."""


def _sharers(unit: Unit) -> defaultdict[Site, list[_Turn]]:
    """The lambdas that share their code with others, by their site."""
    found: defaultdict[Site, list[_Turn]] = defaultdict(list)
    several = {one.site for one in unit.merged}
    turns: Counter[object] = Counter()
    lambdas = [one for one in (*unit.functions, *unit.merged) if isinstance(one.node, ast.Lambda)]
    for one in sorted(lambdas, key=lambda one: (one.node.lineno, one.node.col_offset)):
        key = context_key(one)
        if one.site in several:
            found[one.site].append((one, turns[key]))
        turns[key] += 1
    return found


def _told(sharers: Sequence[_Turn]) -> list[object]:
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


# --- module and class bodies -----------------------------------------------------------------


def _bodies(
    old: Unit, new: Unit, optimization: int, policy: Policy, beyond: Found, anew: Anew, found: list[Diagnostic]
) -> Iterator[Edit]:
    yield from _body(old, new, None, None, optimization, policy, beyond, anew, found)
    found.extend(order.reordered(old, new, None, None))
    several = Counter(made.qualname for made in new.classes)
    waiting: dict[str, list[Class]] = {}
    for made in old.classes:
        waiting.setdefault(made.qualname, []).append(made)
    for made in new.classes:
        same = waiting.get(made.qualname)
        if not same:
            if not beyond.handles(*made.chain):
                found.append(finding("BCP201", f"class `{made.qualname}` is not in the base", new.place(made.node)))
            continue
        before = same.pop(0)
        found.extend(_class_findings(before, made, new))
        for edit in _body(old, new, before, made, optimization, policy, beyond, anew, found):
            if several[made.qualname] > 1 and isinstance(edit, AnnotationsEdit):
                message = f"there are several classes `{made.qualname}`, and which one the process holds is not known"
                found.append(finding("BCP213", message, new.place(made.node)))
                continue
            yield edit
        found.extend(order.reordered(old, new, before, made))
        if pythons.CLASS_BODY_POSITIONS and several[made.qualname] == 1:
            yield from _class_positions(before, made)
    for left in waiting.values():
        found.extend(
            finding("BCP202", f"class `{made.qualname}` of the base is gone", old.place(made.node))
            for made in left
            if not beyond.handles(*made.chain)
        )


def _class_findings(before: Class, after: Class, new: Unit) -> Iterator[Diagnostic]:
    place = new.place(after.node)
    if [*map(shape.shape, before.node.decorator_list)] != [*map(shape.shape, after.node.decorator_list)]:
        yield finding("BCP205", f"class `{after.qualname}` has other decorators than in the base", place)
    for name in ("bases", "keywords", "type_params"):
        was, now = getattr(before.node, name, []), getattr(after.node, name, [])
        if shape.dumped(was) != shape.dumped(now):
            yield finding("BCP206", f"class `{after.qualname}` has other {name.replace('_', ' ')}", place)


def _body(
    old: Unit,
    new: Unit,
    before: Class | None,
    after: Class | None,
    optimization: int,
    policy: Policy,
    beyond: Found,
    anew: Anew,
    found: list[Diagnostic],
) -> Iterator[Edit]:
    """Compare what one body executes: the module's, or that of one class."""
    was, now = (before or old).body, (after or new).body
    qualname = after.qualname if after else ""
    removed, added = ([one for one in body.statements if not beyond.handles(one.node)] for body in (was, now))
    found.extend(_statement_findings(removed, added, old, new, optimization))
    docstrings = [fingerprint.stored_constant(body.code, "__doc__") for body in (before or old, after or new)]
    if docstrings[0] != docstrings[1]:
        yield DocstringEdit(qualname, *(one if isinstance(one, str) else None for one in docstrings))
    if {name: ast.dump(node) for name, node in was.annotations.items()} == {
        name: ast.dump(node) for name, node in now.annotations.items()
    }:
        return
    if after is not None and _may_read_annotations(after.node, policy):
        changed = next(
            (
                node
                for name, node in now.annotations.items()
                if shape.dumped(node) != shape.dumped(was.annotations.get(name))
            ),
            after.node,
        )
        message = f"the annotated variables of `{qualname}` may be its generated fields"
        found.append(finding("BCP207", message, new.place(changed)))
        return
    anew.note(now.annotations.values())
    found.extend(readers.class_scope(new, now.annotations.values(), after.chain if after else (), qualname))
    code = variable_annotations(new, after, now.annotations, optimization)
    yield AnnotationsEdit(qualname, Annotations(code, is_lazy(new), True))


def _may_read_annotations(node: ast.ClassDef, policy: Policy) -> bool:
    """Whether something generated methods from a class's annotations, as far as the source tells.

    What its bases and its metaclass do is seen in the process, which a linked patch trusts.
    """
    return bool(node.decorator_list) or (policy is Policy.STRICT and bool(node.bases or node.keywords))


def _statement_findings(
    was: Sequence[shape.Statement],
    now: Sequence[shape.Statement],
    old: Unit,
    new: Unit,
    optimization: int,
) -> Iterator[Diagnostic]:
    """What differs between two sequences of executed statements."""
    if [one.shape for one in was] == [one.shape for one in now]:
        return
    shapes = [one.shape for one in was], [one.shape for one in now]
    matcher = difflib.SequenceMatcher(None, *shapes, autojunk=False)
    for tag, start, stop, new_start, new_stop in matcher.get_opcodes():
        if tag == "equal":
            continue
        removed, added = was[start:stop], now[new_start:new_stop]
        if len(removed) == len(added) and all(
            compiled_alike(one.node, other.node, optimization) for one, other in zip(removed, added, strict=True)
        ):
            continue
        if added:
            yield from (_statement_finding(one.node, new, "changed or added") for one in added)
        else:
            yield from (_removed_finding(one.node, old) for one in removed)


def _statement_finding(node: ast.stmt, unit: Unit, what: str) -> Diagnostic:
    if isinstance(node, shape.DEFINITIONS):
        message = f"`{node.name}` is decorated or derived, and it is {what} or stands in another order"
        return finding("BCP208", message, unit.place(node))
    if isinstance(node, shape.ASSIGNMENTS):
        return finding(
            "BCP209", f"this value is {what}; it was computed when the module was imported", unit.place(node)
        )
    return finding("BCP208", f"this statement is {what}; it runs when the module is imported", unit.place(node))


def _removed_finding(node: ast.stmt, old: Unit) -> Diagnostic:
    code = "BCP209" if isinstance(node, shape.ASSIGNMENTS) else "BCP208"
    return finding(code, "this line of the base ran when the module was imported, and is gone", old.place(node))


def _class_positions(before: Class, after: Class) -> Iterator[ClassPositionEdit]:
    was, now = (recorded(made.code) for made in (before, after))
    if was != now:
        yield ClassPositionEdit(after.qualname, *now)


# --- imports ---------------------------------------------------------------------------------


def _imports(old: Unit, new: Unit) -> Iterator[ImportEdit]:
    """Names that top-level import statements bind anew."""
    was = _bound(old)
    now = _bound(new)
    for key, (binding, statement) in now.items():
        before = was.get(key)
        if before is None or before[0] != binding:
            yield ImportEdit(binding, before[0] if before else None, statement.lineno)


def _unimported(old: Unit, new: Unit, policy: Policy, found: list[Diagnostic]) -> Iterator[RemovalEdit]:
    """Imported names that the new version does not bind: they stay bound, unless something stands in for them."""
    still = {one.name for one in shape.imports(new.tree, new.source.module, frozenset())} | new.own_names
    for (name, _), (_, statement) in _bound(old).items():
        if name in still:
            continue
        hides = shape.has_stand_in(name, new.tree)
        if policy is Policy.LINKED:
            yield RemovalEdit("", name, stays=not hides)
            if hides:
                continue
        message = f"`{name}`, imported by line {statement.lineno} of the base, stays bound in the running module"
        said = finding("BCP215", message, new.place())
        found.append(msgspec.structs.replace(said, severity=Severity.ERROR, help=_HIDES) if hides else said)


def _bound(unit: Unit) -> dict[tuple[str, str | None], tuple[Import, ast.stmt]]:
    found: dict[tuple[str, str | None], tuple[Import, ast.stmt]] = {}
    for statement in unit.body.imports:
        for binding in shape.bindings(statement, unit.source.module):
            found[binding.name, binding.submodule] = binding, statement
    return found
