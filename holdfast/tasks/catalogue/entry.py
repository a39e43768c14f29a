"""Entries of the catalogue: a task of a paper with its settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.tasks.formats.settings import TaskYaml


@dataclass(frozen=True, slots=True)
class Entry:
    """A task of a paper: its settings, and the columns that they read.

    `settings.source` is the data set's place on the hub, None where no copy is known there that loads without running
    the data set's own code; a local folder with the same columns serves for every entry.
    """

    summary: str
    paper: str
    role: str
    columns: tuple[str, ...]
    settings: TaskYaml


def labels(*names: str, to: tuple[str, ...] = ()) -> Mapping[str, str]:
    """Return a verbalizer for class labels that may be given by name or by number; `to` are the words, if not the names."""
    words = to or names
    # By both: the hub stores numbers, and a local copy of the same columns often the names.
    return dict(zip(names, words, strict=True)) | {str(i): word for i, word in enumerate(words)}
