"""Everything that a patch needs before its swap: code built, imports run, values computed.

Here runs the only code of the application that a patch executes before it is live:
import statements, changed default values and annotations. Whatever that raises ends the
apply with nothing changed. The result are changes, which someone else makes.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping
from types import CellType, CodeType, FunctionType, MappingProxyType
from typing import Any

from bcpatch import fingerprint, pythons
from bcpatch.diagnostics import NOWHERE, Place, Refused, finding
from bcpatch.exchange import codes, lines, wrappers
from bcpatch.exchange.codes import Prepared
from bcpatch.exchange.replace import namespace_slot, replacement
from bcpatch.exchange.sequence import imported_first
from bcpatch.link import Plan
from bcpatch.model import (
    AdditionEdit,
    AnnotationsEdit,
    ClassPositionEdit,
    Code,
    Default,
    DocstringEdit,
    FunctionEdit,
    Import,
    ImportEdit,
    Link,
    PositionEdit,
    RemovalEdit,
    Site,
    ValueEdit,
)
from bcpatch.process import bring, classes, nested, sources, stars, texts
from bcpatch.process.ahead import Ahead, run
from bcpatch.process.bring import Brought
from bcpatch.process.history import History
from bcpatch.process.linked import LinkedModule, LinkedSite
from bcpatch.process.objects import class_namespace, is_class, is_function, is_module, namespace_of
from bcpatch.process.records import SiteChange, Target
from bcpatch.process.swap import Change, Kind, Slot, held


def prepare(plan: Plan, history: History) -> Prepared:
    """Build and compute all that ``plan`` stores.

    Raises `Refused` (BCP603) where code of the application raises; a KeyboardInterrupt
    passes. Modules that were imported until then stay imported.
    """
    ready = Prepared(notes=list(plan.notes))
    try:
        _prepare(plan, history, ready)
    except BaseException:
        ready.undo()
        raise
    return ready


def _prepare(plan: Plan, history: History, ready: Prepared) -> None:
    lines.follow(plan, history, ready)
    brought = Brought(early=ready.early)
    known = texts.Texts()
    ahead = Ahead(plan.modules, plan.sites, known)
    try:
        _bring_all(plan, history, ready, brought, ahead, known)
    finally:
        ahead.close()


def _bring_all(
    plan: Plan, history: History, ready: Prepared, brought: Brought, ahead: Ahead, known: texts.Texts
) -> None:
    around = (AdditionEdit, ImportEdit, RemovalEdit, ValueEdit)
    for module in plan.modules:
        if any(isinstance(edit, around) for edit in module.part.changes):
            brought.gave.append((module.object, stars.given(module.object)))
    for module in imported_first(plan.modules, plan.pending):
        for edit in module.part.changes:
            if isinstance(edit, ImportEdit):
                _import(module, edit, brought, ahead)
        _bring(module, brought, ready, ahead)
    ready.changes += (*brought.changes, *brought.in_importers(known))
    ready.changes += _abstract_changes(brought)
    for module in plan.modules:
        for needed in module.part.needed:
            _reach(module, needed)
        for edit in module.part.changes:
            if isinstance(edit, DocstringEdit):
                _docstring(module, edit, ready)
            elif isinstance(edit, AnnotationsEdit):
                _annotations_of_owner(module, edit, brought.pending(module.object), ready, ahead)
            elif isinstance(edit, ClassPositionEdit) and module.on_disk:
                _class_positions(module, edit, ready)
    moved: list[tuple[LinkedSite, PositionEdit]] = []
    for site in plan.sites:
        if isinstance(site.edit, FunctionEdit):
            _function(site, site.edit, history, brought.pending(site.module.object), ready, ahead)
        else:
            moved.append((site, site.edit))
    codes.refresh(moved, history, ready)


def _bring(module: LinkedModule, brought: Brought, ready: Prepared, ahead: Ahead) -> None:
    """What the linked policy adds, changes and removes around functions."""
    for edit in module.part.changes:
        if isinstance(edit, AdditionEdit):
            bring.add(module, edit, codes.own_filename_of(module, ready), ahead, brought)
        elif isinstance(edit, ValueEdit):
            bring.change_value(module, edit, codes.own_filename_of(module, ready), ahead, brought)
        elif isinstance(edit, RemovalEdit):
            bring.remove(module, edit, brought)


def _abstract_changes(brought: Brought) -> list[Change]:
    """The sets of abstract methods that differ with what comes into classes."""
    if not brought.changes:
        return []
    what = "the abstract methods of a class"
    found: list[Change] = run(what, lambda: NOWHERE, None, classes.abstract_changes, brought.changes)
    return found


# --- code of the application --------------------------------------------------------


def _reach(module: LinkedModule, needed: Link) -> None:
    """Find a linked name the way the code will: its module may have just been imported, or make names itself."""
    found = sys.modules.get(needed.module)
    if found is not None and f"{needed.module}.{needed.name}" in sys.modules:
        return
    if is_module(found) and needed.name in namespace_of(found):
        return  # to ask for a name that a lazy import binds would import (PEP 810)
    if found is None or not run("a linked name", module.place, None, hasattr, found, needed.name):
        message = f"module {needed.module} has no {needed.name} in this process"
        raise Refused([finding("BCP505", message, module.place())])


def _value(
    code: Code,
    module: LinkedModule,
    what: str,
    site: Site | None,
    ahead: Ahead | None,
    qualname: str = "",
    pending: Mapping[str, object] = MappingProxyType({}),
) -> Any:
    """What an expression of the patch gives in the module's namespace.

    ``qualname`` is what it belongs to: type parameters of the classes around that are known to it.
    ``pending`` are names of the module as they will be after the swap. Without ``ahead`` it may be what it was before.
    """
    name = sources.name_for(module.part.module.path, module.part.source)
    known = _type_parameters_around(module, qualname) if code.freevars else {}
    missing = [free for free in code.freevars if free not in known]
    if missing:
        message = f"{what} needs {', '.join(missing)} of the code around it, which has run already"
        raise Refused([finding("BCP212", message, module.place(code.first_line), site=site)])
    cells = tuple(CellType(known[free]) for free in code.freevars)
    space = vars(module.object)
    if not pending.keys().isdisjoint(code.names):
        space = {**space, **pending}
    function = FunctionType(fingerprint.decode(code, name), space, code.name, None, cells)
    where = functools.partial(module.place, code.first_line)
    if ahead is None:
        return run(what, where, site, function)
    return ahead.run(function.__code__, module, pending, what, where, site, function)


def _type_parameters_around(module: LinkedModule, qualname: str) -> dict[str, object]:
    """The type parameters (PEP 695) of the running classes around a function, by name."""
    found: dict[str, object] = {}
    owner: object = module.object
    for name in qualname.split(".")[:-1]:
        owner = vars(owner).get(name)
        if not is_class(owner):
            break
        found.update({one.__name__: one for one in vars(owner).get("__type_params__", ())})
    return found


# --- imports ------------------------------------------------------------------------


def _import(module: LinkedModule, edit: ImportEdit, brought: Brought, ahead: Ahead) -> None:
    binding = edit.binding
    namespace = vars(module.object)
    words = statement(binding)
    where = functools.partial(module.place, edit.line)
    bound = ahead.call(words, where, None, imported, binding, namespace)
    pending = brought.pending(sys.modules.get(binding.module))
    for name, value in bound.items():
        brought.bind(module, name, pending.get(binding.attribute or "", value))


def statement(binding: Import) -> str:
    """An import as the statement that makes it."""
    if binding.attribute is None:
        whole = binding.submodule or binding.module
        return f"import {whole}" if binding.submodule or binding.name == whole else f"import {whole} as {binding.name}"
    alias = "" if binding.name == binding.attribute else f" as {binding.name}"
    return f"from {binding.module} import {binding.attribute}{alias}"


def imported(binding: Import, namespace: dict[str, Any]) -> dict[str, Any]:
    """Execute one import and return what it would bind (Language Reference, "The import statement")."""
    if binding.attribute is None:
        whole = binding.submodule or binding.module
        top = __import__(whole, namespace)
        return {binding.name: top if binding.submodule or "." not in whole else sys.modules[whole]}
    module = __import__(binding.module, namespace, None, [binding.attribute])
    if binding.attribute == "*":
        public = getattr(module, "__all__", None)
        names = [name for name in vars(module) if not name.startswith("_")] if public is None else public
        return {name: getattr(module, name) for name in names}
    try:
        return {binding.name: getattr(module, binding.attribute)}
    except AttributeError:
        whole = f"{binding.module}.{binding.attribute}"
        if whole in sys.modules:
            return {binding.name: sys.modules[whole]}
        raise ImportError(f"cannot import name {binding.attribute!r} from {binding.module!r}") from None


# --- functions ----------------------------------------------------------------------


def _function(
    site: LinkedSite,
    edit: FunctionEdit,
    history: History,
    pending: Mapping[str, object],
    ready: Prepared,
    ahead: Ahead,
) -> None:
    code = codes.built(site, edit.code, history, ready)
    changed = {
        one.parameter: _computed(one, site, pending, ahead) for one in (*edit.positional, *edit.keywords) if one.changed
    }
    followed = {
        one.parameter: (_computed(one, site, {}, None), _computed(one, site, pending, ahead))
        for one in (*edit.positional, *edit.keywords)
        if one.follows
    }
    replaced = fingerprint.of(site.functions[0].__code__)
    if edit.replaces and replaced not in (edit.replaces, edit.brings):
        message = f"something else has set the code of {edit.site} since the patch was linked"
        raise Refused([finding("BCP608", message, Place(site.module.file), site=edit.site)])
    for function in site.functions:
        codes.keep(site.lineage, function.__code__, history, ready)
        values = {
            "__code__": code,
            **_new_defaults(site, edit, function, {**changed, **_followed(site, function, followed)}),
            **_new_docstring(function, code),
            **_new_types(site, edit, function, pending, ahead),
        }
        if function.__code__.co_freevars == code.co_freevars:
            for name, value in values.items():
                codes.change(ready, Slot(Kind.ATTRIBUTE, function, name), value)
            ready.changes += wrappers.changes(_named(site), function, values)
            ready.targets.append(Target(function, edit.site))
        else:
            _replace(site, function, values, ready)
    for closure in site.closures:
        ready.loose += closure_changes(closure.function, nested.at(code, closure.path))
    ready.sites.append(SiteChange(edit.site, replaced, edit.brings, len(site.functions), len(site.closures)))
    ready.caches += site.caches


def _named(site: LinkedSite) -> Iterator[object]:
    """What has a name beside a function or in its module: it may wrap the function."""
    slot = namespace_slot(site)
    if slot is not None and slot.kind is Kind.CLASS:
        yield from list(class_namespace(slot.owner).values())
    yield from list(site.module.namespace.values())


def _computed(default: Default, site: LinkedSite, pending: Mapping[str, object], ahead: Ahead | None) -> Any:
    what, named = f"the default of {default.parameter}", site.edit.site
    return _value(default.expression, site.module, what, named, ahead, named.qualname, pending)


def _followed(site: LinkedSite, function: FunctionType, values: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Defaults that change with what they were computed from, if they still are what that gave."""
    running = _defaults(function)
    for name, (old, new) in values.items():
        if name not in running or not (bring.same(running[name], old) or bring.same(running[name], new)):
            message = f"the default of `{name}` no longer is what its expression gave: the process has changed it"
            raise Refused([finding("BCP512", message, Place(site.module.file), site=site.edit.site)])
    return {name: new for name, (_, new) in values.items()}


def _replace(site: LinkedSite, function: FunctionType, values: dict[str, Any], ready: Prepared) -> None:
    done = replacement(site, function, values, {})
    if isinstance(done, str):
        message = f"the new code captures other variables, which takes a new function object: {done}"
        raise Refused([finding("BCP212", message, Place(site.module.file), site=site.edit.site)])
    ready.changes.append(done.change)
    ready.sole += done.sole
    ready.targets.append(Target(done.function, site.edit.site))


def closure_changes(function: FunctionType, code: CodeType) -> list[Change]:
    """The stores that let a live closure go on with other code."""
    values = {"__code__": code, **_new_docstring(function, code)}
    slots = [(Slot(Kind.ATTRIBUTE, function, name), value) for name, value in values.items()]
    return [Change(slot, held(slot), value) for slot, value in slots]


def _new_defaults(
    site: LinkedSite, edit: FunctionEdit, function: FunctionType, changed: Mapping[str, Any]
) -> dict[str, Any]:
    """The default values that differ: unchanged ones keep their running objects, by parameter."""
    running = _defaults(function)
    positional = tuple(_default(one, changed, running, site) for one in edit.positional) or None
    keywords = {one.parameter: _default(one, changed, running, site) for one in edit.keywords} or None
    found: dict[str, Any] = {}
    if not _same_items(function.__defaults__, positional):
        found["__defaults__"] = positional
    if not _same_keywords(function.__kwdefaults__, keywords):
        found["__kwdefaults__"] = keywords
    return found


def _new_docstring(function: FunctionType, code: CodeType) -> dict[str, Any]:
    """``__doc__`` follows the code, unless the application has set it to something else, or copied it."""
    old, new = _docstring_in(function.__code__), _docstring_in(code)
    if old == new or function.__doc__ != old:
        return {}
    wrapped = function.__dict__.get("__wrapped__")
    is_copy = wrapped is not None and (old is None or (is_function(wrapped) and wrapped.__doc__ == old))
    return {} if is_copy else {"__doc__": new}


def _new_types(
    site: LinkedSite, edit: FunctionEdit, function: FunctionType, pending: Mapping[str, object], ahead: Ahead
) -> dict[str, Any]:
    """The annotations, and of a generic function the type parameters that they name, where these changed."""
    new = edit.annotations
    around = edit.site.qualname
    if edit.type_parameters is not None:
        made = _value(edit.type_parameters, site.module, "a type parameter", edit.site, ahead, around, pending)
        annotations = "__annotate__" if new.lazy else "__annotations__"
        return {"__type_params__": made.__type_params__, annotations: getattr(made, annotations)}
    if not new.changed:
        return {}
    if new.lazy:
        slot = namespace_slot(site)
        cls = slot.owner if slot is not None and slot.kind is Kind.CLASS else None
        return {"__annotate__": None if new.code is None else _annotate(site.module, new.code, function, cls)}
    if new.code is None:
        return {"__annotations__": {}}
    return {"__annotations__": _value(new.code, site.module, "an annotation", edit.site, ahead, around, pending)}


def _defaults(function: FunctionType) -> dict[str, Any]:
    """The running default values, by parameter."""
    if not function.__defaults__:
        return dict(function.__kwdefaults__ or {})  # and has no tuple of its code's names made, which would be kept
    code = function.__code__
    positional = function.__defaults__
    names = code.co_varnames[: code.co_argcount]
    found = dict(zip(names[len(names) - len(positional) :], positional, strict=True))
    return {**found, **(function.__kwdefaults__ or {})}


def _default(one: Default, changed: Mapping[str, Any], running: Mapping[str, Any], site: LinkedSite) -> Any:
    if one.parameter in changed:
        return changed[one.parameter]
    if one.parameter not in running:
        message = f"parameter {one.parameter} has lost its default value in the running process"
        raise Refused([finding("BCP510", message, Place(site.module.file), site=site.edit.site)])
    return running[one.parameter]


def _same_items(old: tuple[Any, ...] | None, new: tuple[Any, ...] | None) -> bool:
    if old is None or new is None:
        return old is new
    return len(old) == len(new) and all(a is b for a, b in zip(old, new, strict=True))


def _same_keywords(old: dict[str, Any] | None, new: dict[str, Any] | None) -> bool:
    if old is None or new is None:
        return not old and not new
    return old.keys() == new.keys() and all(old[name] is new[name] for name in old)


def _docstring_in(code: CodeType) -> str | None:
    if pythons.DOCSTRING_FLAG is not None and not code.co_flags & pythons.DOCSTRING_FLAG:
        return None
    first = code.co_consts[0] if code.co_consts else None
    return first if isinstance(first, str) else None


# --- annotations, docstrings, positions of classes -----------------------------------


def _annotate(module: LinkedModule, code: Code, owner: object, cls: type | None) -> FunctionType:
    """The function that computes annotations when they are asked for (PEP 649). ``cls`` is the class around."""
    old = getattr(owner, "__annotate__", None)
    known = {} if cls is None else {"__classdict__": CellType(class_namespace(cls)), "__class__": CellType(cls)}
    if type(old) is FunctionType:
        known.update(zip(old.__code__.co_freevars, old.__closure__ or (), strict=True))
    if type(owner) is FunctionType:
        known.update(zip(owner.__code__.co_freevars, owner.__closure__ or (), strict=True))
    missing = [name for name in code.freevars if name not in known]
    if missing:
        message = f"the new annotations need {', '.join(missing)} of the class that they stand in"
        raise Refused([finding("BCP212", message, module.place(code.first_line))])
    name = sources.name_for(module.part.module.path, module.part.source)
    cells = tuple(known[name] for name in code.freevars)
    return FunctionType(fingerprint.decode(code, name), vars(module.object), "__annotate__", None, cells)


def _owner(module: LinkedModule, qualname: str) -> object:
    """The module itself, or a class in it."""
    found = module.owner(qualname) if qualname else module.object
    if found is None:
        raise Refused([finding("BCP502", f"{module.object.__name__} holds no class {qualname}", module.place())])
    return found


def _slot(owner: object, name: str) -> Slot:
    if isinstance(owner, type):
        return Slot(Kind.CLASS, owner, name)
    return Slot(Kind.NAMESPACE, vars(owner), name)


def _docstring(module: LinkedModule, edit: DocstringEdit, ready: Prepared) -> None:
    owner = _owner(module, edit.qualname)
    slot = _slot(owner, "__doc__")
    there = held(slot)
    if there == edit.replaces or (edit.replaces is None and _is_made_up(owner, there)):
        codes.change(ready, slot, edit.text)
    elif there != edit.text:
        message = (
            f"the documentation of `{edit.qualname or module.object.__name__}` is not the one that was written there"
        )
        ready.notes.append(finding("BCP521", f"{message}: what made it has not seen the new one", module.place()))


def _is_made_up(owner: object, documentation: object) -> bool:
    """Whether a class got its documentation for want of one, as data classes and named tuples do."""
    if type(documentation).__module__ == "dataclasses":  # it is made when it is asked for (CPython 3.15)
        return True
    return is_class(owner) and isinstance(documentation, str) and documentation.startswith(f"{owner.__name__}(")


def _annotations_of_owner(
    module: LinkedModule, edit: AnnotationsEdit, pending: Mapping[str, object], ready: Prepared, ahead: Ahead
) -> None:
    new = edit.annotations
    owner = _owner(module, edit.qualname)
    if new.lazy:
        cls = owner if isinstance(owner, type) else None
        annotate = None if new.code is None else _annotate(module, new.code, owner, cls)
        codes.change(ready, Slot(Kind.ATTRIBUTE, owner, "__annotate__"), annotate)
        return
    value = {} if new.code is None else _value(new.code, module, "an annotation", None, ahead, "", pending)
    codes.change(ready, _slot(owner, "__annotations__"), value)


def _class_positions(module: LinkedModule, edit: ClassPositionEdit, ready: Prepared) -> None:
    """Note where a class stands now; where it has not been made there is nothing to note."""
    owner = bring.made_as(module, edit.qualname)
    if owner is None:
        return
    codes.change(ready, _slot(owner, "__firstlineno__"), edit.first_line)
    slot = _slot(owner, "__static_attributes__")
    if held(slot) != edit.static_attributes:
        codes.change(ready, slot, edit.static_attributes)
