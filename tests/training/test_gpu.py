"""The same numbers on a GPU as on a processor, in float32 and bfloat16: training, resuming, asking, and several runs at a time.

Run with `pytest -m gpu tests/training/test_gpu.py`.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.api.evaluate import evaluate
from holdfast.api.load import load
from holdfast.api.tune import tune
from holdfast.inference.sampling import Sampling
from holdfast.studies.runner import study
from holdfast.training import loop

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
TASK, GENERAL = "lab:elicit-sentiment", "lab:kind"
STEPS: dict[str, Any] = {
    "model.steps": 12,
    "model.save_every": 6,
    "model.learning_rate": 1e-3,
    "model.token_budget": 2048,
}
PROMPT: dict[str, Any] = {"prompt.steps": 12, "prompt.length": 16, "prompt.save_every": 6, "prompt.token_budget": 2048}
# Losses of 5 that fall to 1, after 12 steps: other orders of summation leave 1e-5 in float32 and rounding 0.02 in bfloat16. A mask,
# position or prompt on the wrong rows moves the first loss by 0.1 and more.
NOISE = {"fp32": 2e-3, "bf16": 0.1}
# A soft prompt amplifies it: on a processor, gradients with relative noise of 1e-5 (float32) move the losses of `promot` by 2e-5 in the
# second step and by 9e-3 in the tenth, noise of 1e-2 (bfloat16) by 1e-3 and 0.4. So the first steps, which a wrong mask or gradient
# would move too, are compared as closely as all of full fine-tuning's, and the later ones only roughly.
AMPLIFIED, CLOSE_STEPS = {"fp32": 5e-2, "bf16": 1.5}, 3


def losses(folder: Path) -> list[float]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if "loss" in record]


def tuned(out: Path, method: str, device: str, dtype: str, **options: Any) -> Path:
    settings = STEPS | (PROMPT if method.startswith("promot") else {})
    if method in ("prompt_tuning", "prefix_tuning"):
        settings = PROMPT
    tune(
        "lab", TASK, method, GENERAL, shots=(0, 1), limit=20, out=out, device=device, dtype=dtype, **settings, **options
    )
    return out


def killed(monkeypatch: pytest.MonkeyPatch, out: Path, method: str, dtype: str) -> None:
    """Start a run that dies before its ninth step of the model."""
    step = loop.Training.step

    def dying(training: loop.Training, number: int) -> dict[str, Any]:
        if training.stage == "model" and number == 8:
            raise RuntimeError("killed")
        return step(training, number)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Training, "step", dying)
        with pytest.raises(RuntimeError, match="killed"):
            tuned(out, method, "cuda", dtype)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "method", ["full", "promot", "promot_lora", "prefix_tuning", "lora_absorber", "full+kl_base+l2_sp"]
)
def test_a_gpu_trains_as_a_processor_does(tmp_path: Path, method: str, dtype: str) -> None:
    if method == "lora_absorber":
        options = {k: v for k, v in PROMPT.items() if k != "prompt.length"}
        for device in ("cpu", "cuda"):
            tune(
                "lab", TASK, method, GENERAL, shots=(0,), limit=20, out=tmp_path / device, device=device, dtype=dtype,
                **options,
            )  # fmt: skip
    else:
        for device in ("cpu", "cuda"):
            tuned(tmp_path / device, method, device, dtype)
    expected, found = losses(tmp_path / "cpu"), losses(tmp_path / "cuda")
    assert expected[-1] < expected[0] - 0.1, "nothing was learned, so nothing is compared"
    assert found[:CLOSE_STEPS] == pytest.approx(expected[:CLOSE_STEPS], abs=NOISE[dtype])
    assert found == pytest.approx(expected, abs=(NOISE if method.startswith("full") else AMPLIFIED)[dtype])


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_a_gpu_scores_and_writes_as_a_processor_does(dtype: str) -> None:
    """Log-likelihoods of 1 to 20: 1e-3 covers float32's order of summation, 0.3 the rounding of ten layers in 16 bits."""
    on_cpu, on_gpu = (load("lab", dtype=dtype, device=device) for device in ("cpu", "cuda"))
    assert on_gpu.pretrained.model.device.type == "cuda"
    pairs = [(f"zan {word} :", f" {answer}") for word in ("bo", "ka", "ti") for answer in ("yes", "no", "up down")]
    pairs += [("", "a whole text"), ("long " * 60, "end")]
    noise = 1e-3 if dtype == "fp32" else 0.3
    expected, found = ([score.value for score in m.loglikelihood(pairs)] for m in (on_cpu, on_gpu))
    assert found == pytest.approx(expected, abs=noise)
    # The two copies draw with the same numbers; in float32 no draw falls between their probabilities.
    drawn = Sampling(max_new_tokens=8, temperature=1.0, samples=2)
    texts = ["zan bo : ", "count : one", "x"]
    for sampling in (Sampling(max_new_tokens=8), drawn, Sampling(max_new_tokens=8, num_beams=3)):
        written = on_gpu.generate(texts, sampling)
        assert len(written) == 3 * sampling.samples
        assert dtype != "fp32" or written == on_cpu.generate(texts, sampling)


def test_evaluate_on_a_gpu_gives_a_processors_scores() -> None:
    on_cpu, on_gpu = (
        {score.key: score.value for score in evaluate("lab", [TASK, GENERAL], shots=(0, 2), limit=40, device=device)}
        for device in ("cpu", "cuda")
    )
    # One answer of 40 may be a draw between two choices that rounding decides.
    assert on_gpu == pytest.approx(on_cpu, abs=0.03)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_killed_run_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    """Kernels that add in no fixed order leave 1e-5; state that was not restored (moments, data order) moves losses by 0.05.

    Of full fine-tuning: a soft prompt would amplify the 1e-5 beyond that (`AMPLIFIED`).
    """
    whole = losses(tuned(tmp_path / "whole", "full", "cuda", dtype))
    killed(monkeypatch, tmp_path / "run", "full", dtype)
    part = losses(tuned(tmp_path / "run", "full", "cuda", dtype))
    assert part == pytest.approx(whole, abs=2e-3 if dtype == "fp32" else 0.03)


def test_a_checkpoint_of_a_gpu_goes_on_on_a_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = losses(tuned(tmp_path / "whole", "full", "cuda", "fp32"))
    killed(monkeypatch, tmp_path / "run", "full", "fp32")
    assert losses(tuned(tmp_path / "run", "full", "cpu", "fp32")) == pytest.approx(whole, abs=2e-3)


def test_several_runs_share_one_gpu(tmp_path: Path) -> None:
    options: dict[str, Any] = {"seeds": 2, "shots": (0,), "limit": 20, "dtype": "bf16", "device": "cuda"}
    settings = {"model.steps": 6, "model.learning_rate": 1e-3}
    result = study("lab", ["full", "lora"], [TASK], [GENERAL], out=tmp_path, jobs=4, set=settings, **options)
    assert not result.failed
    assert len(list((tmp_path / "runs").glob("*/scores.jsonl"))) == 4


def test_the_token_budget_follows_the_gpus_free_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With no budget set, as much goes through at once as a GPU takes, and the log says why."""
    settings = {key: value for key, value in STEPS.items() if key != "model.token_budget"}
    tune("lab", TASK, "full", shots=(0,), limit=5, out=tmp_path / "run", device="cuda", dtype="fp32", **settings)
    assert re.search(r"forwards of up to \d+ tokens \([\d.]+ GB free", capsys.readouterr().err)
