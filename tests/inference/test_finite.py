"""A model whose predictions are not numbers gives no answer: the likeliest of NaNs would look like one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.evaluation import matrix
from holdfast.inference.finite import check_numbers
from holdfast.inference.model import Model
from holdfast.inference.scoring import score
from holdfast.inference.stopping import Stops
from holdfast.row import Row
from holdfast.tasks.sources import load_task
from tests.inference import small_models
from tests.inference.engines import generate
from tests.training import tiny

SAYS = "predictions are not numbers.*weights are damaged"


def broken(make: Callable[[], Any]) -> Any:
    """A model that was tried while it was whole, so that it goes the usual ways, and then lost its head."""
    model = make()
    stops = Stops(small_models.tokenizer(), (), eos=[small_models.EOS])
    generate(model, [(5, 6, 7)], stops, max_new_tokens=2)
    score(model, [Row((5, 6, 7), (0.0, 0.0, 1.0))])
    with torch.no_grad():
        model.get_output_embeddings().weight.fill_(float("nan"))
    return model


@pytest.mark.parametrize("make", [small_models.llama, small_models.mamba, lambda: small_models.t5(2.0)])
@pytest.mark.parametrize("num_beams", [1, 3])
def test_nothing_is_generated(make: Callable[[], Any], num_beams: int) -> None:
    stops = Stops(small_models.tokenizer(), (), eos=[small_models.EOS])
    with pytest.raises(ValueError, match=SAYS):
        generate(broken(make), [(5, 6, 7), (5, 6)], stops, max_new_tokens=4, num_beams=num_beams)


def test_nothing_is_scored() -> None:
    with pytest.raises(ValueError, match=SAYS):
        score(broken(small_models.llama), [Row((5, 6, 7), (0.0, 0.0, 1.0))])


def test_an_impossible_token_is_no_fault() -> None:
    check_numbers(torch.tensor([-torch.inf, -1.0]))


@pytest.mark.parametrize("part", ["all", "head"])
def test_a_broken_model_gets_an_error_and_not_an_accuracy_of_a_half(tmp_path: Path, part: str) -> None:
    for split in ("train", "test"):
        lines = [{"input": f"w{i} {split}", "target": f"w{3 + i % 2}", "choices": ["w3", "w4"]} for i in range(10, 20)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    loaded = tiny.pretrained()
    with torch.no_grad():
        for parameter in loaded.model.parameters() if part == "all" else [loaded.model.lm_head.weight]:
            parameter.fill_(float("nan"))
    with pytest.raises(ValueError, match=SAYS):
        matrix.evaluate(Model(loaded), load_task(str(tmp_path)))
