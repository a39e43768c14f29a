"""The loop: what moves, what a step averages over, that it learns, and how it stops."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from holdfast.methods.base import Method, ParameterGroup
from holdfast.methods.full import Full
from holdfast.methods.lora import Lora
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.row import Row
from holdfast.training import checkpoint
from holdfast.training.look import Progress
from holdfast.training.loop import Training
from holdfast.training.loss import Divisors, StepLoss
from tests.training import tiny

METHODS = {"full": Full, "lora": lambda: Lora(rank=4), "prompt": lambda: PromptTuning(length=5)}


def kind(name: str) -> str:
    return "prompt" if name.startswith("prompts.") else "lora" if "lora_" in name else "model"


@pytest.mark.parametrize(("name", "moves"), [("full", "model"), ("lora", "lora"), ("prompt", "prompt")])
def test_exactly_the_chosen_parameters_move(tmp_path: Path, name: str, moves: str) -> None:
    run = tiny.trainer(tmp_path, METHODS[name]())
    Training(run)
    before = tiny.weights(run)
    run = tiny.trainer(tmp_path, METHODS[name]())
    run.train()
    changed = {n for n, p in run.model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {n for n in before if kind(n) == moves}


@pytest.mark.parametrize("budget", [8, 20, 37])
def test_a_step_is_the_same_however_it_is_split_into_forwards(tmp_path: Path, budget: int) -> None:
    whole = tiny.trainer(tmp_path / "whole", Full(), batch_size=8)
    whole.train()
    parts = tiny.trainer(tmp_path / "parts", Full(), batch_size=8, token_budget=budget)
    parts.train()
    # Noise of another order of summation: 2e-6 in these losses after 6 AdamW steps. An average over forwards: > 1e-3 (below).
    assert tiny.losses(tmp_path / "whole") == pytest.approx(tiny.losses(tmp_path / "parts"), abs=2e-5)


def test_averaging_over_forwards_instead_of_tokens_would_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted bug: the mean of each forward's own mean."""
    honest = StepLoss.__call__

    def mean_of_means(self: StepLoss, model: Any, rows: list[Row], divisors: Divisors) -> torch.Tensor:
        return honest(self, model, rows, Divisors.of(rows, self.methods)) / 3

    tiny.trainer(tmp_path / "whole", Full(), batch_size=8).train()
    monkeypatch.setattr(StepLoss, "__call__", mean_of_means)
    tiny.trainer(tmp_path / "parts", Full(), batch_size=8, token_budget=20).train()
    difference = max(
        abs(a - b) for a, b in zip(tiny.losses(tmp_path / "whole"), tiny.losses(tmp_path / "parts"), strict=True)
    )
    assert difference > 1e-3


def test_the_same_run_twice_is_bitwise_the_same(tmp_path: Path) -> None:
    runs = [tiny.trainer(tmp_path / str(i), Full(), dropout=0.2) for i in range(2)]
    for run in runs:
        run.train()
    assert tiny.losses(tmp_path / "0") == tiny.losses(tmp_path / "1")
    assert all(
        torch.equal(a, b) for a, b in zip(tiny.weights(runs[0]).values(), tiny.weights(runs[1]).values(), strict=True)
    )


def test_another_seed_is_another_order(tmp_path: Path) -> None:
    tiny.trainer(tmp_path / "0", Full(), seed=0).train()
    tiny.trainer(tmp_path / "1", Full(), seed=1).train()
    assert tiny.losses(tmp_path / "0") != tiny.losses(tmp_path / "1")


@pytest.mark.parametrize("name", METHODS)
def test_eight_examples_are_learned(tmp_path: Path, name: str) -> None:
    """One answer token each: a prompt of 16 vectors has the room to store eight of them in a model of width 32."""
    steps = {"full": 60, "lora": 80, "prompt": 200}[name]
    method: Method = PromptTuning(length=16) if name == "prompt" else METHODS[name]()
    rate = {"full": 1e-2, "lora": 1e-2, "prompt": 0.3}[name]
    model = tiny.pretrained()
    with torch.no_grad():  # a frozen head of this size bounds the logits, and with them the loss: to 0.07 at least
        model.model.lm_head.weight.mul_(3)
    settings = {"steps": steps, "batch_size": 8, "learning_rate": rate, "save_every": 1000, "schedule": "linear"}
    run = tiny.trainer(tmp_path, method, data=tiny.rows(answers=1), model=model, **settings)
    run.train()
    assert tiny.losses(tmp_path)[-1] < 0.05


def test_wrong_labels_are_learned_but_do_not_generalise(tmp_path: Path) -> None:
    """The control of the test above: what is memorised from random labels says nothing about other rows."""
    run = tiny.trainer(tmp_path, Full(), data=tiny.rows(8, answers=1), steps=60, batch_size=8, save_every=1000)
    run.train()
    with torch.no_grad():
        output = run.model(tiny.rows(64, seed=99, answers=1))
    right = (output.logits.argmax(-1) == output.labels).float().mean()
    assert right < 0.2  # chance is 1 / 37; a leak of the label into the input would make it 1


def test_a_rate_of_zero_changes_nothing(tmp_path: Path) -> None:
    run = tiny.trainer(tmp_path, Full(), learning_rate=0.0)
    before = tiny.weights(run)
    run.train()
    assert all(torch.equal(before[name], p) for name, p in tiny.weights(run).items())


def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_the_batch(tmp_path: Path) -> None:
    class Break(Method):
        def penalty(self, model: Any, rows: Any, output: Any) -> torch.Tensor:
            return output.logits.sum() * float("nan")

    run = tiny.trainer(tmp_path, Full(), Break())
    before = tiny.weights(run)
    with pytest.raises(ValueError, match=r"loss of step 1 is nan.*tiny/train\[\d\].*smaller model.learning_rate"):
        run.train()
    assert all(torch.equal(before[name], p) for name, p in tiny.weights(run).items())


def test_the_weights_with_the_best_validation_are_kept(tmp_path: Path) -> None:
    """Validation says 1, 3, 2: the weights of the second look are those that the model ends with."""
    run = tiny.trainer(tmp_path, Full(), steps=6, save_every=2)
    seen: list[dict[str, torch.Tensor]] = []

    def validate(model: torch.nn.Module) -> float:
        seen.append(tiny.weights(run))
        return [1.0, 3.0, 2.0][len(seen) - 1]

    run.validate = validate
    result = run.train()
    assert (result.best, result.best_step) == (3.0, 4)
    assert all(torch.equal(seen[1][name], p) for name, p in tiny.weights(run).items())
    assert any(not torch.equal(seen[2][name], p) for name, p in tiny.weights(run).items())


def test_ctrl_c_leaves_a_run_that_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    class Press(Method):
        step = 0

        def after_step(self, model: Any) -> None:
            self.step += 1
            if self.step == 4:
                signal.raise_signal(signal.SIGINT)

    plain = tiny.trainer(tmp_path / "plain", Full())
    plain.train()
    stopped = tiny.trainer(tmp_path / "stopped", Full(), Press())
    with pytest.raises(KeyboardInterrupt, match="stopped after step 4 of 6; the same command goes on"):
        stopped.train()
    # The last two, of which the older one is there for a damaged newer one.
    assert {p.name for p in (tmp_path / "stopped").glob("checkpoint-*")} == {"checkpoint-3", "checkpoint-4"}
    again = tiny.trainer(tmp_path / "stopped", Full(), Method())
    again.train()
    assert tiny.losses(tmp_path / "stopped") == tiny.losses(tmp_path / "plain")
    assert all(
        torch.equal(a, b) for a, b in zip(tiny.weights(again).values(), tiny.weights(plain).values(), strict=True)
    )


@pytest.mark.parametrize("step", [2, 4, 6], ids=["saved", "between", "last"])
def test_ctrl_c_spares_no_look_at_the_validation(tmp_path: Path, step: int) -> None:
    """The weights of a step that is both saved and interrupted may be the best ones: here each look finds a worse model."""

    class Press(Method):
        taken = 0

        def after_step(self, model: Any) -> None:
            self.taken += 1
            if self.taken == step:
                signal.raise_signal(signal.SIGINT)

    def trained(*methods: Method) -> Progress:
        run = tiny.trainer(tmp_path, Full(), *methods, save_every=3 if step == 4 else 2)
        run.validate = lambda model: -len(tiny.losses(tmp_path))
        return run.train()

    if step < 6:
        with pytest.raises(KeyboardInterrupt):
            trained(Press())
        assert trained(Method()).best_step == (3 if step == 4 else 2)
    else:
        assert trained(Press()).best_step == 2
        assert sum("validation" in line for line in (tmp_path / "log.jsonl").read_text().splitlines()) == 3


def test_rows_that_truncation_left_nothing_of_are_passed_over(tmp_path: Path) -> None:
    """A forward may hold such rows alone: with this budget each row is one of its own."""
    data = [replace(row, weights=(0.0,) * len(row.tokens)) if i % 2 else row for i, row in enumerate(tiny.rows())]
    for folder, budget in (("whole", 4096), ("parts", 1)):
        tiny.trainer(tmp_path / folder, Full(), data=data, batch_size=8, token_budget=budget).train()
    assert tiny.losses(tmp_path / "whole") == pytest.approx(tiny.losses(tmp_path / "parts"), abs=2e-5)


def test_two_methods_that_choose_parameters_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="full, lora both choose which parameters move"):
        tiny.trainer(tmp_path, Full(), Lora()).train()
    with pytest.raises(ValueError, match="chooses no parameters; add one"):
        tiny.trainer(tmp_path / "none", Method()).train()


def test_hooks_run_in_their_order(tmp_path: Path) -> None:
    calls: list[str] = []

    class Spy(Method):
        def prepare(self, context: Any) -> None:
            calls.append("prepare")

        def batch(self, rows: list[Row], context: Any) -> list[Row]:
            calls.append("batch")
            return rows

        def penalty(self, model: Any, rows: Any, output: Any) -> None:
            calls.append("penalty")

        def after_backward(self, model: Any) -> None:
            calls.append("after_backward")
            assert all(p.grad is not None for p in model.model.parameters())

        def after_step(self, model: Any) -> None:
            calls.append("after_step")

    tiny.trainer(tmp_path, Full(), Spy(), steps=1, token_budget=4096).train()  # "auto" calls some to measure
    assert calls == ["prepare", "batch", "penalty", "after_backward", "after_step"]


def test_a_penalty_counts_once_a_step_however_the_step_is_split(tmp_path: Path) -> None:
    class Pull(Method):
        def penalty(self, model: Any, rows: Any, output: Any) -> torch.Tensor:
            return sum((p.square().sum() for p in model.model.parameters()), torch.zeros(()))

    for folder, budget in (("whole", 4096), ("parts", 10)):
        tiny.trainer(
            tmp_path / folder, Full(), Pull(), batch_size=8, steps=3, learning_rate=1e-3, token_budget=budget
        ).train()
    # The penalty is of the order of 100: relative float noise 1e-6 against one whole penalty too many.
    assert tiny.losses(tmp_path / "whole") == pytest.approx(tiny.losses(tmp_path / "parts"), rel=1e-5)


def test_frozen_groups_with_other_scales_get_their_own_rate(tmp_path: Path) -> None:
    class Two(Method):
        def parameters(self, model: Any) -> list[ParameterGroup]:
            first, second, *_ = model.model.parameters()
            return [ParameterGroup([first]), ParameterGroup([second], learning_rate_scale=0.5)]

    run = Training(tiny.trainer(tmp_path, Two(), steps=1, learning_rate=0.01))
    run.run()
    assert [g["lr"] for g in run.optimizer.param_groups] == [0.01, 0.005]


def test_gradient_checkpointing_keeps_the_prompt(tmp_path: Path) -> None:
    """transformers drops a cached prefix under checkpointing; a packed one must give the same losses."""
    for folder, on in (("off", False), ("on", True)):
        tiny.trainer(tmp_path / folder, PromptTuning(length=5), gradient_checkpointing=on, learning_rate=0.3).train()
    assert tiny.losses(tmp_path / "on") == pytest.approx(tiny.losses(tmp_path / "off"), abs=1e-5)
    assert tiny.losses(tmp_path / "on")[0] != tiny.losses(tmp_path / "on")[-1]


def test_bf16_trains_to_nearly_the_losses_of_fp32(tmp_path: Path) -> None:
    """Eight bits of mantissa: 1 % of the logits behind a first loss around 4. A step not taken would leave the last loss 0.07 higher."""
    for precision in ("fp32", "bf16"):
        run = tiny.trainer(tmp_path / precision, Full(), batch_size=8, precision=precision)
        run.train()
        assert all(p.dtype == torch.float32 for p in run.model.parameters())
    full, half = tiny.losses(tmp_path / "fp32"), tiny.losses(tmp_path / "bf16")
    assert half == pytest.approx(full, abs=0.01 * full[0])
    assert half != full
    assert full[-1] < 0.8 * full[0]


def test_the_weights_kept_along_the_way_are_those_that_a_run_of_so_many_steps_ends_with(tmp_path: Path) -> None:
    tiny.trainer(tmp_path / "whole", Full(), steps=4, curve=2).train()
    points = checkpoint.snapshot_steps(tmp_path / "whole")
    assert points == [2, 4]
    for step in points:
        short = tiny.trainer(tmp_path / str(step), Full(), steps=step)
        short.train()
        kept = load_file(checkpoint.snapshot_path(tmp_path / "whole", step))
        assert all(torch.equal(kept[name], p) for name, p in short.model.named_parameters()), step
