"""What each training stage trains behind, and what its validation, which chooses the weights, is asked behind."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from holdfast.api.tune import tune
from holdfast.evaluation.matrix import Asking
from holdfast.inference.model import Model
from holdfast.methods.full import Full
from holdfast.prefix.model import PrefixModel
from holdfast.prompts import load
from holdfast.prompts.soft_prompt import SoftPrompt
from holdfast.results.scores import Output
from holdfast.stages import looks
from holdfast.stages.train import Train
from holdfast.tasks.sources import load_task
from holdfast.tasks.task import Example, Task
from holdfast.tasks.task_set import TaskRef
from holdfast.training.look import Progress
from holdfast.training.loop import Trainer
from tests.recipes.worlds import QUICK, write_world
from tests.training import tiny


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), pick=["w3", "w4"], copy=None, other=None)


@dataclass
class Look:
    """One validation: of which task, behind which vectors, and the model's weights then."""

    task: str
    prompt: Tensor | None
    weight: Tensor
    shots: int
    splits: Sequence[str]
    answers: int


@dataclass
class Spy:
    """What every training stage of a run began with, and how it was validated, in order."""

    begun: list[tuple[str, list[Tensor]]] = field(default_factory=list)
    looks: dict[str, list[Look]] = field(default_factory=dict)


def vectors(model: Any) -> list[Tensor]:
    return [prompt.vectors.detach().clone() for prompt in model.prompts]


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    seen, real, trained = Spy(), looks.evaluate, Trainer.train

    def evaluate(model: Model, task: Task, asking: Asking) -> list[Output]:
        prompt = model.prompt.clone() if isinstance(model.prompt, Tensor) else None
        weight = next(model.pretrained.model.parameters()).detach().clone()
        asked = [str(example.fields["input"]) for example in task.splits["test"]]
        outputs = real(model, task, asking)
        seen.looks[seen.begun[-1][0]].append(Look(task.name, prompt, weight, asking.shots, asked, len(outputs)))
        return outputs

    def begin(trainer: Trainer) -> Progress:
        seen.begun.append((trainer.stage, vectors(trainer.model)))
        seen.looks[trainer.stage] = []
        return trained(trainer)

    monkeypatch.setattr(looks, "evaluate", evaluate)
    monkeypatch.setattr(Trainer, "train", begin)
    return seen


def run(world: Path, out: Path, method: str, targets: Sequence[str] = ("pick",), **fields: int) -> Path:
    given = {key: value for key, value in QUICK.items() if method.startswith("promot") or key.startswith("model.")}
    options: dict[str, Any] = {"shots": (0,), "limit": 2, "out": out, **given, **fields}
    return tune(str(world / "model"), [str(world / name) for name in targets], method, **options).folder


def prompt_of(folder: Path) -> Tensor:
    loaded = load.load(folder)
    assert isinstance(loaded, SoftPrompt)
    return loaded.vectors.detach()


def test_stage_one_is_validated_behind_the_prompt_that_it_trains(world: Path, tmp_path: Path, spy: Spy) -> None:
    """Without it every look would see the base's answers, and the choice of the prompt would be blind."""
    folder = run(world, tmp_path / "run", "promot")
    looks = spy.looks["prompt"]
    seen = [look.prompt for look in looks if look.prompt is not None]
    assert len(seen) == len(looks) == 2
    assert seen[0].shape == (QUICK["prompt.length"], 32)
    assert not torch.equal(seen[0], seen[1])  # as it is after two steps and after four, not as it began
    best = json.loads(next((folder / "stages").glob("prompt-*/result.json")).read_text())["best_step"]
    assert torch.equal(seen[best // 2 - 1], prompt_of(folder / "prompt"))


def test_stage_two_trains_and_is_validated_behind_the_prompt_of_stage_one(
    world: Path, tmp_path: Path, spy: Spy
) -> None:
    folder = run(world, tmp_path / "run", "promot")
    kept = prompt_of(folder / "prompt")
    assert [stage for stage, _ in spy.begun] == ["prompt", "model"]
    assert [torch.equal(prompt, kept) for prompt in spy.begun[1][1]] == [True]
    looks = spy.looks["model"]
    assert [look.prompt is not None and torch.equal(look.prompt, kept) for look in looks] == [True, True]
    assert not torch.equal(looks[0].weight, looks[1].weight)


@pytest.mark.parametrize("method", ["promot", "promot_sequential"])
def test_each_target_is_trained_and_validated_behind_its_own_prompt(
    world: Path, tmp_path: Path, spy: Spy, method: str
) -> None:
    folder = run(world, tmp_path / "run", method, ("pick", "copy"))
    kept = {name: prompt_of(folder / "prompt" / name) for name in ("pick", "copy")}
    assert not torch.equal(kept["pick"], kept["copy"])
    stages = {
        "promot": {"model": ["pick", "copy"]},
        "promot_sequential": {"model-pick": ["pick"], "model-copy": ["copy"]},
    }
    begun = dict(spy.begun)
    for stage, names in stages[method].items():
        assert [torch.equal(prompt, kept[name]) for prompt, name in zip(begun[stage], names, strict=True)] == [
            True for _ in names
        ]
        assert [look.task for look in spy.looks[stage]] == names * 2
        for look in spy.looks[stage]:
            assert look.prompt is not None
            assert torch.equal(look.prompt, kept[look.task])


@pytest.mark.parametrize(("method", "shots"), [("promot", 0), ("promot_one_shot", 1), ("fticl", 2)])
def test_validation_asks_held_out_examples_behind_as_many_demonstrations_as_training(
    world: Path, tmp_path: Path, spy: Spy, method: str, shots: int
) -> None:
    run(world, tmp_path / "run", method)
    lines = (world / "pick" / "validation.jsonl").read_text().splitlines()
    held_out = [json.loads(line)["input"] for line in lines]
    for seen in spy.looks.values():
        assert [(look.shots, look.splits) for look in seen] == [(shots, held_out)] * 2


def test_without_a_prompt_none_is_attached(world: Path, tmp_path: Path, spy: Spy) -> None:
    run(world, tmp_path / "run", "full")
    assert [look.prompt for look in spy.looks["model"]] == [None, None]


def test_validation_asks_no_more_than_its_limit(world: Path, tmp_path: Path, spy: Spy) -> None:
    limit: dict[str, Any] = {"model.validation_limit": 3}
    run(world, tmp_path / "run", "full", **limit)
    assert [look.answers for look in spy.looks["model"]] == [3, 3]


def test_rows_are_cut_to_what_the_prompt_before_them_leaves(world: Path) -> None:
    """Rows that take the prompt's place too would run over the model's positions."""
    pretrained, ref = tiny.pretrained(), TaskRef(str(world / "copy"))
    lengths = []
    for prompts in ((), (3,)):
        stage = Train("model", "", (ref,), max_length=6, demonstrations=1)
        model = PrefixModel(pretrained.model, [SoftPrompt(torch.zeros(length, 32)) for length in prompts])
        rows = stage.sample([ref.task], pretrained, model, 8)
        lengths.append({len(row.tokens) for row in rows})
        assert all(row.cut for row in rows)
    assert lengths == [{6}, {3}]


def test_validation_of_several_targets_is_the_mean_of_shares_whatever_their_metrics(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One target is answered exactly by BLEU (100), the other half right by exact match (0.5): 0.75, and not 50.25."""
    four = "w3 w4 w5 w6"

    def evaluate(model: Model, task: Task, asking: Asking) -> list[Output]:
        answers = (four, four) if task.metric == "bleu" else (four, "w7")
        texts = [("tuned", None, task.name, "target", 0, i, "q", four, answer) for i, answer in enumerate(answers)]
        return [Output(*text, scores={"exact_match": float(text[-1] == four)}) for text in texts]  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(looks, "evaluate", evaluate)
    loaded = tiny.pretrained()
    first, second = (load_task(str(world / name)) for name in ("copy", "other"))
    tasks = [replace(first, metric="bleu"), replace(second, metric="exact_match")]
    asking = looks.Looks("model", loaded, lambda *_: None, limit=100, shots=0, demonstrations="sampled", seed=0)
    validate = asking.score(tasks)
    assert validate is not None
    # 1e-6: BLEU's rounding. A metric in its own unit would be off by 49.5.
    assert validate(PrefixModel(loaded.model)) == pytest.approx(0.75, abs=1e-6)


def test_with_a_loss_per_target_the_loss_is_the_mean_of_each_answers_own_mean(world: Path) -> None:
    """And a long answer counts as much as a short one; by token it would count as often as it has tokens."""
    task = Task("t", {"train": (Example({"input": "w3"}, "w4"), Example({"input": "w5"}, "w6 w7 w8 w9 w10"))})
    losses = {}
    for loss_per in ("token", "target"):
        stage = Train("model", str(world / "model"), methods=(Full(),), loss_per=loss_per)
        loaded = tiny.pretrained()
        model = PrefixModel(loaded.model)
        rows = stage.sample([task], loaded, model, 2)
        with torch.no_grad():
            output = model(rows)
        each = torch.nn.functional.cross_entropy(output.logits, output.labels, reduction="none")
        losses[loss_per] = float((each * output.weights).sum() / sum(sum(row.weights) for row in rows))
        means = [float(each[output.row == number].mean()) for number in (0, 1)]
        counts = [len(row.labels) for row in rows]
    assert losses["target"] == pytest.approx(sum(means) / 2, rel=1e-5)
    assert losses["token"] == pytest.approx((counts[0] * means[0] + counts[1] * means[1]) / sum(counts), rel=1e-5)
    assert abs(losses["target"] - losses["token"]) > 0.01
