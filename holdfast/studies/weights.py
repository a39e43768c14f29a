"""The weights of a study's runs, which can be dropped as soon as nothing stands on them any more.

A run of a model with a billion parameters leaves gigabytes, and a study has dozens of runs. What follows from a study needs their scores
and answers alone.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.atomic_files import write_text
from holdfast.results.run_folder import RunFolder

Round = tuple[str, int]  # A target and a seed: no training is shared between two rounds.


@dataclass
class Rounds:
    """The runs of each round that have not ended yet. Of a round that has, the weights are dropped; its stages lie in `stages`."""

    of_run: Mapping[Path, Round]
    stages: Path
    waiting: dict[Round, set[Path]] = field(init=False)

    def __post_init__(self) -> None:
        self.waiting = {}
        for run, of_round in self.of_run.items():
            self.waiting.setdefault(of_round, set()).add(run)

    def ended(self, run: Path) -> None:
        """Note that a run is finished, and drop the weights of its round if it was the last; one that failed is tried again."""
        left = self.waiting[self.of_run[run]]
        left.discard(run)
        if not left:
            drop([path for path, of_round in self.of_run.items() if of_round == self.of_run[run]], self.stages)


def drop(runs: Sequence[Path], stages: Path) -> None:
    """Remove the whole models of finished runs, and the stages that they stand on: an arm that is added later trains those again."""
    for run in runs:
        for name in RunFolder(run).stage_names():
            # The whole folder and not its weights alone: without its mark the stage is run again, and not found damaged.
            if RunFolder(stages / name).model.is_dir():
                _remove(stages / name)
        if RunFolder(run).model.is_dir():
            # Before they go: a run without it would be taken for one that left its base as it was.
            write_text(
                RunFolder(run).dropped_file, "The model of this run was removed by holdfast study --drop-weights.\n"
            )
            _remove(RunFolder(run).model)


def _remove(folder: Path) -> None:
    # Renamed first, in one move: killed half way, a stage with its mark and without its files would be found damaged.
    gone = folder.with_name(f"{folder.name}.dropped")
    shutil.rmtree(gone, ignore_errors=True)
    os.replace(folder, gone)
    shutil.rmtree(gone)
