"""Completion of commands, options and their values in bash, zsh and fish.

A line in the shell's start-up file evaluates what ``_BCPATCH_COMPLETE=SHELL_source`` prints. That asks with
``_BCPATCH_COMPLETE=SHELL_complete`` and the words up to the cursor for what the last of them may become; where
that is nothing, the shell completes names of files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from bcpatch.cli import arguments
from bcpatch.cli.program import DONE, OPTIONS, SUMMARIES, Misused

_BASH: Final = r"""
_bcpatch_completion() {
    local value meaning
    COMPREPLY=()
    while IFS=$'\t' read -r value meaning; do
        COMPREPLY+=("$value")
    done < <(_BCPATCH_COMPLETE=bash_complete "$1" "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o bashdefault -o default -F _bcpatch_completion bcpatch
"""

_ZSH: Final = r"""
_bcpatch_completion() {
    local -a found
    found=("${(@f)$(_BCPATCH_COMPLETE=zsh_complete $words[1] "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n $found[1] ]]; then
        _describe -V bcpatch found
    else
        _files
    fi
}
compdef _bcpatch_completion bcpatch
"""

_FISH: Final = r"""
function _bcpatch_completion
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l found (_BCPATCH_COMPLETE=fish_complete $before[1] $before[2..-1] "$current" 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path "$current"
    end
end
complete --command bcpatch --no-files --keep-order --arguments '(_bcpatch_completion)'
"""

_SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def answer(request: str, words: Sequence[str]) -> int:
    """Print what a shell asks for; returns the exit status. Raises Misused."""
    shell, _, what = request.partition("_")
    if shell not in _SCRIPTS or what not in ("source", "complete"):
        shells = ", ".join(f"{name}_source" for name in _SCRIPTS)
        raise Misused(f"_BCPATCH_COMPLETE is {request!r}; it may be {shells}")
    if what == "source":
        print(_SCRIPTS[shell].strip())
        return DONE
    for value, meaning in candidates(words):
        between = ":" if shell == "zsh" else "\t"
        print(f"{value}{between}{meaning}" if meaning else value)
    return DONE


def candidates(words: Sequence[str]) -> list[tuple[str, str]]:
    """What the last word may become, each with its meaning, in the order of the help."""
    *before, current = words or [""]
    start = ""
    if current == "=":  # bash takes --format=json for three words
        current = ""
    elif before and before[-1] == "=":
        before.pop()
    elif current.startswith("--") and "=" in current:
        option, _, current = current.partition("=")
        before.append(option)
        start = f"{option}="
    return [(start + value, meaning) for value, meaning in _possible(before, current) if value.startswith(current)]


def _possible(before: Sequence[str], current: str) -> Iterator[tuple[str, str]]:
    """What may stand after some words, and where ``current`` has begun."""
    if not before:
        yield from SUMMARIES.items()
        if current.startswith("-"):
            yield from ((name, meaning) for names, meaning in OPTIONS.items() for name in names.split(", "))
        return
    name, *given = before
    if name not in SUMMARIES:
        return
    options = arguments.options(name)
    last = options.get(given[-1]) if given else None
    if not arguments.takes_options(name, given):
        return
    if last is not None and last.takes_value:
        yield from ((value, "") for value in last.how.get("choices", ()))
    elif current.startswith("-"):
        yield from ((option, one.how["help"] % one.how) for option, one in options.items())
