"""What names mean to the reference rules: tables, one row a name, with the reason or the source.

Only the language, its builtins and its documented standard library are known here;
nothing of patches or of how a name is reached.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

from bcpatch import pythons

#: Names of the module ``builtins`` in every version, as the interpreter makes it: what a process
#: patches into it later is no builtin. ``_IncompleteInputError`` is private and stays out.
#: The last line is what ``site`` adds (library reference, "Built-in Constants").
_BUILTINS: Final = """
ArithmeticError AssertionError AttributeError BaseException BaseExceptionGroup BlockingIOError
BrokenPipeError BufferError BytesWarning ChildProcessError ConnectionAbortedError ConnectionError
ConnectionRefusedError ConnectionResetError DeprecationWarning EOFError Ellipsis EncodingWarning
EnvironmentError Exception ExceptionGroup False FileExistsError FileNotFoundError FloatingPointError
FutureWarning GeneratorExit IOError ImportError ImportWarning IndentationError IndexError
InterruptedError IsADirectoryError KeyError KeyboardInterrupt LookupError MemoryError
ModuleNotFoundError NameError None NotADirectoryError NotImplemented NotImplementedError OSError
OverflowError PendingDeprecationWarning PermissionError ProcessLookupError RecursionError
ReferenceError ResourceWarning RuntimeError RuntimeWarning StopAsyncIteration StopIteration
SyntaxError SyntaxWarning SystemError SystemExit TabError TimeoutError True TypeError
UnboundLocalError UnicodeDecodeError UnicodeEncodeError UnicodeError UnicodeTranslateError
UnicodeWarning UserWarning ValueError Warning ZeroDivisionError
abs aiter all anext any ascii bin bool breakpoint bytearray bytes callable chr classmethod compile
complex delattr dict dir divmod enumerate eval exec filter float format frozenset getattr globals
hasattr hash hex id input int isinstance issubclass iter len list locals map max memoryview min next
object oct open ord pow print property range repr reversed round set setattr slice sorted
staticmethod str sum super tuple type vars zip __build_class__ __import__
copyright credits exit help license quit
"""
BUILTINS: Final = pythons.LATER_BUILTINS | frozenset(_BUILTINS.split())

#: Globals that the import system or the compiler sets, the same whoever wrote the module
#: (language reference, "Import-related attributes on module objects" and "assert").
FACTS: Final = frozenset({"__name__", "__file__", "__package__", "__debug__"})

#: Builtin types whose one positional sub-pattern is the subject itself, not an attribute
#: named by ``__match_args__`` (language reference, "Class Patterns").
SELF_MATCHING: Final = frozenset("bool bytearray bytes dict float frozenset int list set str tuple".split())

#: Builtins whose result is a number, a text, bytes or a truth value: nothing private hangs on it.
PLAIN_RESULTS: Final = frozenset(
    "abs ascii bin bool chr divmod float format hash hex id input int isinstance issubclass "
    "len oct ord repr round str bytes complex callable hasattr".split()
)

#: What reaches around the rules, by where it is found: builtins first, then functions of
#: the standard library that do the same. Each row says what it would get at.
REACHING: Final = MappingProxyType(
    {
        "builtins.globals": "hands out the module's namespace",
        "builtins.locals": "hands out names that no instruction shows",
        "builtins.vars": "hands out an object's private attributes",
        "builtins.eval": "runs code that is not in the patch",
        "builtins.exec": "runs code that is not in the patch",
        "builtins.compile": "makes code that is not in the patch",
        "builtins.__import__": "imports a module that no instruction names",
        "builtins.__lazy_import__": "imports a module that no instruction names",
        **dict.fromkeys(
            ("builtins.help", "pydoc.doc", "pydoc.help", "pydoc.render_doc", "pydoc.writedoc"),
            "imports a module that no instruction names",
        ),
        **dict.fromkeys(
            (
                "runpy.run_module",
                "runpy.run_path",
                "bdb.Bdb",
                "bdb.effective",
                "builtins.breakpoint",
                "cProfile.Profile",
                "cProfile.run",
                "cProfile.runctx",
                "code.InteractiveConsole",
                "code.InteractiveInterpreter",
                "code.interact",
                "doctest.DebugRunner",
                "doctest.DocFileSuite",
                "doctest.DocTestRunner",
                "doctest.DocTestSuite",
                "doctest.debug",
                "doctest.debug_script",
                "doctest.debug_src",
                "doctest.run_docstring_examples",
                "doctest.testfile",
                "doctest.testmod",
                "importlib.abc.ExecutionLoader",
                "importlib.abc.FileLoader",
                "importlib.abc.InspectLoader",
                "importlib.abc.SourceLoader",
                "multiprocessing.managers.MakeProxyType",
                "multiprocessing.sharedctypes.make_property",
                "pdb.Pdb",
                "pdb.post_mortem",
                "pdb.run",
                "pdb.runcall",
                "pdb.runeval",
                "pdb.set_trace",
                "pdb.set_trace_async",
                "profile.Profile",
                "profile.run",
                "profile.runctx",
                "rlcompleter.Completer",
                "site.addpackage",
                "site.addsitedir",
                "sys.__breakpointhook__",
                "sys.breakpointhook",
                "sys.remote_exec",
                "timeit.Timer",
                "timeit.repeat",
                "timeit.timeit",
                "trace.Trace",
                "turtle.read_docstrings",
            ),
            "runs code that is not in the patch",
        ),
        **dict.fromkeys(
            (
                "codeop.CommandCompiler",
                "codeop.Compile",
                "codeop.compile_command",
                "marshal.load",
                "marshal.loads",
                "pkgutil.read_code",
            ),
            "makes code that is not in the patch",
        ),
        "types.CodeType": "makes code that is not in the patch; `inspect.iscode` tells whether a value is code",
        **dict.fromkeys(
            ("types.FunctionType", "types.LambdaType"),
            "makes functions of code that is not in the patch; `inspect.isfunction` tells whether a value is one",
        ),
        **dict.fromkeys(("dis.Bytecode", "dis.get_instructions"), "hands out the code inside a function"),
        **dict.fromkeys(
            ("ctypes.PyDLL", "ctypes.py_object", "ctypes.pydll", "ctypes.pythonapi"),
            "reaches every object of the process",
        ),
        **dict.fromkeys(
            (
                "imp.load_compiled",
                "imp.load_dynamic",
                "imp.load_module",
                "imp.load_package",
                "imp.load_source",
                "importlib.__import__",
                "importlib.find_loader",
                "importlib.machinery.BuiltinImporter",
                "importlib.machinery.ExtensionFileLoader",
                "importlib.machinery.FileFinder",
                "importlib.machinery.FrozenImporter",
                "importlib.machinery.NamespaceLoader",
                "importlib.machinery.PathFinder",
                "importlib.machinery.SourceFileLoader",
                "importlib.machinery.SourcelessFileLoader",
                "importlib.metadata.EntryPoint",
                "importlib.util.LazyLoader",
                "importlib.util.module_from_spec",
                "importlib.util.spec_from_file_location",
                "importlib.util.spec_from_loader",
                "pkgutil.find_loader",
                "pkgutil.get_importer",
                "pkgutil.get_loader",
                "pkgutil.iter_importers",
                "pkgutil.walk_packages",
                "pydoc.Helper",
                "pydoc.ModuleScanner",
                "pydoc.importfile",
                "pydoc.resolve",
                "pydoc.safeimport",
                "sys.meta_path",
                "sys.path_hooks",
                "sys.path_importer_cache",
                "unittest.TestLoader",
                "unittest.TestProgram",
                "unittest.defaultTestLoader",
                "unittest.loader",
                "unittest.main",
                "zipimport.zipimporter",
            ),
            "imports a module that no instruction names",
        ),
        **dict.fromkeys(
            (
                "logging.config.BaseConfigurator",
                "logging.config.DictConfigurator",
                "logging.config.dictConfig",
                "logging.config.fileConfig",
                "logging.config.listen",
            ),
            "finds objects of any module by texts in the configuration",
        ),
        "unittest.mock.patch": "replaces names of modules and attributes of objects, private ones too",
        **dict.fromkeys(
            (
                "annotationlib.ForwardRef",
                "annotationlib.call_annotate_function",
                "annotationlib.call_evaluate_function",
                "annotationlib.get_annotations",
                "inspect.get_annotations",
                "typing.ForwardRef",
                "typing.evaluate_forward_ref",
                "typing.get_type_hints",
            ),
            "evaluates texts as code, with the names of a module",
        ),
        **dict.fromkeys(
            (
                "dataclasses.asdict",
                "dataclasses.astuple",
                "inspect.classify_class_attrs",
                "inspect.getmembers",
                "inspect.getmembers_static",
                "pydoc.allmethods",
            ),
            "hands out an object's private attributes",
        ),
        "inspect.getclosurevars": "hands out what a function reaches",
        **dict.fromkeys(
            (
                "cgitb.lookup",
                "cgitb.scanvars",
                "inspect.getargvalues",
                "inspect.getasyncgenlocals",
                "inspect.getcoroutinelocals",
                "inspect.getgeneratorlocals",
            ),
            "hands out the variables of a running call",
        ),
        "inspect.unwrap": "hands out the function behind a decorator",
        **dict.fromkeys(
            ("inspect.getclasstree", "inspect.getmro", "inspect.walktree", "types.get_original_bases"),
            "gives classes of the same module",
        ),
        "doctest.DocTestFinder": "hands out the module's namespace",
        "typing.get_overloads": "gives functions of the same module",
        "gc.get_objects": "hands out every object of the process",
        "gc.get_referents": "hands out an object's private attributes",
        "gc.get_referrers": "hands out the namespaces that hold an object",
    }
)

#: Of these, what code that computes annotations may use: the texts that it gives them are read there.
IN_ANNOTATIONS: Final = frozenset({"annotationlib.ForwardRef", "typing.ForwardRef"})

#: Through these a module gets at itself.
OWN_MODULE: Final = MappingProxyType(
    {
        "sys.modules": "holds every loaded module, this one included",
        "enum.global_enum": "stores names in the module that a class was defined in",
        "inspect.getmodule": "gives the module that an object was defined in",
    }
)

#: Protocol names, and names of frames and generators, that hand out what an object, a function or
#: a module keeps inside. Protocol names that are not here are public: ``__len__``, ``__class__``,
#: ``__init__``, ``__setstate__`` (a class's own method), ``__annotations__`` (types, not state) ...
INSIDE: Final = MappingProxyType(
    {
        "__dict__": "holds every attribute of the object, private ones too",
        "__getattribute__": "reads any attribute by a name that is not in the code",
        "__getstate__": "gives the private attributes of the object",
        "__reduce__": "gives the private attributes of the object",
        "__reduce_ex__": "gives the private attributes of the object",
        "__loader__": "gives modules by their names",
        "__spec__": "leads to a loader, which gives modules by their names",
        "__globals__": "is the namespace of the function's module",
        "__builtins__": "is the namespace of all builtins, those that rule 1 refuses too",
        "__code__": "is the function's code",
        "__closure__": "holds the variables that the function captured",
        "__defaults__": "holds the function's default values",
        "__kwdefaults__": "holds the function's default values",
        "__func__": "is the function behind the method",
        "__wrapped__": "is the function behind the decorator",
        "__self__": "of a builtin function is the module `builtins`, with all that rule 1 refuses",
        "__subclasses__": "gives classes of the same module",
        "__mro__": "gives classes of the same module",
        "__bases__": "gives classes of the same module",
        "__orig_bases__": "gives classes of the same module",
        "__base__": "gives classes of the same module",
        "__thisclass__": "is a class of the same module",
        "__objclass__": "is a class of the same module",
        "cell_contents": "is the value of a captured variable",
        "gi_frame": "is the frame of a generator, with its variables and its module's namespace",
        "cr_frame": "is the frame of a coroutine, with its variables and its module's namespace",
        "ag_frame": "is the frame of an asynchronous generator, with its variables and its module's namespace",
        "tb_frame": "is a frame, with its variables and its module's namespace",
        "f_code": "is the code of a running call",
        "gi_code": "is the code of a generator",
        "cr_code": "is the code of a coroutine",
        "ag_code": "is the code of an asynchronous generator",
        "f_back": "is the frame of the caller, with its variables and its module's namespace",
        "f_globals": "is the namespace of the frame's module",
        "f_locals": "holds the variables of the frame",
        "f_builtins": "is the namespace of all builtins, those that rule 1 refuses too",
    }
)

#: Of these, what is code. Asked for nothing but where it stands and what it is called, it hands out nothing.
CODES: Final = frozenset({"f_code", "gi_code", "cr_code", "ag_code"})
DESCRIBING: Final = frozenset(
    {"co_name", "co_qualname", "co_filename", "co_firstlineno", "co_flags", "co_lines", "co_positions"}
)

#: Attributes that are private by spelling only, of whatever object: documented and public. A
#: documented name that a class could as well have for itself (``_name`` and ``_objects`` of ctypes,
#: ``_attributes`` of ast) is not here: on the receiver it would be taken for public.
PUBLIC_ATTRIBUTES: Final = MappingProxyType(
    {
        **dict.fromkeys(
            ("_make", "_asdict", "_replace", "_fields", "_field_defaults"),
            "library reference, collections.namedtuple (`_fields` also ast.AST)",
        ),
        **dict.fromkeys(
            (
                "_name_",
                "_value_",
                "_missing_",
                "_ignore_",
                "_order_",
                "_generate_next_value_",
                "_numeric_repr_",
                "_add_alias_",
                "_add_value_alias_",
            ),
            "library reference, enum: supported _sunder_ names",
        ),
        **dict.fromkeys(
            (
                "_fields_",
                "_anonymous_",
                "_pack_",
                "_align_",
                "_layout_",
                "_type_",
                "_length_",
                "_as_parameter_",
                "_b_base_",
                "_b_needsfree_",
            ),
            "library reference, ctypes: structures, arrays and simple types",
        ),
    }
)

#: Names in modules, and modules, that are private by spelling only: documented and public.
PUBLIC_NAMES: Final = MappingProxyType(
    {
        "os._exit": "library reference, os: process management",
        **dict.fromkeys(
            (
                "sys._clear_internal_caches",
                "sys._clear_type_cache",
                "sys._current_exceptions",
                "sys._current_frames",
                "sys._debugmallocstats",
                "sys._emscripten_info",
                "sys._enablelegacywindowsfsencoding",
                "sys._getframe",
                "sys._getframemodulename",
                "sys._is_gil_enabled",
                "sys._is_immortal",
                "sys._is_interned",
                "sys._jit",
                "sys._xoptions",
            ),
            "library reference, sys",
        ),
        **dict.fromkeys(
            (
                "asyncio._enter_task",
                "asyncio._leave_task",
                "asyncio._register_task",
                "asyncio._unregister_task",
            ),
            "library reference, asyncio: extending",
        ),
        **dict.fromkeys(
            ("ctypes._CData", "ctypes._CFuncPtr", "ctypes._Pointer", "ctypes._SimpleCData"),
            "library reference, ctypes: data types and function prototypes",
        ),
        "ssl._create_unverified_context": "library reference, http.client.HTTPSConnection",
        "__future__._Feature": "library reference, __future__",
        "_thread": "library reference, _thread: low-level threading API",
        "_typeshed": "typeshed, stdlib/_typeshed: types for annotations, known to type checkers only",
    }
)


def is_protocol(name: str) -> bool:
    """Whether the language or a library gives the name its meaning: ``__len__``."""
    return len(name) > 4 and name.startswith("__") and name.endswith("__")


def is_private(name: str) -> bool:
    """Whether the spelling makes a name private; mangled names (``_Cart__total``) are."""
    return name.startswith("_") and not is_protocol(name)


def last_parts(*tables: Iterable[str]) -> frozenset[str]:
    """The names that rows of tables end with: an access of another name leads to none of them."""
    return frozenset(path.rpartition(".")[2] for table in tables for path in table)


#: Builtins of which no table says anything, so that naming one is never refused.
HARMLESS: Final = BUILTINS - last_parts(REACHING, OWN_MODULE) - {one for one in BUILTINS if is_private(one)}
