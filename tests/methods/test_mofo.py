"""MoFO: the entries with the largest momentum move and no others; the momentum is the optimizer's own."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.methods.base import Method
from holdfast.methods.full import Full
from holdfast.methods.lora import Lora
from holdfast.methods.mofo import Mofo, largest
from holdfast.training.loop import Training
from tests.training import tiny


@given(
    st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=40),
    st.floats(0.01, 1.0),
)
@settings(max_examples=60, deadline=None)
def test_the_largest_share_is_chosen_and_what_is_zero_never(values: list[float], share: float) -> None:
    moment = torch.tensor(values)
    chosen = largest(moment, share)
    keep = max(1, round(share * len(values)))
    assert not bool((chosen & (moment == 0)).any())
    assert int(chosen.sum()) >= min(keep, int((moment != 0).sum()))
    if bool(chosen.any()) and not bool(chosen.all()):
        rest = moment.abs()[~chosen]
        assert float(moment.abs()[chosen].min()) > float(rest.max()) or float(rest.max()) == 0


class Watch(Method):
    """Counts what each step changed, and keeps AdamW's own first moment beside MoFO's."""

    def __init__(self) -> None:
        self.moved: list[float] = []
        self.before: dict[str, torch.Tensor] = {}

    def after_backward(self, model: torch.nn.Module) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.before = {name: weight.detach().clone() for name, weight in model.named_parameters()}

    def after_step(self, model: torch.nn.Module) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                self.moved.append(float((weight != self.before[name]).double().mean()))


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_no_more_than_the_share_moves_in_a_step_in_spite_of_weight_decay(share: float, tmp_path: Path) -> None:
    watch = Watch()
    run = tiny.trainer(tmp_path, Full(), Mofo(share=share), watch, weight_decay=0.5)
    start = tiny.weights(run)
    run.train()
    # One entry more or less where the share is no whole number of entries; with decay on all, the share would be 1.
    assert max(watch.moved) <= share + 1 / 32**2
    assert all(not torch.equal(weight, start[name]) for name, weight in tiny.weights(run).items() if weight.ndim == 1)


def test_its_momentum_is_that_of_the_optimizer(tmp_path: Path) -> None:
    mofo = Mofo()
    run = Training(tiny.trainer(tmp_path, Full(), mofo, clip=0.05))  # small, so that every step is clipped
    run.run()
    for name, parameter in run.model.named_parameters():
        if parameter.ndim > 1:
            # Rounding of float32; without the clipping of each step it is several times as large.
            torch.testing.assert_close(
                mofo.state_dict()["moments"][name], run.optimizer.state[parameter]["exp_avg"], rtol=1e-4, atol=1e-9
            )


def test_a_share_of_one_is_the_plain_run_bit_by_bit(tmp_path: Path) -> None:
    assert tiny.alike(tmp_path, [Full()], [Full(), Mofo(share=1.0)], weight_decay=0.5)


@pytest.mark.parametrize("chooser", [Full(), Lora(rank=2)], ids=["full", "lora"])
def test_a_resumed_run_ends_with_the_same_weights(chooser: Method, tmp_path: Path) -> None:
    assert tiny.resumes(lambda folder, **settings: tiny.trainer(folder, chooser, Mofo(), **settings), tmp_path)
