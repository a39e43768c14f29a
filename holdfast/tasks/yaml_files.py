"""Read YAML files that somebody sent: small ones, not deep, whose aliases do not unfold into gigabytes; errors in one line."""

from pathlib import Path
from typing import Any

import yaml

LARGEST, DEEPEST, MOST_NODES = 8 << 20, 40, 200_000  # bytes; levels; values once every alias is written out
# The C library's reader, where PyYAML was built with it: the one in Python takes seconds for a megabyte.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path, advice: str) -> Any:
    """Return the content of a YAML file as plain data; `advice` ends the messages of errors.

    Raises:
        ValueError: it is no YAML, no UTF-8 text, or larger or deeper than any file of ours; with file and line.
        OSError: it cannot be read.
    """
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path}: is larger than {LARGEST >> 20} MB; {advice}")
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text (byte {error.start}); {advice}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ValueError(f"{path}{line}: not YAML ({problem}); {advice}") from None
    except (ValueError, OverflowError, RecursionError) as error:  # A date with month 13, a number of 5,000 digits.
        raise ValueError(f"{path}: holds a value that cannot be read ({error or 'too deep'}); {advice}") from None


def parse_yaml(text: str) -> Any:
    """Return YAML text as plain data.

    Raises:
        yaml.YAMLError: it is no YAML.
        ValueError: a value cannot be read, or the text is too deep or unfolds into too much.
    """
    _check_size(text)
    return yaml.load(text, LOADER)  # a safe loader: plain data alone


def _check_size(text: str) -> None:
    """Go through the events, which are read one by one and build nothing, and refuse what would unfold into too much."""
    sizes: dict[str, int] = {}  # of what each anchor stands for, its aliases written out
    open_nodes: list[tuple[str | None, int]] = []  # anchor, and the size when it began
    total = 0
    for event in yaml.parse(text, LOADER):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ValueError(f"*{event.anchor} stands inside of what it means, or before it")
            total += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor:
                sizes[event.anchor] = 1 + len(event.value) // 100
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, total))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, begin = open_nodes.pop()
            if anchor:
                sizes[anchor] = total - begin
        if len(open_nodes) > DEEPEST:
            raise ValueError(f"nested more than {DEEPEST} levels deep")
        if total > MOST_NODES:
            raise ValueError(f"more than {MOST_NODES:,} values, aliases written out")
