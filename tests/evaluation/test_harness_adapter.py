"""The lm-evaluation-harness and our measuring give the same numbers, each under the other."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from holdfast.evaluation.matrix import Asking, items_of
from holdfast.inference.model import Model
from holdfast.models.loading import Pretrained
from holdfast.results.compute_scores import score
from holdfast.results.metrics import metric
from tests.inference import small_models as small

pytest.importorskip("lm_eval", reason="the extra `harness` is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the harness's own warnings are not ours to fix

HEAD = """
dataset_path: json
dataset_kwargs: {{data_files: {{train: {folder}/train.jsonl, test: {folder}/test.jsonl}}}}
training_split: train
test_split: test
fewshot_split: train
fewshot_config: {{sampler: first_n}}
doc_to_text: "Q: {{{{input}}}}\\nA:"
metadata: {{version: 3.0}}
"""
RANKED = """
task: ranked
output_type: multiple_choice
doc_to_choice: "{{choices}}"
doc_to_target: "{{choices.index(target)}}"
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
WRITTEN = """
task: written
output_type: generate_until
doc_to_target: "{{target}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 6, do_sample: false}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
ROLLING = """
task: rolling
output_type: loglikelihood_rolling
doc_to_target: "{{input}}"
metric_list: [{metric: word_perplexity}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three task files over 20 questions."""
    folder, rng = tmp_path_factory.mktemp("tasks"), random.Random(0)
    words = ["red", "green", "blue", "one", "two", "three", "yes", "no", "maybe", "so"]
    for split, n in (("train", 5), ("test", 20)):
        with (folder / f"{split}.jsonl").open("w") as file:
            for _ in range(n):
                choices = rng.sample(words, 4)
                item = {"input": " ".join(rng.choices(words, k=5)), "choices": choices, "target": rng.choice(choices)}
                file.write(json.dumps(item) + "\n")
    for text in (RANKED, WRITTEN, ROLLING):
        (folder / f"{text.split()[1]}.yaml").write_text(text + HEAD.format(folder=folder))
    return folder


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def pretrained() -> Pretrained:
    return Pretrained(small.llama(), small.tokenizer(), "tiny", "")


def under_the_harness(model: Any, folder: Path, names: list[str], shots: int) -> Any:
    import lm_eval
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    ask: Any = lm_eval.simple_evaluate  # its decorator hides its parameters
    return ask(model=model, tasks=names, task_manager=manager, num_fewshot=shots, bootstrap_iters=0, log_samples=True)


@pytest.mark.parametrize("shots", [0, 2])
def test_our_model_under_the_harness_is_the_harnesss_own_model(
    pretrained: Pretrained, folder: Path, shots: int
) -> None:
    from lm_eval.models.huggingface import HFLM

    from holdfast.evaluation.harness import HarnessModel

    names = ["ranked", "written"] + (["rolling"] if shots == 0 else [])
    ours = under_the_harness(HarnessModel(Model(pretrained)), folder, names, shots)
    model: Any = HFLM
    model = model(
        pretrained=pretrained.model, tokenizer=pretrained.tokenizer, batch_size=4, device="cpu", max_length=256
    )
    theirs = under_the_harness(model, folder, names, shots)
    for name in names:
        for one, other in zip(ours["samples"][name], theirs["samples"][name], strict=True):
            assert one["arguments"] == other["arguments"]
            assert one["filtered_resps"] != [""], "nothing was written, so nothing is compared"
            if name == "written":
                assert one["filtered_resps"] == other["filtered_resps"]
            else:
                values = [[np.ravel(r)[0] for r in sample["filtered_resps"]] for sample in (one, other)]
                # float32 in another order: 1e-4 at most; a token at the wrong place moves a log-likelihood by 0.1 and more.
                assert values[0] == pytest.approx(values[1], abs=1e-4)
    assert ours["results"]["ranked"]["acc,none"] == theirs["results"]["ranked"]["acc,none"]


@pytest.mark.parametrize("name", ["ranked", "written"])
def test_its_tasks_get_our_paired_statistics(pretrained: Pretrained, folder: Path, name: str) -> None:
    from holdfast.evaluation.harness import evaluate
    from holdfast.tasks.loaders.harness import load

    (task,) = load(f"harness:{name}@{folder}")
    assert (task.name, task.version[:4]) == (f"harness:{name}", "3.0-")
    prompted = Model(pretrained, small.prompt(4, pretrained.model))
    before = torch.random.get_rng_state()
    outputs = evaluate(Model(pretrained), task, Asking(shots=1, limit=12))
    outputs += evaluate(prompted, task, Asking(shots=1, limit=12, variant="tuned", prompt="on"))
    assert torch.equal(torch.random.get_rng_state(), before), "the caller's random state is left alone"
    base, tuned = score(outputs, [task])
    assert (base.metric, base.n) == ("acc" if name == "ranked" else "exact_match", 12)
    assert [o.index for o in outputs[:12]] == items_of(task.name, 20, 12, 0)
    assert tuned.delta == pytest.approx(tuned.value - base.value)
    assert tuned.verdict is not None
    if name == "ranked":
        assert base.chance == 0.25
        assert metric("accuracy").value(outputs[:12]) == base.value, (
            "its mark is what our metric makes of the same answers"
        )
        full = under_the_harness(_harness_model(pretrained), folder, [name], 1)["samples"][name]
        marks = {sample["doc_id"]: sample["acc"] for sample in full}
        assert [o.scores["acc"] for o in outputs[:12]] == [marks[o.index] for o in outputs[:12]]


def _harness_model(pretrained: Pretrained):
    from holdfast.evaluation.harness import HarnessModel

    return HarnessModel(Model(pretrained))


def test_what_cannot_be_measured_is_refused(folder: Path) -> None:
    from lm_eval.api.instance import Instance

    from holdfast.evaluation.harness import HarnessModel
    from holdfast.tasks.loaders.harness import load

    with pytest.raises(ValueError, match="describes no such task"):
        load(f"harness:nothing@{folder}")
    with pytest.raises(ValueError, match="rolling: none of its metrics"):
        load(f"harness:rolling@{folder}")
    request = Instance("generate_until", {}, ("a", {"do_sample": True, "temperature": 0.7}), 0)
    with pytest.raises(ValueError, match="asks for sampling"):
        HarnessModel(None).generate_until([request])  # pyright: ignore[reportArgumentType]
