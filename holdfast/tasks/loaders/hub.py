"""A task from a Hugging Face dataset: a hub id, or a local folder that is laid out as the hub lays them out."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.tasks.error_list import Problems
from holdfast.tasks.examples.splits import evenly
from holdfast.tasks.formats import stored
from holdfast.tasks.formats.records import Record
from holdfast.tasks.formats.settings import TaskYaml
from holdfast.tasks.formats.stored import ReadOnDemand
from holdfast.tasks.hub_reach import go_offline, unreachable
from holdfast.tasks.loaders.build import Draft, to_task
from holdfast.tasks.task import SPLITS, Task

BLOCK = 64  # Rows that are read at a time.
HIDDEN = -1  # the label of an example where the data keeps it secret, or where annotators did not agree


def read_hub(source: str, settings: TaskYaml, seed: int = 0) -> Task:
    """Return the task in the dataset `source`: `name[:config]` on the hub, or `path/to/folder[:config]`, which downloads nothing.

    The sets of keys are those of files; a column of class labels is read as their names, which are the choices where it
    holds the target. Examples without a label are left out. Where test has none left, validation serves as test; a
    dataset with a single split is divided 80/10/10.

    Raises:
        ValueError: the dataset cannot be loaded, its splits have other names, or `dataset/split[i]: what is wrong`.
    """
    from datasets import ClassLabel  # here, because importing it is slow and most tasks are files

    parts = _splits(source, settings)
    closed: dict[str, tuple[str, ...]] = {}
    for part in parts.values():
        features = part.features.items()
        closed |= {key: tuple(feature.names) for key, feature in features if isinstance(feature, ClassLabel)}
    read = {split: Rows(f"hf:{source}/{split}", part, closed, settings) for split, part in parts.items()}
    # Benchmarks keep the labels of their test split secret: what can be measured is the validation split.
    if not read.get("test") and read.get("validation"):
        read["test"] = read.pop("validation")
    # As of files: what is large stays where it is.
    records: dict[str, Sequence[Record]] = {
        split: rows if rows.bytes >= stored.LARGE else list(rows) for split, rows in read.items() if rows
    }
    if not records:
        raise ValueError(f"hf:{source}: no example has a label; choose other splits in a task.yaml (`splits`)")
    name = Path(source).name.replace(":", "-")
    return to_task(Draft(name, f"hf:{source}", records, settings, f"hf:{source}", closed), Problems(), seed)


def load(source: str) -> Any:
    """Return the `DatasetDict` that `source` names.

    Raises:
        ValueError: there is none, or it needs a configuration (those that exist are named).
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    path, config = split_source(source)
    away = "" if Path(path).exists() else unreachable(path, "dataset")
    if away:
        go_offline(away)
    try:
        return load_dataset(path, config)
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        reason = " ".join(str(error).split())[:300]
        if away:
            reason = f"the hub cannot be reached ({away}), and its cache has no such dataset; name a folder of files"
        raise ValueError(f"hf:{source}: cannot be loaded: {reason}") from error


def split_source(source: str) -> tuple[str, str | None]:
    """Return the path or hub id, and the configuration, of `name[:config]`; a folder that exists may have a colon in its name."""
    if Path(source).expanduser().exists():
        # A folder that is there wins over a configuration: its name may have a colon.
        return str(Path(source).expanduser()), None
    name, _, config = source.rpartition(":")
    if not name:
        return source, None
    return str(Path(name).expanduser()) if Path(name).expanduser().exists() else name, config


def _splits(source: str, settings: TaskYaml) -> dict[str, Any]:
    """Return the dataset's splits under our names."""
    dataset = load(source)
    wanted = dict(settings.splits or {split: split for split in SPLITS if split in dataset})
    missing = sorted(set(wanted.values()) - set(dataset))
    if not settings.splits and len(dataset) == 1:
        return {"test" if "test" in dataset else "all": next(iter(dataset.values()))}
    if missing or not {"test", "validation"} & set(wanted):
        raise ValueError(
            f"hf:{source}: its splits are {', '.join(dataset)}{f', not {missing[0]}' if missing else ''}; say in a task.yaml "
            "which of them serve, as `splits: {train: ..., test: ...}`"
        )
    return {split: dataset[name] for split, name in wanted.items()}


class Rows(ReadOnDemand[Record]):
    """The rows of a split that have a label, class labels by name; columns that are no text, number or list of them are left out.

    They stay in the files of the dataset.
    """

    def __init__(self, where: str, part: Any, closed: Mapping[str, tuple[str, ...]], settings: TaskYaml) -> None:
        from datasets import ClassLabel, Value

        plain = {k for k, feature in part.features.items() if isinstance(feature, Value | ClassLabel | dict | list)}
        listed = {k for k, feature in part.features.items() if hasattr(feature, "feature")}
        # Left out before rows are read: an image or a sound would be decoded for every row.
        self.where, self.closed = where, closed
        self.part = part.select_columns([key for key in part.features if key in plain | listed])
        self.bytes: int = part.data.nbytes
        # Chosen before they are read: of a million rows only those that stay are converted.
        self._numbers = array("Q", evenly(len(part), settings.limit))
        if labels := [key for key in self.part.features if key in closed]:
            # A hidden label is -1, which as an index would name the last class.
            of_labels = _blocks(self.part.select_columns(labels), self._numbers)
            self._numbers = array("Q", (number for number, row in of_labels if HIDDEN not in row.values()))

    def __len__(self) -> int:
        return len(self._numbers)

    def from_(self, index: int) -> Iterator[Record]:
        """Yield the rows from this number on."""
        for number, row in _blocks(self.part, self._numbers, index):
            yield Record(
                f"{self.where}[{number}]", {key: _named(value, self.closed.get(key)) for key, value in row.items()}
            )


def _blocks(part: Any, numbers: Sequence[int], begin: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield number and columns of each of these rows from one on, read a block at a time."""
    if begin >= len(numbers):
        return
    # The first by itself: often it is all that is taken.
    for start in (begin, *range(begin + 1, len(numbers), BLOCK)):
        block = list(numbers[start : start + (1 if start == begin else BLOCK)])
        columns = part[block]
        for row, number in enumerate(block):
            yield number, {key: values[row] for key, values in columns.items()}


def _named(value: Any, names: tuple[str, ...] | None) -> Any:
    return names[value] if names and isinstance(value, int) else value
