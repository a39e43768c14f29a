"""An edit stage: after training, the difference between the tuned weights and the base's is changed, tensor by tensor."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from holdfast.edits.base import Edit
from holdfast.results.run_folder import RunFolder
from holdfast.stages.edited_weights import weights_folder, write_edited_model
from holdfast.stages.stage import Inputs, Stage
from holdfast.stages.train import Train
from holdfast.training.processes import processes


@dataclass(frozen=True)
class EditModel(Stage):
    """Edit the weights of `tuned`, which go back to those of `model`; `model/` is what later stages and the run take."""

    KIND: ClassVar[str] = "Edit"

    model: str
    tuned: Train
    edit: Edit
    model_version: str = ""

    def run(self, folder: Path, inputs: Inputs) -> None:
        """Write `model/`."""
        if processes().is_main_process:
            # The base of the run and not the stage's start: an edit weighs all that training changed.
            base = weights_folder(self.model)
            write_edited_model(base, [inputs["tuned"].weights()], self.edit, RunFolder(folder).model)
