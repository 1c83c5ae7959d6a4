"""By which name a method has what it is called on, be that an object or a class."""

from __future__ import annotations

import ast
from typing import Final

from bcpatch.source.outline import Function
from bcpatch.source.shape import last_name

#: Methods, and decorators of methods, that get a class first.
_OF_CLASSES: Final = frozenset({"__init_subclass__", "__class_getitem__", "classmethod"})


def receiver(function: Function) -> str | None:
    """The name by which a method has the object that it is called on."""
    return None if is_of_class(function) else first(function)


def first(function: Function) -> str | None:
    """The name by which a method has what it is called on, be that an object or the class."""
    node = function.node
    if not function.chain or isinstance(node, ast.Lambda) or "staticmethod" in map(last_name, node.decorator_list):
        return None
    return next((one.arg for one in (*node.args.posonlyargs, *node.args.args)), None)


def is_of_class(function: Function) -> bool:
    """Whether a method is called on its class."""
    decorators = getattr(function.node, "decorator_list", ())
    return not _OF_CLASSES.isdisjoint((function.name, *map(last_name, decorators)))
