"""The structure rules (BCP3xx): a code object that breaks one could crash the interpreter.

Words for what `bcpatch.flow` finds, and its place in the source; asks nothing of references.
"""

from __future__ import annotations

from bcpatch.diagnostics import Diagnostic, finding
from bcpatch.flow import Fault, Flow, Malformed, analyze
from bcpatch.model import Code, Site
from bcpatch.rules.sourcetext import Text


def check(code: Code, text: Text, site: Site | None) -> tuple[Flow | None, tuple[Diagnostic, ...]]:
    """The flow of ``code``, or None and what is wrong with its structure."""
    try:
        return analyze(code), ()
    except Malformed as malformed:
        return None, tuple(_diagnostic(fault, text, site) for fault in malformed.faults)


def _diagnostic(fault: Fault, text: Text, site: Site | None) -> Diagnostic:
    message = f"{fault.message} (byte {fault.offset} of the code of `{fault.qualname}`)"
    return finding(fault.rule, message, text.place(fault.position), site=site)
