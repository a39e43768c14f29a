"""Files of records, one JSON object a line, read with the type of every field checked: a line that was damaged is named."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from holdfast.tasks.error_list import short_repr

RecordType = TypeVar("RecordType")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file: `path:number`, the object on it, and the byte at which it begins."""

    where: str
    values: dict[str, Any]
    at: int


def read_objects(path: Path, advice: str) -> Iterator[Line]:
    """Yield the objects of a file; blank lines are passed over. `advice` ends the messages of errors.

    Raises:
        ValueError: the file is no UTF-8 text, or a line is no JSON object.
    """
    # Line by line: a file may have a million.
    with path.open("rb") as file:
        at = 0
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _object(path, number, at, line, advice)
            at += len(line)


def objects_at(path: Path, places: Iterable[int], advice: str) -> Iterator[Line]:
    """Yield the objects that begin at these bytes of a file.

    Raises:
        ValueError: none begins there, because the file was written to.
    """
    with path.open("rb") as file:
        for at in places:
            file.seek(at)
            yield _object(path, 0, at, file.readline(), advice)


def _object(path: Path, number: int, at: int, line: bytes, advice: str) -> Line:
    try:
        values = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text (byte {at + error.start}); {advice}") from None
    except (ValueError, RecursionError) as error:  # A number of 5,000 digits is a ValueError of Python's.
        reason = getattr(error, "msg", None) or "too deep, or a number too long"
        raise ValueError(f"{path}:{number}: this line is not JSON ({reason}); {advice}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}:{number}: this line is no object; {advice}")
    return Line(f"{path}:{number}", values, at)


def to_record(record_type: type[RecordType], line: Line, advice: str) -> RecordType:
    """Return a line as a record; fields that this version does not know are left out: records of a newer one may carry more.

    Raises:
        ValueError: a field is missing, or of another type; with file, line and field.
    """
    try:
        return _adapter(record_type).validate_python(line.values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        shown = "" if first["type"].startswith("missing") else f" {short_repr(first['input'])}:"
        raise ValueError(f"{line.where}: `{name}`:{shown} {first['msg'].lower()}; {advice}") from None
    except RecursionError:
        raise ValueError(f"{line.where}: is nested too deeply; {advice}") from None


@lru_cache
def _adapter(record_type: type[RecordType]) -> TypeAdapter[RecordType]:
    return TypeAdapter(record_type)
