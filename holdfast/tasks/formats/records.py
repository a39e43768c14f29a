"""Files as records: one mapping a line of JSONL, CSV or TSV, each with the file and line it came from."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.tasks.error_list import Problems, wrong_byte

SUFFIXES = (".jsonl", ".csv", ".tsv")


@dataclass(frozen=True, slots=True)
class Record:
    """The keys and values of one line, and `path:line`."""

    where: str
    values: Mapping[str, Any]


def read_records(path: Path, problems: Problems) -> list[Record]:
    """Return every good line of a file; the bad ones go to `problems`. Blank lines are passed over."""
    if not path.is_file():
        problems.add(path, "is no regular file, so reading it might never end; give a file")
        return []
    try:
        # Spreadsheets write a byte order mark, which would become part of the first key. Lines of JSONL end at \n alone; the csv
        # module wants to see the ends of lines itself.
        with path.open(encoding="utf-8-sig", newline="\n" if path.suffix == ".jsonl" else "") as file:
            read = _jsonl if path.suffix == ".jsonl" else _csv
            before = len(problems.lines)
            records = read(path, file, problems)
    except UnicodeDecodeError:
        problems.add(path, f"is not UTF-8 text (byte {wrong_byte(path)}); save it as UTF-8")
        return []
    if not records and len(problems.lines) == before:
        problems.add(path, "has no examples; fill it, or remove it")
    return records


def read_line(where: str, line: str, problems: Problems) -> Record | None:
    """Return the object on a line of JSONL; None for a blank line, and for a bad one, which goes to `problems`."""
    if not line.strip():
        return None
    try:
        values = json.loads(line.rstrip("\r\n"))
        # A lone surrogate is valid JSON and cannot be written or tokenised: it shows here, with its line, or hours later.
        line.encode() if "\\u" not in line else json.dumps(values, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        problems.add(where, f"not JSON ({error.msg}, column {error.colno}); write one JSON object on the line")
    except UnicodeEncodeError:
        problems.add(where, "holds half of a character (a lone \\ud800-\\udfff escape); write the whole pair")
    except RecursionError:
        problems.add(where, "is nested too deeply to read; flatten it")
    except ValueError:
        problems.add(where, "holds a number of thousands of digits; write it as text")
    else:
        if isinstance(values, dict):
            return Record(where, values)
        problems.add(where, f"is {json_type(values)}, not an object; write {{...}} with named values")
    return None


def _jsonl(path: Path, file: Any, problems: Problems) -> list[Record]:
    lines = (read_line(f"{path}:{number}", line, problems) for number, line in enumerate(file, 1))
    return [record for record in lines if record]


def _csv(path: Path, file: Any, problems: Problems) -> list[Record]:
    records = []
    rows = csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
    try:
        header = next(rows, [])
        if path.suffix == ".csv" and len(header) == 1 and ";" in header[0]:
            problems.add(
                f"{path}:1", "its columns seem to be separated by `;`; save it with commas, or with tabs as .tsv"
            )
            return []
        for row in rows:
            if record := table_row(f"{path}:{rows.line_num}", header, row, problems):
                records.append(record)
    except csv.Error as error:
        problems.add(*table_error(path, rows.line_num, error))
    return records


def table_row(where: str, header: Sequence[str], row: Sequence[str], problems: Problems) -> Record | None:
    """Return a row of a table; None for a blank one, and for a bad one, which goes to `problems`."""
    # One that is too short or too long is most often one with an unquoted comma: its cells would be in the wrong columns.
    if row and len(row) != len(header):
        problems.add(where, f"has {len(row)} cells, the header {len(header)}; quote cells that hold separators")
    return Record(where, dict(zip(header, row, strict=True))) if len(row) == len(header) and row else None


def table_error(path: Path, line: int, error: csv.Error) -> tuple[str, str]:
    """Return where a table ends because it cannot be read on, and why."""
    return f"{path}:{line}", f"not {path.suffix[1:].upper()} ({error}); quote the cell properly"


def json_value(text: str) -> Any:
    """Return the value of a text of JSON, as a line may hold one in the place of an object.

    Raises:
        ValueError: it is none; the reason in a few words, for the caller to say where.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg}, column {error.colno}") from None
    except (ValueError, RecursionError):  # A number of 5,000 digits, or a thousand brackets.
        raise ValueError("too deep, or a number too long") from None


def json_type(value: object) -> str:
    """Return the type of a JSON value, in words."""
    # By exact type: True is an int in Python, and would be called a number.
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
