"""Whether the parts of a patch fit each other: names, sites, digests, signatures.

What a patch file's reader can't tell from types alone. Every finding is BCP408, for
`bcpatch build` writes no such patch. Nothing of bytecode or policies is known here.
"""

from __future__ import annotations

import io
import keyword
import operator
import re
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, TypeAlias

from bcpatch import fingerprint, pythons, splices
from bcpatch.diagnostics import Diagnostic, Place, finding
from bcpatch.fingerprint import Digests
from bcpatch.flow.fields import DEEPEST, ITERABLE_COROUTINE, OPTIMIZED, SUSPENDS, VARARGS, VARKEYWORDS
from bcpatch.model import (
    AdditionEdit,
    Annotations,
    AnnotationsEdit,
    ClassPositionEdit,
    Code,
    Constant,
    CreationEdit,
    Default,
    DocstringEdit,
    Edit,
    FrozenSet,
    FunctionEdit,
    Import,
    ImportEdit,
    Module,
    ModulePatch,
    Patch,
    PositionEdit,
    Positions,
    ProgramEdit,
    RemovalEdit,
    Site,
    Slice,
    Tuple,
    ValueEdit,
)

_NEWLOCALS = 0x02
_SUSPENDS = SUSPENDS | ITERABLE_COROUTINE
_LAST_LINE = (1 << 31) - 1
_PATCH_DIGEST = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(rf"[0-9a-f]{{{2 * fingerprint.DIGEST_SIZE}}}")
_Other: TypeAlias = (
    ClassPositionEdit
    | ImportEdit
    | DocstringEdit
    | AnnotationsEdit
    | AdditionEdit
    | ValueEdit
    | RemovalEdit
    | ProgramEdit
    | CreationEdit
)
_ANONYMOUS = frozenset({"<lambda>", "<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>"})


def check(patch: Patch, digests: Digests) -> Iterator[Diagnostic]:
    """Findings about the patch as a whole and its modules' names."""
    if patch.generation < 1:
        yield _malformed(f"generation {patch.generation} does not exist")
    if patch.parent is not None and not _PATCH_DIGEST.fullmatch(patch.parent):
        yield _malformed("the parent is no digest of a patch")
    for name in _twice(part.module.name for part in patch.modules):
        yield _malformed(f"module `{name}` is patched twice")
    for part in patch.modules:
        for message in _module(part, digests):
            yield _malformed(message, part.module)


def _malformed(message: str, module: Module | None = None, line: int = 0, site: Site | None = None) -> Diagnostic:
    return finding("BCP408", message, Place(module.path if module else "", line), site=site)


def _twice(names: Iterable[object]) -> list[object]:
    every = list(names)
    return [] if len(set(every)) == len(every) else [name for name, count in Counter(every).items() if count > 1]


def is_name(text: str) -> bool:
    """Whether a name can be bound by a statement."""
    return text.isidentifier() and not keyword.iskeyword(text)


def _is_module(text: str) -> bool:
    """Whether a module may be called so: a script's name need be nothing that can be imported."""
    return all(word and word.isprintable() for word in text.split("."))


def is_dotted(text: str) -> bool:
    return all(map(is_name, text.split(".")))


# --- modules -----------------------------------------------------------------------------


def _module(part: ModulePatch, digests: Digests) -> Iterator[str]:
    module = part.module
    if not _is_module(module.name):
        yield f"`{module.name}` is no module name"
    folders = module.path.split("/")
    if not module.path.isprintable() or "\\" in module.path or any(one in ("", ".", "..") for one in folders):
        yield f"{module.path!r} is no path below an import root"
    if part.brings != digests.of(part.source):
        yield "the source is not the one that the patch names"
    if part.replaces is not None and not _DIGEST.fullmatch(part.replaces):
        yield "what the module's source replaces is no digest"
    elif not _leads_back(part, digests):
        yield "the splices do not make the source that the patch replaces"
    for one in part.imports:
        yield from _import(one)
    for turns in part.turns:
        kept = [one for one in turns.now if one != -1]
        if len(set(kept)) < len(kept) or min(kept, default=0) < 0:
            yield f"{turns.now} are no ordinals of functions named `{turns.qualname}`"
    for link in part.links or ():
        if not (_is_module(link.module) and is_name(link.name)):
            yield f"`{link.module}.{link.name}` is no name to link to"


def _leads_back(part: ModulePatch, digests: Digests) -> bool:
    """Whether a patch carries its base's text: needed to be shown, so it must be one that Python reads."""
    if part.replaces is None:
        return not part.back
    try:
        base = splices.applied(part.back, part.source)
        encoding, _ = tokenize.detect_encoding(io.BytesIO(base).readline)
        base.decode(encoding)
    except (ValueError, SyntaxError):
        return False
    return digests.of(base) == part.replaces


def _import(one: Import) -> Iterator[str]:
    star = one.name == one.attribute == "*"
    words = one.module.split(".")
    if not star:
        words.append(one.name)
        if one.attribute is not None:
            words.append(one.attribute)
    if one.submodule is not None:
        words += one.submodule.split(".")
    if not all(map(is_name, words)):
        yield f"`{one.name}` from `{one.module}` is no import"
    if one.submodule is not None and one.submodule.partition(".")[0] != one.name:
        yield f"importing `{one.submodule}` does not bind `{one.name}`"


# --- edits -------------------------------------------------------------------------------


def edits(part: ModulePatch) -> Iterator[Diagnostic]:
    """Findings about the edits of a module, each by itself and beside the others."""
    moves = [edit for edit in part.edits if type(edit) is PositionEdit]
    changes = part.changes
    for what in _twice(chain(map(operator.attrgetter("site"), moves), map(_identity, changes))):
        yield _malformed(f"{what} is edited twice", part.module)
    for edit in changes if _only_move(moves, part.module.name) else part.edits:
        site = edit.site if isinstance(edit, (FunctionEdit, PositionEdit)) else None
        line = edit.code.first_line if isinstance(edit, FunctionEdit) else 0
        for message in (*edit_faults(edit, part), *_branch(edit)):
            yield _malformed(message, part.module, max(line, 0), site)


def _only_move(edits: Sequence[PositionEdit], module: str) -> bool:
    """Whether `edit_faults` surely says nothing of all these: functions and methods of a module, on other lines.

    That is what most edits are, where a line was added, and what takes no line of Python for each.
    """
    if not edits:
        return True
    modules, qualnames, ordinals, prints, lines, nested = zip(*map(_of_move, edits), strict=True)
    words = set(".".join(qualnames).split("."))
    return (
        set(modules) == {module}
        and min(ordinals) >= 0
        and all(map(str.isidentifier, words))
        and words.isdisjoint(keyword.kwlist)
        and not any(nested)
        and 0 <= min(lines) <= max(lines) <= _LAST_LINE
        and all(map(_DIGEST.fullmatch, prints))
    )


_of_move: Final = operator.attrgetter(
    "site.module", "site.qualname", "site.ordinal", "replaces", "positions.first_line", "positions.nested"
)


def _identity(edit: Edit) -> str | Site:
    if isinstance(edit, (FunctionEdit, PositionEdit)):
        return edit.site
    when = getattr(edit, "when", None)
    return _named(edit) if when is None else f"{_named(edit)} where {fingerprint.digest(when)} holds"


def _named(edit: _Other) -> str:
    match edit:
        case ImportEdit(binding=binding):
            return f"the import of {binding.name}"
        case DocstringEdit(qualname=qualname):
            return f"the docstring of {qualname or 'the module'}"
        case AnnotationsEdit(qualname=qualname):
            return f"the annotations of {qualname or 'the module'}"
        case ClassPositionEdit(qualname=qualname):
            return f"the place of {qualname}"
        case AdditionEdit(owner=owner, line=line, names=names):
            return f"the addition of {', '.join(names)} to {owner or 'the module'} on line {line}"
        case ValueEdit(owner=owner, name=name) | RemovalEdit(owner=owner, name=name):
            return f"the name {name} of {owner or 'the module'}"
        case ProgramEdit():
            return "the program"
        case CreationEdit():
            return "the module itself"


def edit_faults(edit: Edit, part: ModulePatch) -> Iterator[str]:
    """What is wrong with one edit by itself."""
    match edit:
        case FunctionEdit():
            yield from _site(edit.site, part.module)
            yield from _function(edit)
        case PositionEdit():
            yield from _site(edit.site, part.module)
            if not _DIGEST.fullmatch(edit.replaces):
                yield "what the function replaces is no fingerprint"
            yield from _positions(edit.positions, 0)
        case ClassPositionEdit():
            if not is_dotted(edit.qualname) or not 0 <= edit.first_line <= _LAST_LINE:
                yield f"`{edit.qualname}` on line {edit.first_line} is no class"
        case ImportEdit():
            yield from _import_edit(edit, part)
        case DocstringEdit() | AnnotationsEdit():
            if edit.qualname and not is_dotted(edit.qualname):
                yield f"`{edit.qualname}` is no class"
            if isinstance(edit, AnnotationsEdit):
                yield from _annotations(edit.annotations)
        case AdditionEdit() | ValueEdit() | RemovalEdit():
            yield from _names(edit)
        case CreationEdit():
            yield from _creation(part)
        case ProgramEdit(line=line):
            if not 0 <= line <= _LAST_LINE:
                yield f"the program stands on line {line}"


def _import_edit(edit: ImportEdit, part: ModulePatch) -> Iterator[str]:
    yield from _import(edit.binding)
    if edit.binding not in part.imports:
        yield f"the import of `{edit.binding.name}` is not among the module's imports"
    if not 0 <= edit.line <= _LAST_LINE:
        yield f"the import of `{edit.binding.name}` stands on line {edit.line}"


def _branch(edit: Edit) -> Sequence[str]:
    when = getattr(edit, "when", None)
    return () if when is None or _takes(when, 0) else ("the test of a branch is no expression",)


def _creation(part: ModulePatch) -> Iterator[str]:
    if len(part.edits) > 1 or part.replaces is not None or part.links:
        yield "a module that is new has a base, links or other edits"
    if not is_dotted(part.module.name):
        yield f"no module can be imported as `{part.module.name}`"


def _names(edit: AdditionEdit | ValueEdit | RemovalEdit) -> Iterator[str]:
    names = edit.names if isinstance(edit, AdditionEdit) else (edit.name,)
    if (edit.owner and not is_dotted(edit.owner)) or not names or not all(map(is_name, names)):
        yield f"`{edit.owner}` can't have the names {', '.join(names) or 'nothing'}"
    elif isinstance(edit, AdditionEdit) and edit.code.flags & (OPTIMIZED | _NEWLOCALS | _SUSPENDS):
        yield f"the addition of {names[0]} is no body"
    elif isinstance(edit, ValueEdit) and not (_takes(edit.code, 0) and _takes(edit.replaces, 0)):
        yield f"the value of {names[0]} is no expression"


def _site(site: Site, module: Module) -> Iterator[str]:
    if site.module != module.name:
        yield f"{site} is no function of `{module.name}`"
    *around, name = site.qualname.split(".")
    if (around and not all(map(is_name, around))) or not (is_name(name) or name in _ANONYMOUS) or site.ordinal < 0:
        yield f"{site} is no function that executing a module makes"


def _positions(positions: Positions, depth: int) -> Iterator[str]:
    if not 0 <= positions.first_line <= _LAST_LINE:
        yield f"no code starts on line {positions.first_line}"
    if depth > DEEPEST:
        yield "code nested too deeply"
        return
    for one in positions.nested:
        yield from _positions(one, depth + 1)


# --- functions -----------------------------------------------------------------------------


def _function(edit: FunctionEdit) -> Iterator[str]:
    code, site = edit.code, edit.site
    if _is_too_deep(code):
        yield f"the constants of {site} are nested too deeply"
        return
    if code.qualname != site.qualname or code.name != site.qualname.rpartition(".")[2]:
        yield f"the code of {site} calls itself `{code.qualname}`"
    if edit.brings != fingerprint.digest(code):
        yield f"the code of {site} is not the one that the patch names"
    if edit.replaces and not _DIGEST.fullmatch(edit.replaces):
        yield f"what {site} replaces is no fingerprint"
    if not code.flags & OPTIMIZED or not code.flags & _NEWLOCALS:
        yield f"the code of {site} is no function's"
    if edit.positional or edit.keywords:
        yield from _defaults(edit)
    if edit.annotations.code is not None or edit.annotations.lazy:
        yield from _annotations(edit.annotations)
    if edit.type_parameters is not None and not _takes(edit.type_parameters, 0):
        yield f"the type parameters of {site} are no expression"


def _is_too_deep(code: Code) -> bool:
    """Whether constants are nested beyond what any source gives: to be known before anything recurs into them."""
    if _NESTING.isdisjoint(map(type, code.constants)):
        return False
    level: list[Constant] = [code]
    for _ in range(DEEPEST - 1):
        level = [inner for constant in level for inner in _inside(constant) if type(inner) in _NESTING]
        if not level:
            return False
    return any(map(_inside, level))


_NESTING = frozenset({Code, Tuple, FrozenSet, Slice})


def _inside(constant: Constant) -> tuple[Constant, ...]:
    match constant:
        case Code(constants=items) | Tuple(items=items) | FrozenSet(items=items):
            return items
        case Slice(start=start, stop=stop, step=step):
            return start, stop, step
    return ()


def _defaults(edit: FunctionEdit) -> Iterator[str]:
    code = edit.code
    positional = code.varnames[: code.argcount]
    keywords = code.varnames[code.argcount : code.argcount + code.kwonlyargcount]
    given = tuple(one.parameter for one in edit.positional)
    if len(given) > len(positional) or given != positional[len(positional) - len(given) :]:
        yield f"the positional defaults of {edit.site} are not those of its last parameters"
    given = tuple(one.parameter for one in edit.keywords)
    if given != tuple(name for name in keywords if name in given):
        yield f"the keyword defaults of {edit.site} are not those of its keyword-only parameters"
    for one in (*edit.positional, *edit.keywords):
        yield from _default(one)


def _default(default: Default) -> Iterator[str]:
    if not _takes(default.expression, 0):
        yield f"the default of `{default.parameter}` is no expression"


def _annotations(annotations: Annotations) -> Iterator[str]:
    if annotations.lazy and not pythons.LAZY_ANNOTATIONS:
        yield "annotations are not computed on demand by this Python"
    if annotations.code is not None and not _takes(annotations.code, 1 if annotations.lazy else 0):
        yield "the annotations are no expression"


def _takes(code: Code, arguments: int) -> bool:
    """Whether the code is a plain function's that is called with so many arguments."""
    plain = code.flags & (OPTIMIZED | _NEWLOCALS) == OPTIMIZED | _NEWLOCALS
    bare = not code.flags & (_SUSPENDS | VARARGS | VARKEYWORDS)
    return plain and bare and code.argcount == arguments and not code.kwonlyargcount
