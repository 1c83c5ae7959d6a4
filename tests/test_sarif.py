"""The SARIF log, read back by structures that state what the OASIS standard (2.1.0, section 3) demands.

They refuse unknown properties, wrong types, numbers below the standard's minimum and
missing required properties, as the standard's JSON schema does for the objects used here.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from bcpatch import sarif
from bcpatch.diagnostics import RULES, Diagnostic, Place, Severity, Step, finding
from bcpatch.model import Site

Level = Literal["none", "note", "warning", "error"]
FromOne = Annotated[int, Meta(ge=1)]


class Object(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    pass


class Text(Object):
    text: str


class Region(Object):
    start_line: FromOne
    start_column: FromOne = 1
    end_line: FromOne = 1
    end_column: FromOne = 1
    snippet: Text | None = None


class Artifact(Object):
    uri: str


class Physical(Object):
    artifact_location: Artifact
    region: Region | None = None


class Logical(Object):
    fully_qualified_name: str
    kind: str


class Location(Object):
    physical_location: Physical | None = None
    logical_locations: list[Logical] = []
    message: Text | None = None


class ThreadFlowLocation(Object):
    location: Location


class ThreadFlow(Object):
    locations: Annotated[list[ThreadFlowLocation], Meta(min_length=1)]


class CodeFlow(Object):
    thread_flows: Annotated[list[ThreadFlow], Meta(min_length=1)]


class Result(Object):
    message: Text
    rule_id: str
    rule_index: Annotated[int, Meta(ge=-1)] = -1
    level: Level = "warning"
    locations: list[Location] = []
    code_flows: list[CodeFlow] = []


class Configuration(Object):
    level: Level = "warning"


class Rule(Object):
    id: str
    short_description: Text
    help: Text
    default_configuration: Configuration


class Driver(Object):
    name: str
    version: str
    rules: list[Rule] = []


class Tool(Object):
    driver: Driver


class Run(Object):
    tool: Tool
    results: list[Result] | None = None
    column_kind: Literal["utf16CodeUnits", "unicodeCodePoints"] = "unicodeCodePoints"


class Log(Object):
    version: Literal["2.1.0"]
    runs: list[Run]
    schema: str = msgspec.field(name="$schema")


PLACE = Place("shop/my cart.py", 41, 20, 41, 30, "        self.total += self._rate * price")


def log(*found: Diagnostic) -> Log:
    return msgspec.json.decode(sarif.as_sarif(found), type=Log)


def test_a_finding_has_its_rule_place_and_words() -> None:
    (run,) = log(finding("BCP104", "why", PLACE, site=Site("shop.cart", "Cart.total", 1))).runs
    assert run.results is not None
    (result,) = run.results
    assert (result.rule_id, result.level) == ("BCP104", "error")
    assert run.tool.driver.rules[result.rule_index].short_description.text == RULES["BCP104"].title
    assert result.message.text == f"why\nhelp: {RULES['BCP104'].help}"
    (location,) = result.locations
    assert location.physical_location is not None
    region = location.physical_location.region
    assert region is not None
    assert (region.start_line, region.start_column, region.end_line, region.end_column) == (41, 20, 41, 30)
    assert location.physical_location.artifact_location.uri == "shop/my%20cart.py"
    assert location.logical_locations == [Logical("shop.cart:Cart.total#1", "function")]


def test_a_trail_becomes_a_code_flow_that_ends_at_the_finding() -> None:
    step = Step("`me` is the receiver", 12, 15, "    def total(me):")
    (run,) = log(finding("BCP104", "why", PLACE, trail=[step])).runs
    assert run.results is not None
    ((flow,),) = [one.code_flows for one in run.results]
    places = [one.location for one in flow.thread_flows[0].locations]
    assert [place.message.text for place in places if place.message] == [step.message, "why"]
    lines = [
        place.physical_location.region.start_line
        for place in places
        if place.physical_location and place.physical_location.region
    ]
    assert lines == [12, 41]


def test_findings_without_place_column_or_file() -> None:
    nowhere, file, line = (finding("BCP401", "x", place) for place in (Place(""), Place("a.py"), Place("a.py", 3)))
    (run,) = log(nowhere, file, line).runs
    assert run.results is not None
    assert [one.locations for one in run.results] == [
        [],
        [Location(Physical(Artifact("a.py")))],
        [Location(Physical(Artifact("a.py"), Region(3)))],
    ]


def test_severities_are_levels() -> None:
    found = [msgspec.structs.replace(finding("BCP215", "x"), severity=severity) for severity in Severity]
    (run,) = log(*found).runs
    assert run.results is not None
    assert [one.level for one in run.results] == ["error", "warning", "note"]
    assert run.tool.driver.rules[0].default_configuration.level == "note"


def test_no_findings_are_a_run_with_no_results() -> None:
    (run,) = log().runs
    assert run.results == []


def test_an_absolute_path_is_a_file_uri() -> None:
    (run,) = log(finding("BCP401", "x", Place("/srv/a b.py"))).runs
    assert run.results is not None
    (location,) = run.results[0].locations
    assert location.physical_location is not None
    assert urlsplit(location.physical_location.artifact_location.uri) == ("file", "", "/srv/a%20b.py", "", "")


def test_every_rule_can_be_written() -> None:
    written = log(*(finding(code, "x") for code in RULES))
    assert [rule.id for rule in written.runs[0].tool.driver.rules] == sorted(RULES)
    assert json.loads(sarif.as_sarif([]))["$schema"].endswith("sarif-schema-2.1.0.json")
