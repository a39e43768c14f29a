"""What the catalogue knows of one task, and how its entries are written down."""

from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.tasks.settings import Settings


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
    settings: Settings


def labels(*names: str, to: tuple[str, ...] = ()) -> Mapping[str, str]:
    """A verbalizer for class labels that may be given by name or by number; `to` are the words, if not the names."""
    words = to or names
    return dict(zip(names, words, strict=True)) | {str(i): word for i, word in enumerate(words)}
