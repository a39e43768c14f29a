"""The analyses on a tiny model, where what they must say is known."""

import warnings
from typing import Any

import peft
import pytest
import torch

from holdfast import plugins
from holdfast.analysis.base import Finding, NoQuestions, Subject
from holdfast.analysis.format_share import format_share
from holdfast.analysis.gradient_alignment import gradient_alignment
from holdfast.analysis.label_mass import label_mass
from holdfast.analysis.weight_drift import effective_rank, weight_drift
from holdfast.inference.model import Model
from holdfast.models import resolve
from holdfast.models.precision import Loading
from holdfast.prefix.model import PrefixModel
from holdfast.prompts.soft_prompt import SoftPrompt
from holdfast.report.run.analysis_figures import declared
from holdfast.row import Row
from holdfast.stages.analyse import FormatQuestions
from holdfast.tasks.task import Example, Task
from holdfast.tasks.text.templates import Template
from tests.training import tiny


def subject(**changed: Any) -> Subject:
    tuned = tiny.pretrained()
    given = {"base": tiny.pretrained(), "rows": tiny.rows(), "shuffled": tiny.rows()} | changed
    return Subject(tuned, PrefixModel(tuned.model), **given)


def test_the_same_answers_give_the_same_gradient_and_others_do_not() -> None:
    same = [finding.value for finding in gradient_alignment(subject())]
    assert len(same) == 2 * 7  # seven matrices in each of two blocks
    assert same == pytest.approx([1.0] * len(same), abs=1e-9)
    other = [Row((*row.tokens[:-1], (row.tokens[-1] + 5) % 30 + 3), row.weights, None, row.name) for row in tiny.rows()]
    assert max(finding.value for finding in gradient_alignment(subject(shuffled=other))) < 0.99


def test_the_analysis_leaves_no_gradient_and_no_parameter_to_train() -> None:
    given = subject()
    given.model.requires_grad_(False)
    gradient_alignment(given)
    assert all(p.grad is None and not p.requires_grad for p in given.model.parameters())


def test_the_drift_of_a_known_change() -> None:
    given = subject()
    before = {(f.measure, f.where): f.value for f in weight_drift(given)}
    assert set(before.values()) == {0.0}
    weight = given.pretrained.model.model.layers[1].mlp.up_proj.weight
    weight.data += torch.outer(torch.ones(48), torch.ones(32)) * 0.5
    found = {(f.measure, f.where): f.value for f in weight_drift(given)}
    total = sum(p.numel() for p in given.pretrained.model.model.layers[1].parameters())
    assert found["mean_abs", "layers.1"] == pytest.approx(0.5 * 48 * 32 / total, rel=1e-5)
    assert found["effective_rank", "layers.1"] == pytest.approx(
        1.0, abs=1e-4
    )  # float32 noise; two directions would give up to 2
    assert found["mean_abs", "layers.0"] == 0.0


def test_the_drift_of_an_adapter_is_that_of_the_model_that_it_is_merged_into() -> None:
    """PEFT's LoRA of rank 1 on one matrix, scaled by alpha / rank = 2: B A is 0.25 everywhere, so each entry moves by 0.5."""
    given = subject()
    config = peft.LoraConfig(r=1, lora_alpha=2, target_modules=["up_proj"], layers_to_transform=[1])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
        adapted = peft.get_peft_model(given.pretrained.model, config)
    layer: Any = given.pretrained.model.model.layers[1].mlp.up_proj
    layer.lora_A["default"].weight.data.fill_(0.5)
    layer.lora_B["default"].weight.data.fill_(0.5)
    apart = {(f.measure, f.where): f.value for f in weight_drift(given)}
    total = sum(p.numel() for p in tiny.pretrained().model.model.layers[1].parameters())
    assert apart["mean_abs", "layers.1"] == pytest.approx(0.5 * 48 * 32 / total, rel=1e-5)
    given.pretrained.model = adapted.merge_and_unload()  # pyright: ignore[reportCallIssue]
    together = {(f.measure, f.where): f.value for f in weight_drift(given)}
    assert apart == pytest.approx(together, rel=1e-4, abs=1e-9)  # float32 noise; an adapter that is not counted is 0


@pytest.mark.parametrize(("dtype", "noise"), [("int8", 5e-4), ("int4", 5e-3)])
def test_the_drift_of_quantised_weights_is_that_of_the_numbers_they_stand_for(dtype: str, noise: float) -> None:
    """Noise: of the norms of weights in so few bits; seen 4e-5 and 6e-4. Codes are larger by orders, or of a shape that takes no update."""
    pytest.importorskip("bitsandbytes", reason="the extra `quant` is not installed")
    drifts = []
    for loading in (Loading("fp32", "cpu"), Loading(dtype, "cpu")):
        base, tuned = (resolve.load("lab", loading=loading) for _ in range(2))
        config = peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            peft.get_peft_model(tuned.model, config)
        found = weight_drift(Subject(tuned, PrefixModel(tuned.model), base, (), ()))
        drifts.append({f.where: f.value for f in found if f.measure == "relative_norm"})
    assert drifts[1] == pytest.approx(drifts[0], rel=noise)


def test_the_effective_rank_counts_directions() -> None:
    assert effective_rank(torch.eye(5, dtype=torch.float64)) == pytest.approx(5.0)
    assert effective_rank(torch.diag(torch.tensor([3.0, 0.0, 0.0], dtype=torch.float64))) == pytest.approx(1.0)


def test_the_mass_is_a_mean_over_each_tasks_questions() -> None:
    """With a prompt the mass is given with it attached too; without one there is nothing to attach."""

    class Asked(NoQuestions):
        def mass(self, attached: bool) -> dict[str, list[float]]:
            return {"other": [0.5, 1.0] if attached else [0.1, 0.2]}

    given = subject(likeness=Asked())
    assert label_mass(given) == [Finding("mass_off", "other", (0.1 + 0.2) / 2)]
    given.model.prompts.append(SoftPrompt(torch.zeros(2, 32)))
    assert label_mass(given)[1:] == [Finding("mass_on", "other", 0.75)]


def test_the_share_is_of_answers_that_are_the_targets_and_not_the_tasks_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model writes w3 or w4 to everything; w4 is right in the other task, and only w3 is the target's alone: 2 of 4."""
    target, tuned = task("pick", [("a", "w3"), ("b", "w4")] * 4), tiny.pretrained()
    other = task("other", [("w5 w9", "w4"), ("w6 w9", "w7"), ("w7 w9", "w4"), ("w8 w9", "w7")])
    monkeypatch.setattr(Model, "generate", lambda self, texts, sampling: ["w3", "W3.", "w4", "w5"])
    given = subject(likeness=FormatQuestions(tuned, PrefixModel(tuned.model), target, [other], None, 0))
    assert format_share(given) == [Finding("share_off", "other", 0.5)]


def test_every_analysis_says_how_it_is_drawn() -> None:
    assert [name for name in plugins.members(plugins.ANALYSES) if not declared(name)] == []


def test_the_mass_of_a_models_own_questions_is_the_evaluations() -> None:
    """One implementation serves the analysis and `first_token_mass`: labels of the target that are none of the task's own."""
    target = task("pick", [("a", "w3"), ("b", "w4")] * 4)
    other = task("other", [("w5 w9", "w4"), ("w6 w9", "w7")] * 4)
    tuned = tiny.pretrained()
    found = FormatQuestions(tuned, PrefixModel(tuned.model), target, [other], None, 0).mass(False)
    label = tuned.tokenizer(" w3")["input_ids"][-1]  # w4 is an answer of the other task itself
    for example, value in zip(other.splits["test"], found["other"], strict=True):
        asked = tuned.tokenizer(f"{example.fields['input']} w8")["input_ids"]
        with torch.no_grad():
            logits = tuned.model(torch.tensor([asked])).logits[0, -1]
        assert value == pytest.approx(
            float(logits.softmax(-1)[label]), abs=1e-5
        )  # float32; another token's is 1e-2 away


def test_gradients_are_not_asked_of_a_finished_run() -> None:
    with pytest.raises(ValueError, match="needs the rows of training"):
        gradient_alignment(subject(rows=()))


def task(name: str, pairs: list[tuple[str, str]]) -> Task:
    examples = tuple(Example({"input": asked}, answer) for asked, answer in pairs)
    return Task(name, {"train": examples, "test": examples}, Template("{{ input }} w8"), "exact_match")
