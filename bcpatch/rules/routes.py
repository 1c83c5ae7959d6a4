"""Where the dotted names lead that the tables have rows for, by whichever way a text reaches them."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

from bcpatch.rules.callables import BY_NAME
from bcpatch.rules.names import OWN_MODULE, REACHING, last_parts

#: Where the standard library has the same under another name.
ALIASES: Final = MappingProxyType(
    {
        "code.CommandCompiler": "codeop.CommandCompiler",
        "code.compile_command": "codeop.compile_command",
        "enum.bltns": "builtins",
        "imp.SourcelessFileLoader": "importlib.machinery.SourcelessFileLoader",
        "imp.machinery": "importlib.machinery",
        "imp.util": "importlib.util",
        "importlib.abc.machinery": "importlib.machinery",
        "inspect.ForwardRef": "typing.ForwardRef",
        "logging.config.dictConfigClass": "logging.config.DictConfigurator",
        "pdb.Completer": "rlcompleter.Completer",
        "pdb.code": "code",
        "pkgutil.zipimporter": "zipimport.zipimporter",
        "profiling.tracing.Profile": "cProfile.Profile",
        "profiling.tracing.run": "cProfile.run",
        "profiling.tracing.runctx": "cProfile.runctx",
        "shelve.Unpickler": "pickle.Unpickler",
        "shelve.loads": "pickle.loads",
        "xmlrpc.server.signature": "inspect.signature",
    }
)

#: What has its meaning in its name, whichever module has imported it from the one that defines it.
EVERYWHERE: Final = MappingProxyType(
    {
        path.rpartition(".")[2]: path
        for path in (
            "builtins.delattr",
            "builtins.getattr",
            "builtins.hasattr",
            "builtins.setattr",
            "enum.global_enum",
            "importlib.import_module",
            "inspect.getattr_static",
            "operator.attrgetter",
            "operator.methodcaller",
            "types.CodeType",
            "types.FunctionType",
        )
    }
)

#: What an access must be called to lead to a row that says something of it.
TELLING: Final = last_parts(REACHING, OWN_MODULE, BY_NAME, ALIASES, ("__main__", "mro"))

#: Modules that have something in `REACHING`, `OWN_MODULE` or `BY_NAME`.
WATCHED_MODULES: Final = frozenset(
    path.rpartition(".")[0] for table in (REACHING, OWN_MODULE, BY_NAME) for path in table
)


#: Modules that are called by a word of which others make names, too: `app.profile.run` is not `profile.run`.
WORDS: Final = frozenset({"code", "profile", "trace"})

#: What is taken for a module among them wherever it is an attribute of what is not known.
WATCHED_NAMES: Final = frozenset(module for module in WATCHED_MODULES if "." not in module) - WORDS


#: Those of them that are meant wherever something has them as an attribute: it has imported them.
MODULES_EVERYWHERE: Final = frozenset({"importlib", "sys"})


def _by_tail(*tables: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in (path for table in tables for path in table if path.partition(".")[0] not in WORDS):
        found.setdefault(".".join(path.split(".")[-2:]), []).append(path)
    return found


#: The same rows by their last two parts, which is all that shows where the value before them is unknown.
BY_TAIL: Final = MappingProxyType(_by_tail(REACHING, OWN_MODULE, BY_NAME))
