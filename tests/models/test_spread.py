"""A model that is spread over memory and disk answers and trains as it does in one piece; what cannot is refused before it is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from holdfast.api.load import load
from holdfast.api.tune import tune
from holdfast.inference.sampling import Sampling
from holdfast.models import loading
from holdfast.models.precision import Loading
from holdfast.training.processes import check_device
from tests.training import tiny

QUESTIONS = ["the bird", "zan: 3 4", "a b c d"]


def on_disk(path: Path, layers: int, *disk: int, embeddings: str = "cpu") -> str:
    """A map file that lays these layers on the disk, and returns its name."""
    places = {f"model.layers.{i}": "disk" if i in disk else "cpu" for i in range(layers)}
    rest = dict.fromkeys(["model.norm", "model.rotary_emb", "lm_head"], "cpu")
    path.write_text(json.dumps({"model.embed_tokens": embeddings, **places, **rest}))
    return str(path)


def test_a_model_with_layers_on_the_disk_answers_exactly_as_in_one_piece(tmp_path: Path) -> None:
    whole, spread = load("lab", device="cpu"), load("lab", device=on_disk(tmp_path / "map.json", 5, 1, 3))
    laid_aside = [name for name, p in spread.pretrained.model.named_parameters() if p.device.type == "meta"]
    assert {name.split(".")[2] for name in laid_aside} == {"1", "3"}
    pairs = [(question, f" {answer}") for question in QUESTIONS for answer in ("one", "two words")]
    # The same kernels on the same numbers: exactly equal. A layer that is left out, or read wrongly, changes every number.
    assert spread.loglikelihood(pairs) == whole.loglikelihood(pairs)
    assert spread.generate(QUESTIONS, Sampling(8)) == whole.generate(QUESTIONS, Sampling(8))
    assert spread.pretrained.hash == whole.pretrained.hash
    assert loading.weights_hash(spread.pretrained.model) == loading.weights_hash(whole.pretrained.model)


def test_a_model_that_fits_answers_the_same_where_accelerate_spreads_it() -> None:
    whole, spread = load("lab", device="cpu"), load("lab", device="spread")
    pairs = [(question, " one") for question in QUESTIONS]
    assert spread.loglikelihood(pairs) == whole.loglikelihood(pairs)
    assert spread.generate(QUESTIONS, Sampling(8)) == whole.generate(QUESTIONS, Sampling(8))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_prompt_and_a_lora_train_over_a_base_on_the_disk_as_over_one_in_memory(
    tmp_path: Path, checkpointing: bool
) -> None:
    runs: dict[str, Any] = {}
    for device in ("cpu", on_disk(tmp_path / "map.json", 5, 0, 2, 4)):
        out = tmp_path / f"run-{len(runs)}"
        settings: dict[str, Any] = {"prompt.steps": 3, "prompt.validation_limit": 0, "prompt.length": 4}
        settings |= {"model.steps": 3, "model.validation_limit": 0}
        settings |= {f"{stage}.gradient_checkpointing": checkpointing for stage in ("prompt", "model")}
        run = tune(
            "lab", "lab:elicit-sentiment", "promot_lora", "lab:kind", shots=(0,), limit=5, out=out, device=device,
            **settings,
        )  # fmt: skip
        records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        losses = [record["loss"] for record in records if "loss" in record]
        assert len(losses) == 6
        scores = [(s.task, s.variant, s.prompt, s.value) for s in run.scores]
        runs[device] = losses, scores, load_file(out / "model" / "model.safetensors")
    (one, other) = runs.values()
    assert one[0] == other[0], "losses, bit by bit"
    assert one[1] == other[1]
    assert all(torch.equal(one[2][name], other[2][name]) for name in one[2])


def test_what_cannot_be_spread_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = on_disk(tmp_path / "map.json", 5, 1)
    with pytest.raises(
        ValueError, match=r"full: trains the model's own weights, and with device=.*map\.json these are"
    ):
        tune("lab", "lab:elicit-sentiment", "full", "none", out=tmp_path / "run", device=file)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=r"are the word embeddings, with which rows begin"):
        load("lab", device=on_disk(tmp_path / "no.json", 5, embeddings="disk"))
    with pytest.raises(ValueError, match=r"gone\.json: cannot be read as JSON"):
        load("lab", device=str(tmp_path / "gone.json"))
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"list\.json: is no map of modules to devices"):
        load("lab", device=str(tmp_path / "list.json"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="spread: several processes were launched, and each would spread the model"):
        check_device("spread")


def test_a_map_that_leaves_a_part_out_is_refused(tmp_path: Path) -> None:
    loading.save(tiny.pretrained(), tmp_path / "model")
    (tmp_path / "map.json").write_text(json.dumps({"model.embed_tokens": "cpu", "lm_head": "cpu"}))
    with pytest.raises(ValueError, match=r"map\.json: says nothing of model\.layers\.0.* and of 18 more weights"):
        loading.load(tmp_path / "model", Loading("fp32", str(tmp_path / "map.json")))
    (tmp_path / "map.json").write_text(json.dumps({"model.embeddings": "cpu"}))
    with pytest.raises(ValueError, match=r"the model has no module model\.embeddings"):
        loading.load(tmp_path / "model", Loading("fp32", str(tmp_path / "map.json")))


def test_a_lora_that_is_not_merged_is_attached_to_a_base_on_the_disk(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"model.steps": 2, "model.validation_limit": 0, "model.merge": False}
    values = []
    for number, device in enumerate(("cpu", on_disk(tmp_path / "map.json", 5, 0, 3))):
        out = tmp_path / f"run-{number}"
        options = {**settings, "model.learning_rate": 0.02}
        run = tune(
            "lab", "lab:elicit-sentiment", "lora", "lab:kind", shots=(0,), limit=5, out=out, device=device, **options
        )
        values.append({(s.task, s.variant, s.metric): s.value for s in run.scores})
        assert not (out / "model").exists()
    # One is merged and the other attached: sums in another order, 1e-6. An adapter that is left off leaves the base's numbers.
    assert values[1] == pytest.approx(values[0], rel=1e-3, abs=1e-6)
    base = {(task, name): v for (task, variant, name), v in values[1].items() if variant == "base"}
    moved = [abs(v - base.get((task, name), v)) for (task, variant, name), v in values[1].items() if variant == "tuned"]
    assert max(moved) > 0.01


def test_methods_that_compute_with_the_weights_are_refused_over_a_base_on_the_disk(tmp_path: Path) -> None:
    file = on_disk(tmp_path / "map.json", 5, 1)
    cases: list[tuple[str, dict[str, Any]]] = [("corda", {}), ("lora", {"model.init": "pissa"})]
    for number, (method, settings) in enumerate(cases):
        with pytest.raises(
            ValueError, match="computes with the weights themselves, and some of them are not in memory"
        ):
            tune(
                "lab", "lab:elicit-sentiment", method, "lab:kind", shots=(0,), limit=2, out=tmp_path / f"run-{number}",
                device=file, **settings,
            )  # fmt: skip
