"""Looking at objects of the application without running its code.

Attribute look-up may be a module's or a metaclass's own; these functions go past it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any, TypeGuard

_namespace_of_module = vars(ModuleType)["__dict__"].__get__
_namespace_of_class = vars(type)["__dict__"].__get__


def namespace_of(module: ModuleType) -> dict[str, Any]:
    """A module's own dictionary; a lazy module stays unloaded."""
    namespace: dict[str, Any] = _namespace_of_module(module)
    return namespace


def class_namespace(cls: type) -> Mapping[str, Any]:
    """A class's own dictionary, read-only, whatever its metaclass says."""
    namespace: Mapping[str, Any] = _namespace_of_class(cls)
    return namespace


def is_module(candidate: object) -> TypeGuard[ModuleType]:
    """Whether an object is a module by its type; ``isinstance`` would ask its ``__class__``."""
    return issubclass(type(candidate), ModuleType)
