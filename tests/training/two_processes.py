"""Started by a launcher from test_processes: each process trains, and leaves in the folder it is given what it saw."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.utils import gather_object

from holdfast.methods.base import Method
from holdfast.methods.full import Full
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.training import checkpoint
from holdfast.training.processes import processes
from tests.training import tiny

SETTINGS = {"batch_size": 5, "token_budget": 16, "save_every": 2}


class Kill(Method):
    """All processes die after step 5."""

    taken = 0

    def after_step(self, model: Any) -> None:
        self.taken += 1
        if self.taken == 5:
            raise RuntimeError("killed")


def trained(folder: Path, *methods: Method, **settings: Any) -> list[float]:
    """Train, with a validation that only the main process computes; returns sums of the final weights, which tell processes apart."""
    run = tiny.trainer(folder, *methods, **SETTINGS, **settings)
    run.validate = lambda model: float(sum(p.detach().sum() for p in model.parameters()))
    run.train()
    return [float(p.detach().double().sum()) for p in run.model.parameters()]


def main(folder: Path) -> None:
    state = processes()
    torch.manual_seed(1000 + state.process_index)  # What is not seeded by the run itself would differ.
    found: dict[str, Any] = {"world": state.num_processes}
    if state.num_processes > 1:
        group = torch.distributed.distributed_c10d._get_default_group()  # pyright: ignore[reportAttributeAccessIssue]
        found["patience"] = group._get_backend(torch.device("cpu")).options._timeout.total_seconds()
    found["full"] = trained(folder / "full", Full())
    found["prompt"] = trained(folder / "prompt", PromptTuning(length=4))
    found["dropout"] = trained(folder / "dropout", Full(), Method(), dropout=0.2)
    states = gather_object([checkpoint.random_state()["torch"].tolist()])
    found["random states differ"] = states[0] != states[-1]
    with pytest.raises(RuntimeError, match="killed"):
        trained(folder / "resumed", Full(), Kill(), dropout=0.2)
    torch.manual_seed(2000 + state.process_index)
    found["resumed"] = trained(folder / "resumed", Full(), Method(), dropout=0.2)
    with pytest.raises(RuntimeError, match="killed"):
        trained(folder / "fewer", Full(), Kill())  # Goes on in one process: see the test.
    (folder / f"process-{state.process_index}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
