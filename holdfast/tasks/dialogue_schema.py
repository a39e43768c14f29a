"""The schema of a domain as functions: each service with its slots becomes one that records what a user wants of it.

Source: Li et al. 2024, "Large language models as zero-shot dialogue state tracker through function calling" (FnCTOD)
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.tasks.error_list import Problems
from holdfast.tasks.records import Record, kind

SCHEMA = "schema.json"
Function = Mapping[str, Any]
ANY = " Write 'dontcare' only where the user says that any value will do."
NAMES = " Write names exactly as they were said, and no pronoun in their place."
TIMES = ("arrive", "leave", "time", "arriveby", "leaveat")
EXAMPLES = 10  # values of an open slot that its description names


def function_of(service: Mapping[str, Any]) -> Function:
    """Return the function that records what a user wants of a service, by the schema that MultiWOZ 2.2 and SGD have; a function as it is.

    Raises:
        ValueError: the service has no name or no slots, or a slot is none.
    """
    if "parameters" in service:
        return service
    name = service.get("service_name")
    if not isinstance(name, str) or not name.strip():
        raise ValueError("has no `service_name`; name the domain")
    slots = service.get("slots")
    if not isinstance(slots, list) or not any(isinstance(slot, dict) and _informs(slot) for slot in slots):
        raise ValueError(f"the service `{name}` has no slots, so there is nothing to track; list them in `slots`")
    properties: dict[str, Any] = {}
    for number, slot in enumerate(slots, 1):
        if not isinstance(slot, dict) or not isinstance(slot.get("name"), str):
            raise ValueError(f'slot {number} of `{name}` has no `name`; write {{"name": ..., "description": ...}}')
        if _informs(slot):
            short = without_service(slot["name"], name)
            if short in properties:
                raise ValueError(f"the service `{name}` has the slot `{short}` twice; rename one")
            properties[short] = _parameter(short, slot)
    intents = service.get("intents") or [{}]
    required = [without_service(slot, name) for slot in intents[0].get("required_slots", ())]
    description = f"{str(service.get('description') or name).rstrip('.')}.{ANY}{NAMES if 'name' in properties else ''}"
    return {
        "name": re.sub(r"\W+", "_", service.get("function") or name),
        "description": description,
        "parameters": {
            "type": "object",
            "properties": properties,
            "required": [s for s in required if s in properties],
        },
        "service": name,
    }


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
    if not isinstance(services, list) or not services:
        problems.add(path, f"is {kind(services)}{' without entries' * (services == [])}; write a list of services")
        return []
    functions: list[Function] = []
    for number, service in enumerate(services, 1):
        name = service.get("service_name") if isinstance(service, dict) else None
        position = text.find(json.dumps(name)) if name else -1
        where = f"{path}:{text.count(chr(10), 0, position) + 1}" if position >= 0 else f"{path}: service {number}"
        try:
            if not isinstance(service, dict):
                raise ValueError(f"is {kind(service)}, not an object with `service_name` and `slots`")
            function = function_of(service)
            if any(function["name"] == other["name"] for other in functions):
                raise ValueError(f"the function `{function['name']}` is there already; name each service once")
            functions.append(function)
        except ValueError as error:
            problems.add(where, error)
    return functions


def with_schema(records: Sequence[Record], functions: Sequence[Function]) -> list[Record]:
    """Return the lines of dialogues with the functions of the schema beside them."""
    return [Record(r.where, {"functions": list(functions), **r.values}) if "turns" in r.values else r for r in records]


def _informs(slot: Mapping[str, Any]) -> bool:
    return bool(slot.get("is_informable", True))


def _parameter(name: str, slot: Mapping[str, Any]) -> dict[str, Any]:
    """Return a slot as a parameter: its values are listed where they are closed, and some of them described where they are open."""
    values = [str(value) for value in slot.get("possible_values") or ()]
    description = str(slot.get("description") or name)
    if name.replace(" ", "").lower() in TIMES:
        description += " (HH:mm)"
    # By names of JSON Schema alone: templates of models print or refuse others.
    boolean, integer = {"yes", "no"} & set(values), {"1", "2", "3", "4", "5"} & set(values)
    parameter: dict[str, Any] = {"type": "boolean" if boolean else "integer" if integer else "string"}
    if slot.get("is_categorical") and values:
        return {**parameter, "description": description, "enum": values}
    if values:
        description += f", such as {', '.join(values[:EXAMPLES])}"
    return {**parameter, "description": description}
