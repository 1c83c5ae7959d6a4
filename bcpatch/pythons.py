"""Differences between the CPython versions that bcpatch supports, each as one named fact.

Logic elsewhere asks for the fact, never for a version number.
"""

from __future__ import annotations

import sys
from typing import Final

#: A function with a docstring says so in its flags (``CO_HAS_DOCSTRING``, 3.14+); before, a string
#: that stands first among the constants becomes the docstring (``PyFunction_NewWithQualName``).
DOCSTRING_FLAG: Final = 0x4000000 if sys.version_info >= (3, 14) else None

#: Annotations are computed on demand by an ``__annotate__`` function (PEP 649 and 749, 3.14+).
LAZY_ANNOTATIONS: Final = sys.version_info >= (3, 14)

#: Functions, classes and aliases may have type parameters (PEP 695, 3.12+).
TYPE_PARAMETERS: Final = sys.version_info >= (3, 12)

#: Class bodies store ``__firstlineno__`` and ``__static_attributes__`` (3.13+): positions and a
#: digest of their methods, which are not part of what the class body means.
CLASS_BODY_POSITIONS: Final = sys.version_info >= (3, 13)
