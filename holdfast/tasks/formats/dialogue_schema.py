"""The schema of a domain as functions: each service with its slots becomes one that records what a user wants of it.

Source: Li et al. 2024, "Large language models as zero-shot dialogue state tracker through function calling" (FnCTOD)
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from holdfast.tasks.error_list import Problems
from holdfast.tasks.formats.records import Record, json_type
from holdfast.tasks.formats.stored import mapped

SCHEMA = "schema.json"
NO_SCHEMA = f"no schema: write the services and their slots in {SCHEMA} beside it, or `functions` in each line"
Function = Mapping[str, Any]
Checked = TypeVar("Checked")
ANY = " Write 'dontcare' only where the user says that any value will do."
NAMES = " Write names exactly as they were said, and no pronoun in their place."
TIMES = ("arrive", "leave", "time", "arriveby", "leaveat")
EXAMPLES = 10  # values of an open slot that its description names


@checked(config=ConfigDict(extra="ignore"))
class Slot:
    """A slot of a service, as a schema has it; those that are not informable are only asked for."""

    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    possible_values: list[str | bool | int | float] | None = None
    is_categorical: bool = False
    is_informable: bool = True


@checked(config=ConfigDict(extra="ignore"))
class Intent:
    """A wish that users may have of a service, with the slots that it needs."""

    required_slots: list[str] = Field(default_factory=list)


@checked(config=ConfigDict(extra="ignore"))
class DialogueService:
    """A domain, as a schema has it; `function` is the name of its function where that is another."""

    service_name: Annotated[str, Field(min_length=1)]
    slots: list[Slot] = Field(default_factory=list)
    description: str | None = None
    intents: list[Intent] | None = None
    function: str | None = None


@checked(config=ConfigDict(extra="ignore"))
class Parameters:
    """The arguments of a function that is described as such."""

    properties: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]


@checked(config=ConfigDict(extra="ignore"))
class DescribedFunction:
    """A function that a line of data describes itself."""

    name: Annotated[str, Field(min_length=1)]
    description: str
    parameters: Parameters
    service: str | None = None


def function_of(service: Mapping[str, Any]) -> Function:
    """Return the function that records what a user wants of a service, by the schema that MultiWOZ 2.2 and SGD have; a function as it is.

    Raises:
        ValueError: the service has no name or no slots, or a slot is none.
    """
    if isinstance(service, Mapping) and "parameters" in service:
        validated(DescribedFunction, service)
        return service
    read = validated(DialogueService, service)
    name = read.service_name
    slots = [slot for slot in read.slots if slot.is_informable]
    if not slots:
        raise ValueError(f"the service `{name}` has no slots, so there is nothing to track; list them in `slots`")
    properties = {without_service(slot.name, name): _parameter(slot) for slot in slots}
    if len(properties) < len(slots):
        raise ValueError(f"the service `{name}` has a slot twice; rename one")
    required = [without_service(slot, name) for slot in (read.intents or [Intent()])[0].required_slots]
    description = f"{(read.description or name).rstrip('.')}.{ANY}{NAMES if 'name' in properties else ''}"
    return {
        "name": re.sub(r"\W+", "_", read.function or name),
        "description": description,
        "parameters": {
            "type": "object",
            "properties": properties,
            "required": [slot for slot in required if slot in properties],
        },
        "service": name,
    }


def validated(kind_of: type[Checked], value: object) -> Checked:
    """Return a value as a class that pydantic checks.

    Raises:
        ValueError: it is none; says where in it, in one line.
    """
    try:
        return TypeAdapter(kind_of).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        name = value.get("service_name") or value.get("name") if isinstance(value, Mapping) else None
        where = ".".join(str(part) for part in first["loc"] if not isinstance(part, str) or "[" not in part)
        of = f" of `{name}`" if isinstance(name, str) and name else ""
        raise ValueError(f"`{where or 'service'}`{of}: {first['msg'].lower().rstrip('.')}") from None


def without_service(slot: str, service: str) -> str:
    """Return a slot's name without the service's before it: `area` of `hotel-area`."""
    return slot.removeprefix(f"{service}-").strip()


def read_schema(path: Path, problems: Problems) -> list[Function]:
    """Return the functions of a `schema.json`; what is wrong goes to `problems`, with the line of the service."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    try:
        services = json.loads(text)
    except json.JSONDecodeError as error:
        problems.add(
            f"{path}:{error.lineno}", f"not JSON ({error.msg}, column {error.colno}); write a list of services"
        )
        return []
    except (ValueError, RecursionError):
        problems.add(path, "is nested too deeply, or holds a number of thousands of digits; write a list of services")
        return []
    if not isinstance(services, list) or not services:
        problems.add(path, f"is {json_type(services)}{' without entries' * (services == [])}; write a list of services")
        return []
    functions: list[Function] = []
    for number, service in enumerate(services, 1):
        name = service.get("service_name") if isinstance(service, dict) else None
        position = text.find(json.dumps(name)) if name else -1
        where = f"{path}:{text.count(chr(10), 0, position) + 1}" if position >= 0 else f"{path}: service {number}"
        try:
            function = function_of(service)
            if any(function["name"] == other["name"] for other in functions):
                raise ValueError(f"the function `{function['name']}` is there already; name each service once")
            functions.append(function)
        except ValueError as error:
            problems.add(where, error)
    return functions


def with_schema(records: Sequence[Record], functions: Sequence[Function]) -> Sequence[Record]:
    """Return the lines of dialogues with the functions of the schema beside them."""

    def line(record: Record) -> Record:
        if "turns" not in record.values:
            return record
        return Record(record.where, {"functions": list(functions), **record.values})

    return mapped(line, records)


def _parameter(slot: Slot) -> dict[str, Any]:
    """Return a slot as a parameter: its values are listed where they are closed, and some of them described where they are open."""
    values = [str(value) for value in slot.possible_values or ()]
    description = slot.description or slot.name
    if slot.name.rpartition("-")[2].replace(" ", "").lower() in TIMES:
        description += " (HH:mm)"
    # By names of JSON Schema alone: templates of models print or refuse others.
    boolean, integer = {"yes", "no"} & set(values), {"1", "2", "3", "4", "5"} & set(values)
    parameter: dict[str, Any] = {"type": "boolean" if boolean else "integer" if integer else "string"}
    if slot.is_categorical and values:
        return {**parameter, "description": description, "enum": values}
    if values:
        description += f", such as {', '.join(values[:EXAMPLES])}"
    return {**parameter, "description": description}


def lacks_schema(records: Sequence[Record]) -> Record | None:
    """Return the first of a file's lines where it is a dialogue without functions: without a schema all of them are then wrong alike."""
    first = next(iter(records), None)
    return first if first and "turns" in first.values and "functions" not in first.values else None
