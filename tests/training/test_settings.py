"""Schedules and optimizers do what their names say, by numbers that can be worked out in the head."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from holdfast.methods.base import ParameterGroup
from holdfast.training.settings import TrainSettings


def test_warmup_rises_in_equal_steps_and_the_schedule_falls_from_there() -> None:
    linear = TrainSettings(steps=10, warmup=0.2, schedule="linear")
    assert [linear.rate(step) for step in (0, 1, 2, 6)] == pytest.approx([0.5, 1.0, 1.0, 0.5])
    cosine = TrainSettings(steps=10, warmup=0.0, schedule="cosine")
    assert [cosine.rate(step) for step in (0, 5)] == pytest.approx([1.0, 0.5])
    assert {TrainSettings(steps=10, warmup=0.0).rate(step) for step in range(10)} == {1.0}


def moved(optimizer: str, size: float, gradient: float = 1.0) -> float:
    """How far one step at learning rate 0.1 moves a 2 x 2 matrix of equal entries with equal gradients."""
    parameter = nn.Parameter(torch.full((2, 2), size))
    made = TrainSettings(learning_rate=0.1, optimizer=optimizer).make_optimizer([ParameterGroup([parameter])])  # pyright: ignore[reportArgumentType]
    parameter.grad = torch.full((2, 2), gradient)
    made.step()
    return size - float(parameter.detach()[0, 0])


def test_adafactor_steps_in_units_of_the_parameter_only_when_it_is_scaled() -> None:
    """Equal gradients make an update of size 1 after normalisation: scaled by lr x RMS(parameter), or by lr alone (T5X, both settings)."""
    assert moved("adafactor", 5.0) == pytest.approx(0.5, rel=1e-4)
    assert moved("adafactor", 0.5) == pytest.approx(0.05, rel=1e-4)
    assert moved("adafactor_unscaled", 5.0) == pytest.approx(0.1, rel=1e-4)
    assert moved("adafactor_unscaled", 0.5, gradient=100.0) == pytest.approx(0.1, rel=1e-4)


def test_adamw_moves_by_the_rate_whatever_the_sizes() -> None:
    assert moved("adamw", 5.0, gradient=30.0) == pytest.approx(0.1, rel=1e-4)


def test_decay_spares_the_groups_that_ask_for_it() -> None:
    groups = [
        ParameterGroup([nn.Parameter(torch.ones(2))], weight_decay=False),
        ParameterGroup([nn.Parameter(torch.ones(2))]),
    ]
    made = TrainSettings(weight_decay=0.1).make_optimizer(groups)
    assert [group["weight_decay"] for group in made.param_groups] == [0.0, 0.1]


@pytest.mark.parametrize(
    "wrong", [{"steps": -1}, {"optimizer": "sgd"}, {"clip": 0}, {"label_smoothing": 1.0}, {"batch_size": 0}]
)
def test_values_that_cannot_be_meant_are_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        TrainSettings(**wrong)
