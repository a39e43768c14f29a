"""A run's log.jsonl as its page shows it: the points of the curves, the rows that were cut, and the rules by which weights were kept."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunLog:
    """The lines with a finite loss or validation score, and a sentence for each stage that cut rows, or kept weights by a rule."""

    points: list[dict[str, Any]] = field(default_factory=list)
    truncated: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)


def read_log(path: Path) -> RunLog:
    """Return the content of a log; of a file that does not exist, nothing.

    A last line that a killed run left unfinished is dropped; any other must be whole.

    Raises:
        ValueError: a line before the last is not JSON, or no record of training.
    """
    points: list[dict[str, Any]] = []
    truncated: dict[str, str] = {}  # by stage, here and below: a resumed run may write the record again
    rules: dict[str, str] = {}
    for where, record in _records(path):
        # A diverged run logs NaN or infinity, which a curve has no point for.
        measured = {name: record[name] for name in ("loss", "validation") if _finite(record.get(name))}
        if isinstance(record.get("step"), int) and measured:
            named = {name: record[name] for name in ("stage", "metric") if isinstance(record.get(name), str)}
            points.append({"step": record["step"]} | named | measured)
        stage = str(record.get("stage", ""))
        if "kept_by" in record:
            rules[stage] = str(record["kept_by"])
        if "truncated_share" in record:
            shares = [record.get(f"{name}_share") for name in ("truncated", "target_cut", "target_lost")]
            if not all(map(_finite, shares)):
                raise ValueError(f"{where}: no shares of rows that were cut; remove this line")
            truncated.pop(stage, None)
            if shares[0]:
                truncated[stage] = _sentence(stage, record.get("rows"), shares)
    return RunLog(points, list(truncated.values()), list(rules.values()))


def _sentence(stage: str, rows: Any, shares: list[Any]) -> str:
    cut, lost, empty = (100 * share for share in shares)
    more = f", {lost:.0f} % lost tokens of their target and {empty:.0f} % all of it" if lost else ""
    return f"stage {stage}: {cut:.0f} % of {rows} training rows were cut to fit{more}"


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield `path:line` and the record of each line."""
    if not path.exists():
        return
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text (byte {error.start}); remove it") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines):  # the only line that a killed process can have left half written
                return
            raise ValueError(
                f"{path}:{number}: this line is not JSON ({getattr(error, 'msg', 'too deep')}); remove it"
            ) from None
        if not isinstance(record, dict):
            raise ValueError(f"{path}:{number}: this line is no record of training; remove it")
        yield f"{path}:{number}", record


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
