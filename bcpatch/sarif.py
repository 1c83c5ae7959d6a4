"""Findings as a SARIF 2.1.0 log (OASIS standard), which code hosts show beside the changed lines.

A finding's trail becomes a code flow. Knows the format, and nothing of how findings
come about.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import quote

import msgspec

from bcpatch import __version__
from bcpatch.diagnostics import RULES, Diagnostic, Rule, Severity, Step

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

Level: TypeAlias = Literal["none", "note", "warning", "error"]

_LEVELS: dict[Severity, Level] = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}


class _Object(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An object of the format; a property that has the format's default is not written."""


class Message(_Object, frozen=True):
    text: str


class ReportingConfiguration(_Object, frozen=True):
    level: Level = "warning"


class ReportingDescriptor(_Object, frozen=True):
    id: str
    short_description: Message
    help: Message
    default_configuration: ReportingConfiguration


class ToolComponent(_Object, frozen=True):
    name: str
    version: str
    rules: tuple[ReportingDescriptor, ...]


class Tool(_Object, frozen=True):
    driver: ToolComponent


class Region(_Object, frozen=True):
    start_line: int
    start_column: int | None = None
    end_line: int | None = None
    end_column: int | None = None
    snippet: Message | None = None


class ArtifactLocation(_Object, frozen=True):
    uri: str


class PhysicalLocation(_Object, frozen=True):
    artifact_location: ArtifactLocation
    region: Region | None = None


class LogicalLocation(_Object, frozen=True):
    fully_qualified_name: str
    kind: str


class Location(_Object, frozen=True):
    physical_location: PhysicalLocation | None = None
    logical_locations: tuple[LogicalLocation, ...] = ()
    message: Message | None = None


class ThreadFlowLocation(_Object, frozen=True):
    location: Location


class ThreadFlow(_Object, frozen=True):
    locations: tuple[ThreadFlowLocation, ...]


class CodeFlow(_Object, frozen=True):
    thread_flows: tuple[ThreadFlow, ...]


class Result(_Object, frozen=True):
    rule_id: str
    rule_index: int
    message: Message
    level: Level = "warning"
    locations: tuple[Location, ...] = ()
    code_flows: tuple[CodeFlow, ...] = ()


class Run(_Object, frozen=True):
    tool: Tool
    results: tuple[Result, ...]
    column_kind: Literal["utf16CodeUnits", "unicodeCodePoints"] | None = None


class Log(_Object, frozen=True):
    version: Literal["2.1.0"]
    runs: tuple[Run, ...]
    schema: str = msgspec.field(name="$schema")


def as_sarif(found: Iterable[Diagnostic]) -> str:
    """Findings as a SARIF log of one run of bcpatch."""
    results = tuple(found)
    rules = [RULES[code] for code in sorted({one.code for one in results})]
    run = Run(
        tool=Tool(driver=ToolComponent(name="bcpatch", version=__version__, rules=tuple(map(_descriptor, rules)))),
        results=tuple(_result(one, rules) for one in results),
        column_kind="unicodeCodePoints",
    )
    log = Log(schema=SCHEMA, version="2.1.0", runs=(run,))
    return msgspec.json.format(msgspec.json.encode(log)).decode()


def _descriptor(rule: Rule) -> ReportingDescriptor:
    return ReportingDescriptor(
        id=rule.code,
        short_description=Message(text=rule.title),
        help=Message(text=rule.help),
        default_configuration=ReportingConfiguration(level=_LEVELS[rule.severity]),
    )


def _result(found: Diagnostic, rules: Sequence[Rule]) -> Result:
    place = _location(found)
    return Result(
        rule_id=found.code,
        rule_index=rules.index(RULES[found.code]),
        level=_LEVELS[found.severity],
        message=Message(text=found.message + (f"\nhelp: {found.help}" if found.help else "")),
        locations=(place,) if place != Location() else (),
        code_flows=_flows(found, place) if found.trail else (),
    )


def _location(found: Diagnostic) -> Location:
    physical = None
    if found.file:
        region = None
        if found.line:
            region = Region(
                start_line=found.line,
                start_column=found.column or None,
                end_line=found.end_line or None,
                end_column=found.end_column or None,
                snippet=Message(text=found.text) if found.text else None,
            )
        physical = PhysicalLocation(artifact_location=ArtifactLocation(uri=_uri(found.file)), region=region)
    site = (LogicalLocation(fully_qualified_name=str(found.site), kind="function"),) if found.site else ()
    return Location(physical_location=physical, logical_locations=site)


def _flows(found: Diagnostic, end: Location) -> tuple[CodeFlow, ...]:
    """The places through which the value came, and the place of the finding as the last of them."""
    steps = [ThreadFlowLocation(location=_step(step, found.file)) for step in found.trail]
    last = msgspec.structs.replace(end, message=Message(text=found.message))
    return (CodeFlow(thread_flows=(ThreadFlow(locations=(*steps, ThreadFlowLocation(location=last))),)),)


def _step(step: Step, file: str) -> Location:
    region = None
    if step.line:
        snippet = Message(text=step.text) if step.text else None
        region = Region(start_line=step.line, start_column=step.column or None, snippet=snippet)
    place = PhysicalLocation(artifact_location=ArtifactLocation(uri=_uri(file)), region=region) if file else None
    return Location(physical_location=place, message=Message(text=step.message))


def _uri(path: str) -> str:
    """A relative path stays relative: to where the log is read."""
    plain = Path(path)
    return plain.as_uri() if plain.is_absolute() else quote(plain.as_posix())
