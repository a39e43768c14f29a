"""A task from files: a folder with one file per split, or a single file. Every bad line is reported, all at once."""

from collections.abc import Sequence
from pathlib import Path

from holdfast.tasks.error_list import Problems
from holdfast.tasks.formats.dialogue_schema import NO_SCHEMA, SCHEMA, lacks_schema, read_schema, with_schema
from holdfast.tasks.formats.records import SUFFIXES, Record, read_records
from holdfast.tasks.formats.settings import TaskYaml, read_settings
from holdfast.tasks.formats.stored import LARGE, StoredRecords
from holdfast.tasks.loaders.build import Draft, to_task
from holdfast.tasks.task import SPLITS, Task

# Names that other tools give: a file that nobody reads is a mistake that nobody sees.
MISNAMED = {"dev": "validation", "valid": "validation", "val": "validation", "eval": "test", "training": "train"}


def read_folder(folder: Path, settings: TaskYaml | None = None, seed: int = 0) -> Task:
    """Return the task in a folder: `train`, `validation`, `test`, each `.jsonl` (or `.csv`, `.tsv`), and perhaps `task.yaml`.

    Without a validation file a fixed tenth of train, at most 200 examples, serves (see `to_task`). A folder with only a
    test file can be evaluated, without demonstrations. A single file beside a `task.yaml` is split as
    `read_file` splits it.

    Raises:
        ValueError: `path:line: what is wrong; what to do` for every bad line of every file; a file that is missing.
    """
    described = folder / "task.yaml"
    settings = settings or read_settings(described)
    problems = Problems()
    files = _split_files(folder, problems)
    source, single = folder, None if "test" in files else _single_file(folder)
    if single is not None and described.is_file():
        # Who writes settings for one file has nothing to forget; without them a test file may be missing by mistake.
        source, files = single, {"all": single}
    elif "test" not in files:
        problems.add(folder, _without_test(folder, files, single))
    problems.stop()
    records = {split: _records(path, problems) for split, path in files.items()}
    if (folder / SCHEMA).is_file():
        functions = read_schema(folder / SCHEMA, problems)
        problems.stop()  # Every line of the dialogues would be wrong by it.
        records = {split: with_schema(lines, functions) for split, lines in records.items()}
    elif bare := next(filter(None, map(lacks_schema, records.values())), None):
        problems.add(bare.where, NO_SCHEMA)
        problems.stop()
    return to_task(Draft(folder.resolve().name, str(source), records, settings, str(described), {}), problems, seed)


TEXTS = 'a document is a line {"text": "..."} of train.jsonl'


def read_file(path: Path, seed: int = 0) -> Task:
    """Return the task in one file, split 80/10/10 into train, validation and test by the hash of each example's content.

    Raises:
        ValueError: as `read_folder`; the file is of no known kind; it has fewer than three different examples.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(
            f"{path}: a task is a folder or a {', '.join(SUFFIXES)} file; convert it, one example a line ({TEXTS})"
        )
    problems = Problems()
    records = {"all": _records(path, problems)}
    return to_task(Draft(path.stem, str(path), records, TaskYaml(), str(path), {}), problems, seed)


def _records(path: Path, problems: Problems) -> Sequence[Record]:
    """Return the good lines of a file; those of a large one stay on the disk."""
    large = path.is_file() and path.stat().st_size >= LARGE
    return StoredRecords(path, problems) if large else read_records(path, problems)


def _split_files(folder: Path, problems: Problems) -> dict[str, Path]:
    """Return the file of each split that is there; two for one split, or one under another tool's name, are problems."""
    files: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES):
        if path.stem in files:
            problems.add(path, f"there is also {files[path.stem].name}; keep one of the two")
        elif path.stem in SPLITS:
            files[path.stem] = path
        elif path.stem in MISNAMED:
            problems.add(path, f"would be ignored; rename it {MISNAMED[path.stem]}{path.suffix}")
    # In the order of SPLITS and not of the names: errors are listed, and shapes fixed, from train on.
    return {split: files[split] for split in SPLITS if split in files}


def _single_file(folder: Path) -> Path | None:
    """Return the file of examples in a folder where there is one alone, unless its name says that nothing is trained on it."""
    data = [path for path in folder.iterdir() if path.suffix in SUFFIXES]
    return data[0] if len(data) == 1 and data[0].stem not in {"validation", "test", *MISNAMED} else None


def _without_test(folder: Path, files: dict[str, Path], single: Path | None) -> str:
    split = f"; or give {single.name} itself, or add a task.yaml, and it is split 80/10/10" if single else ""
    if files:
        return f"has no test.jsonl or test.csv to measure on; add it{split}"
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    texts = f"; {TEXTS}" if ".txt" in there or ".md" in there else ""
    return f"has no train.jsonl or test.jsonl (it holds: {there}); give a folder that does{split}{texts}"
