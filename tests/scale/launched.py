"""Started by a launcher from test_processes: processes train in several ways and evaluate, and leave in a folder what came of it."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks import many
from holdfast.api import evaluate as api
from holdfast.methods.base import Method
from holdfast.methods.full import Full
from holdfast.methods.lora import Lora
from holdfast.models import loading
from holdfast.prompts.soft_prompt import SoftPrompt
from holdfast.training.loop import Trainer
from holdfast.training.processes import processes, shards_weights
from tests.training import tiny

SETTINGS = {"batch_size": 7, "token_budget": 16, "save_every": 2}
ITEMS = 2500


class Dies(Method):
    """The last process is killed after step 5."""

    taken = 0

    def batch(self, rows: Any, context: Any) -> Any:
        self.taken += 1
        if self.taken == 6 and processes().process_index == processes().num_processes - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return rows


# What trains in which way, each compared with one process. A frozen base may be bfloat16 itself; weights that move are float32, and only
# computed in it.
CASES: dict[str, dict[str, Any]] = {
    "full": {},
    "tied": {"tied": True},
    "bf16": {"precision": "bf16"},
    "lora": {"trains": Lora},
    "computed twice": {"gradient_checkpointing": True},
    "lora over bf16": {"trains": Lora, "dtype": torch.bfloat16, "precision": "bf16"},
}


def trainer(
    folder: Path,
    *methods: Method,
    trains: type[Method] = Full,
    tied: bool = False,
    dtype: torch.dtype = torch.float32,
    **settings: Any,
) -> Trainer:
    """Full fine-tuning, or LoRA, behind a frozen prompt, with a validation that the main process computes alone."""
    loaded = tiny.pretrained(tie_word_embeddings=tied)
    loaded.model.to(dtype)
    run = tiny.trainer(folder, trains(), *methods, model=loaded, **SETTINGS, **settings)
    torch.manual_seed(3)
    run.model.prompts.append(SoftPrompt(torch.randn(4, 32)))
    question = torch.tensor([[1, 5, 9, 7]])
    # It computes, as every validation does.
    run.validate = lambda model: float(model.model(input_ids=question).logits.detach().double().abs().sum())
    return run


def trained(folder: Path, *methods: Method, **settings: Any) -> list[float]:
    """Train; return sums of the final weights, which tell processes apart."""
    run = trainer(folder, *methods, **settings)
    run.train()
    sums = [float(p.detach().double().sum()) for p in run.model.parameters()]
    if processes().is_main_process:
        if isinstance(run.methods[0], Full):
            loading.save(run.pretrained, folder / "model")
        else:  # It merges the update into the model of this process.
            run.methods[0].export(run.model, run.pretrained, folder)
    return sums


def main(folder: Path) -> None:
    state = processes()
    torch.manual_seed(1000 + state.process_index)  # What is not seeded by the run itself would differ.
    sums = {name: trained(folder / name, **case) for name, case in CASES.items()}
    run = trainer(folder / "stopped", stop_at=0.0)  # Ends at its first look: a checkpoint after step 2.
    run.train()
    sums["gone on"] = trained(folder / "stopped")
    trainer(folder / "stopped lora", trains=Lora, stop_at=0.0).train()
    sums["lora gone on"] = trained(folder / "stopped lora", trains=Lora)
    if (folder / "of-others").exists():
        sums["of others"] = trained(folder / "of-others")
    api.asking = many.scripted
    scores = api.evaluate("scripted", folder / "task", shots=(0,), out=folder / "evaluated")
    again = api.evaluate("scripted", folder / "task", shots=(0,), limit=1500)
    values = [scores[0].value, again[0].value, again[0].n]
    found = {"world": state.num_processes, "shards": shards_weights(), "sums": sums, "scores": values}
    (folder / f"process-{state.process_index}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[2:] == ["dies"]:
        trained(Path(sys.argv[1]) / "killed", Dies())
    else:
        main(Path(sys.argv[1]))
