"""A measurement's claim on the folder of its results: other results there are replaced only where the user says so."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.atomic_files import write_text
from holdfast.results.run_folder import RunFolder
from holdfast.stages.assemble import OF_THE_BASE, changed
from holdfast.stages.judge import KNOWN
from holdfast.stages.stage import LOCK


@dataclass(frozen=True)
class Measurement:
    """A measurement into the folder `out`: `settings` are everything that its numbers depend on, by the names of the options.

    With `pages`, pages and a README.md are written beside the numbers, so that the folder has to be this measurement's alone.
    """

    out: Path
    settings: Mapping[str, Any]
    pages: bool
    overwrite: bool

    def check(self) -> None:
        """Refuse, before any model is loaded, a folder that cannot take the results.

        Raises:
            ValueError: it is a file, holds a run of `tune`, numbers of another measurement (and `overwrite` is off), or, where
                `pages` are written, something else that is not ours.
        """
        out, layout = self.out, RunFolder(self.out)
        if out.exists() and not out.is_dir():
            raise ValueError(f"{out}: is a file; --out needs a folder")
        if layout.is_run:
            raise ValueError(f"{out}: holds a run of `tune`, whose numbers these would replace; give another --out")
        different, old = self._different(), self._with_numbers()
        if different and old and not self.overwrite:
            # Of another command nearly all is different.
            what = (
                "of `evaluate` without --against, or with"
                if "command" in different
                else f"different: {', '.join(different)}"
            )
            raise ValueError(
                f"{out}: holds another measurement ({what}); give another --out, or --overwrite to replace it"
            )
        ours = old or layout.measurement_file.exists()
        if self.pages and not ours and out.exists() and any(not path.name.startswith(LOCK) for path in out.iterdir()):
            raise ValueError(f"{out}: is not empty and holds no measurement; give another --out")

    def claim(self, folders: Sequence[Path] = ()) -> None:
        """Make the folder this measurement's own by writing `measurement.json`; `folders` are to be made for its numbers.

        The same measurement goes on where it was stopped. What the base answered, and a judge on known pairs, stays when another
        measurement is replaced.

        Raises:
            ValueError: as `check`.
        """
        self.check()
        layout = RunFolder(self.out)
        if self._different():
            for folder in self._with_numbers():
                _remove_numbers(folder)
            for stage in layout.stages.glob("*"):
                if not stage.name.startswith((*OF_THE_BASE, KNOWN)):
                    shutil.rmtree(stage)
        for folder in (self.out, *folders):
            folder.mkdir(parents=True, exist_ok=True)
        write_text(layout.measurement_file, json.dumps(self._plain(), indent=1, ensure_ascii=False))

    def _plain(self) -> dict[str, Any]:
        # As it will be read back: tuples are lists there.
        return json.loads(json.dumps(dict(self.settings)))

    def _different(self) -> list[str]:
        return changed(recorded(self.out), self._plain())

    def _with_numbers(self) -> list[Path]:
        """Return the folders that hold numbers of a measurement: the folder itself, or one for each of several tuned models."""
        inside = sorted(path.parent for path in self.out.glob("*/evidence.json"))
        # Below a folder may lie runs of `tune`, which are no part of a measurement.
        candidates = [self.out, *(path for path in inside if not RunFolder(path).is_run)]
        return [path for path in candidates if RunFolder(path).scores_file.exists()]


def recorded(out: Path) -> dict[str, Any]:
    """Return the settings of the measurement in a folder; nothing where there is none, or its record is damaged."""
    try:
        content = json.loads(RunFolder(out).measurement_file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _remove_numbers(folder: Path) -> None:
    """Remove what a measurement has written, and nothing that somebody else has put beside it."""
    layout = RunFolder(folder)
    files = [layout.scores_file, layout.outputs_file]
    if layout.evidence_only:  # Without it neither page nor card was written: a README.md there is the user's.
        files += [layout.evidence_file, layout.judge_file, layout.page, layout.card]
    for path in (*files, *folder.glob("samples/*/samples_*.jsonl")):
        path.unlink(missing_ok=True)
