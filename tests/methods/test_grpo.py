"""GRPO: its loss and advantages by TRL's own code, the shared question, and what a reward may return."""

import json
import random
import runpy
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.api.tune import tune
from holdfast.methods._policy_losses import EPSILON, advantages, token_losses
from holdfast.methods.base import Method
from holdfast.methods.combinations import check_combination
from holdfast.methods.full import Full
from holdfast.methods.grpo import Grpo
from holdfast.methods.lora import Lora
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.methods.replay import Replay
from holdfast.methods.sdft import Sdft
from holdfast.prefix.packing import pack
from holdfast.row import Row
from holdfast.tasks.task import Example, Template
from holdfast.training.batches import split
from holdfast.training.loop import Trainer, Training
from holdfast.training.loss import Divisors
from tests.recipes.worlds import write_world
from tests.training import tiny

ROOT = Path(__file__).parents[2]


def rewarded(folder: Path, body: str) -> str:
    """A reward of a user's file."""
    path = folder / "rewards.py"
    path.write_text(f"def reward(answer, example):\n    {body}\n")
    return f"{path}:reward"


def run(folder: Path, *methods: Method, model: Any = None, **settings: Any) -> Trainer:
    """A trainer whose rows know their example."""
    trainer = tiny.trainer(folder, *methods, model=model, **settings)
    single: Any = trainer.stream.row  # pyright: ignore[reportAttributeAccessIssue]

    def row(index: int, epoch: int) -> Row:
        plain = single(index, epoch)
        return replace(plain, example=Example({"input": ""}, "w7", template=Template(stop=())))

    trainer.stream = replace(trainer.stream, row=row)  # pyright: ignore[reportArgumentType]
    return trainer


def drawn(training: Training, method: Grpo) -> list[Row]:
    """The rows of the first step, by a model that has left its start."""
    with torch.no_grad():
        for parameter in training.model.model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return method.batch(training.trainer.stream.batch(0), training.contexts[1])


def log_p(model: Any, row: Row) -> Tensor:
    """Log-probabilities of a row's labels, by transformers alone."""
    logits = model(torch.tensor([row.tokens])).logits[0]
    labels = torch.tensor(row.labels)
    return F.log_softmax(logits[labels - 1], -1)[range(len(labels)), torch.tensor(row.tokens)[labels]]


def padded(parts: list[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
def test_loss_and_gradient_of_a_step_are_those_of_trls_code(loss_type: Any, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl.trainer.grpo_trainer", reason="trl is not installed")
    method = Grpo(
        samples=4, max_new_tokens=6, beta=0.1, loss_type=loss_type, reward=rewarded(tmp_path, "return len(answer) % 3")
    )
    trainer = Training(run(tmp_path / "run", Full(), method, steps=1))
    rows = drawn(trainer, method)
    loss = trainer.forwards.run(rows, Divisors.of(rows, trainer.methods))
    ours = {name: p.grad.clone() for name, p in trainer.model.model.named_parameters() if p.grad is not None}
    trainer.model.zero_grad()

    model, start = trainer.model.model, tiny.pretrained().model
    each = [log_p(model, row) for row in rows]
    with torch.no_grad():
        before = [log_p(start, row) for row in rows]
    mask = padded([torch.ones(len(part)) for part in each])
    gained = torch.tensor([row.factors[0] for row in rows])
    quiet = SimpleNamespace(gather=lambda x: x, reduce=lambda x, reduction: x, num_processes=1)
    theirs = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (padded(each), torch.zeros_like(mask), None),
        model=SimpleNamespace(training=True),
        args=SimpleNamespace(delta=None, steps_per_generation=1, use_bias_correction_kl=False),
        accelerator=quiet,
        _metrics={"train": defaultdict(list)},
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level="token",
        beta=0.1,
        epsilon_low=0.2,
        epsilon_high=0.2,
        loss_type=loss_type,
        use_vllm=False,
        aux_loss_enabled=False,
        _entropy_bonus_enabled=False,
        current_gradient_accumulation_steps=1,
        max_completion_length=6,
    )
    inputs = {
        "prompt_ids": torch.zeros(len(rows), 1, dtype=torch.long),
        "prompt_mask": torch.ones(len(rows), 1),
        "completion_ids": mask.long(),
        "completion_mask": mask,
        "advantages": gained,
        "ref_per_token_logps": padded(before),
        "num_items_in_batch": mask.sum(),
    }
    expected = trl.GRPOTrainer._compute_loss(theirs, None, inputs)
    expected.backward()
    # Noise of float32 in another order. Another mean of tokens is off by several per cent, the other KL by more.
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-4, abs=1e-6)
    for name, parameter in trainer.model.model.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_advantages_are_trls(scale: str) -> None:
    trl = pytest.importorskip("trl.trainer.utils", reason="trl is not installed")
    rewards = torch.tensor([[1.0, 0.0, 0.0, 2.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    gained = advantages(rewards, scale)
    # As its trainer's text has it (`sum_then_normalize`); the standard deviation is its own function.
    deviation = {"group": trl.nanstd(rewards, dim=1, keepdim=True), "batch": trl.nanstd(rewards), "none": 1.0 - EPSILON}
    expected = (rewards - rewards.mean(1, keepdim=True)) / (deviation[scale] + 1e-4)
    torch.testing.assert_close(gained, expected, atol=1e-6, rtol=1e-6)
    assert gained.mean(-1).abs().max() < 1e-6
    assert not gained[1].any()


def test_at_the_start_the_loss_is_minus_the_mean_advantage_and_its_gradient_the_policys() -> None:
    log_probability = torch.tensor([-1.0, -2.0], requires_grad=True)
    losses = token_losses(log_probability, torch.tensor([2.0, -1.0]), log_probability.detach(), beta=0.5)
    losses.sum().backward()
    assert losses.tolist() == [-2.0, 1.0]
    assert log_probability.grad is not None
    assert log_probability.grad.tolist() == [-2.0, 1.0]


def test_answers_of_one_question_share_it_in_one_packed_row(tmp_path: Path) -> None:
    method = Grpo(samples=4, max_new_tokens=5)
    rows = drawn(Training(run(tmp_path, Full(), method, batch_size=2)), method)
    for number in (0, 1):
        group = [row for row in rows if row.group == number]
        asked = group[0].labels[0]
        assert len({row.tokens[:asked] for row in group}) == 1
        answers = [row.tokens[asked : row.labels[-1]] for row in group]
        # The question once; answers that begin alike share that too, so that there are no more tokens than all of them.
        assert pack(group, []).tokens.numel() <= asked + sum(map(len, answers))
        # However small the budget, a group stays in one forward.
        assert {row.group for row in split(group, 4)[0]} == {number}
        assert len(split(group, 4)) == 1


def test_a_rewarded_word_is_written_more_often(tmp_path: Path) -> None:
    reward = rewarded(tmp_path, "return answer.split().count('w7')")
    method = Grpo(samples=8, max_new_tokens=6, beta=0.0, reward=reward)
    run(tmp_path / "run", Full(), method, steps=30, batch_size=4, learning_rate=3e-3).train()
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    rewards = [line["reward"] for line in log if "reward" in line]
    # By chance 6 / 40 = 0.15 of a word an answer; the sign the other way round would end at 0.
    assert sum(rewards[:3]) / 3 < 0.6
    assert sum(rewards[-3:]) / 3 > 2.0
    assert all("kl_to_start" not in line for line in log)


def test_equal_rewards_teach_nothing_but_to_stay(tmp_path: Path) -> None:
    method = Grpo(samples=4, max_new_tokens=4, reward=rewarded(tmp_path, "return 1.0"))
    trainer = Training(run(tmp_path / "run", Full(), method, steps=1))
    rows = method.batch(trainer.trainer.stream.batch(0), trainer.contexts[1])
    trainer.forwards.run(rows, Divisors.of(rows, trainer.methods))
    # At the start the KL has no slope: rounding of float32 alone, where an advantage that is not 0 gives 0.01 and more.
    assert max(float(p.grad.abs().max()) for p in trainer.model.model.parameters() if p.grad is not None) < 1e-5
    assert method.figures()["reward_without_spread"] == 1.0
    assert method.figures()["kl_to_start"] == pytest.approx(0.0, abs=1e-6)


def test_answers_that_were_cut_are_counted_and_said_where_nothing_is_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method = Grpo(samples=4, max_new_tokens=4, reward=rewarded(tmp_path, "return -2"))
    training = Training(run(tmp_path / "run", Full(), method, steps=1))
    rows, context = training.trainer.stream.batch(0), training.contexts[1]
    for _ in range(10):
        method.batch(rows, context)
    # A model of random weights writes its end of text at one word in 40: about 1 of 10 answers ends within 4.
    assert 0.6 < method.figures()["answers_cut"] <= 1.0
    cut = round(4 * len(rows) * method.figures()["answers_cut"])
    assert f"({cut} of the last {4 * len(rows)} were cut at max_new_tokens=4)" in capsys.readouterr().err
    # Every word has a `w`, at which an answer now ends by itself.
    ended = [replace(row, example=Example({"input": ""}, "w7", template=Template(stop=("w",)))) for row in rows]
    method.batch(ended, context)
    assert method.figures()["answers_cut"] == 0.0


@pytest.mark.slow
@pytest.mark.real
def test_the_reward_of_tool_calls_raises_the_right_calls_of_a_model_that_half_knows_them(tmp_path: Path) -> None:
    """On stories260k, from files to the score. 50 points of 60 items became 67; rounding of another machine moves a
    few items, and an advantage of the wrong sign, calls that are cut or a reward that does not read them leave or lower the 50."""
    stories = ROOT.parent / "shared" / "models" / "stories260k"
    if not (stories / "config.json").is_file():
        pytest.skip("the model stories260k is not there")
    world = runpy.run_path(str(ROOT / "docs" / "studies" / "papers" / "tool_world.py"))
    lines = [*world["conversations"](random.Random(1), failing=0.0)]
    names = "{% for tool in tools %}{{ tool.function.name }} {% endfor %}\n"
    task = tmp_path / "calls"
    world["write"](
        task, {"metric": "tool_call", "input": names + world["PLAIN"]}, {"test": lines[:60], "train": lines[60:260]}
    )
    settings: dict[str, Any] = {"model.batch_size": 8, "model.validation_limit": 0}
    start = tune(
        stories, task, "full", general="none", shots=[0], out=tmp_path / "start",
        **settings, **{"model.steps": 70, "model.learning_rate": 2e-3},
    )  # fmt: skip
    reward: dict[str, Any] = {"model.reward": "tool_call", "model.max_new_tokens": 100}
    tuned = tune(
        start.folder / "model", task, "full+grpo", general="none", shots=[0], out=tmp_path / "tuned",
        **settings, **reward, **{"model.steps": 30, "model.learning_rate": 1e-4},
    )  # fmt: skip
    values = {score.variant: score.value for score in tuned.scores if score.metric == "tool_call"}
    assert values["tuned"] > values["base"] + 0.1


@pytest.mark.parametrize("chooser", [Full(), Lora(rank=2), PromptTuning(length=3)], ids=["full", "lora", "prompt"])
def test_a_resumed_run_ends_with_the_same_weights(chooser: Method, tmp_path: Path) -> None:
    method = Grpo(samples=2, max_new_tokens=4, reward=rewarded(tmp_path, "return len(answer)"))
    assert tiny.resumes(lambda folder, **settings: run(folder, chooser, method, **settings), tmp_path)


def test_a_reward_that_fails_is_one_line(tmp_path: Path) -> None:
    world = write_world(tmp_path / "world", copy=None)
    settings: dict[str, Any] = {"model.steps": 1, "model.batch_size": 2, "model.max_new_tokens": 2, "model.samples": 2}
    for body, message in (
        ("return 1 / 0", r"reward=.*rewards.py:reward: raised ZeroDivisionError: division by zero, of the answer"),
        ("return float('nan')", r"reward=.*: returned nan of the answer .*; return a finite number"),
        ("return None", r"reward=.*: returned None of the answer"),
    ):
        settings["model.reward"] = rewarded(tmp_path, body)
        with pytest.raises(ValueError, match=message):
            tune(
                world / "model", world / "copy", "full+grpo", limit=2, out=tmp_path / "run", overwrite=True, **settings
            )
    settings["model.reward"] = "nosuch.py:reward"
    with pytest.raises(ValueError, match=r"reward=nosuch.py:reward: there is no file nosuch.py"):
        tune(world / "model", world / "copy", "full+grpo", out=tmp_path / "other", **settings)
    with pytest.raises(ValueError, match=r"exakt.*exact"):
        Grpo(reward="exakt")


def test_a_run_rewards_the_tasks_own_answers(tmp_path: Path) -> None:
    """From a task's folder to the log: the reward sees the example, and its answer without what follows the stop string."""
    seen = tmp_path / "seen.txt"
    body = f"with open({str(seen)!r}, 'a') as file: file.write(f'{{answer!r}} {{example.target}}\\n')\n    return len(answer)"
    world = write_world(tmp_path / "world", copy=None, pick=["w3", "w4"])
    settings: dict[str, Any] = {"model.steps": 2, "model.batch_size": 2, "model.samples": 2, "model.max_new_tokens": 3}
    settings["model.reward"] = rewarded(tmp_path, body)
    tune(
        world / "model",
        world / "pick",
        "full+grpo",
        general=[str(world / "copy")],
        limit=4,
        out=tmp_path / "run",
        **settings,
    )
    lines = seen.read_text().splitlines()
    assert {line.split()[-1] for line in lines} <= {"w3", "w4"}
    log = (tmp_path / "run/log.jsonl").read_text()
    steps = [json.loads(line) for line in log.splitlines() if "reward" in line]
    assert [line["step"] for line in steps] == [1, 2]
    assert steps[0]["answer_tokens"] >= 1


@pytest.mark.parametrize("other", [Sdft(), Replay()], ids=lambda m: type(m).__name__)
def test_beside_what_makes_no_sense_it_is_refused(other: Method) -> None:
    with pytest.raises(ValueError, match=r"each replace the loss|makes no sense beside"):
        check_combination([Full(), Grpo(), other])
