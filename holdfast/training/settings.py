"""Settings of a training stage: everything that is not data, model or method."""

import math
from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from transformers.optimization import Adafactor

from holdfast.methods.base import ParameterGroup


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TrainSettings:
    """Settings of the loop.

    `batch_size` is rows a step over all processes; `token_budget` the tokens that pass the model at once (a step is split
    into as many forwards as it takes: gradient accumulation), by default as many as fit the memory that is free.
    `gradient_checkpointing` computes each layer a second time in the backward pass instead of keeping it.
    `warmup` is a share of the steps. `optimizer` is `adamw`,
    `adafactor` (learning rate relative to each parameter's size, as T5 is tuned) or `adafactor_unscaled` (without that, as
    T5's prompts are tuned); Adafactor with decay 0.8 and updates clipped at 1, Shazeer & Stern 2018. `dropout` None leaves
    the model's own setting. Every `save_every` steps a checkpoint is written, and the validation metric decides which
    weights are kept; with `stop_at`, training ends as soon as that metric reaches this value. With `keep_floor`, each look also asks
    general tasks without the prompt, and only weights that keep this share of the untrained model's mean may be kept; training ends after
    three looks below it in a row. `curve` keeps the weights of that many
    steps, each half of the next (the last, half of it, ...), so that the run can be measured along the way.
    `trackers` is a name that Accelerate knows, such as tensorboard or wandb.
    """

    KIND: ClassVar[str] = "Settings"
    HASH_LATER: ClassVar[dict[str, object]] = {"keep_floor": None, "keep_checkpoints": 2}

    steps: int = Field(default=200, ge=0, description="optimizer steps")
    batch_size: int = Field(
        default=16, ge=1, description="rows of a step, over all processes", json_schema_extra={"usual": [1, 2048]}
    )
    learning_rate: float = Field(
        default=1e-4,
        ge=0,
        allow_inf_nan=False,
        description="step size of the optimizer",
        # A factor of each method's own default: what is small for a prompt ruins the weights of a model.
        json_schema_extra={"usual_span": 100},
    )
    optimizer: Literal["adamw", "adafactor", "adafactor_unscaled"] = Field(
        default="adamw", description="adafactor is relative to each parameter's size; unscaled is not"
    )
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="course of the rate after the warm-up"
    )
    warmup: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="share of the steps in which the rate rises",
        json_schema_extra={"usual": [0, 0.5]},
    )
    weight_decay: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="decay of matrices a step, times the rate",
        json_schema_extra={"usual": [0, 1]},
    )
    clip: float = Field(
        default=1.0, gt=0, description="largest norm of the gradient", json_schema_extra={"usual": [0.01, 1000]}
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the probability that is spread over all tokens",
        json_schema_extra={"usual": [0, 0.3]},
    )
    dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="rate of every dropout; None: the model's own",
        json_schema_extra={"usual": [0, 0.5]},
    )
    keep_checkpoints: int = Field(
        default=2, ge=1, description="checkpoints on the disk while training: of a damaged one, the one before is taken"
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="precision of the forward; weights stay fp32"
    )
    token_budget: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto", description="tokens that pass the model at once; auto: as many as memory allows"
    )
    gradient_checkpointing: bool = Field(default=False, description="compute layers twice and keep less")
    save_every: int = Field(default=50, ge=1, description="steps between checkpoints, which validation chooses among")
    stop_at: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="end once the validation metric reaches this value, in its own unit (accuracies 0 to 1, BLEU 0 to 100)",
    )
    keep_floor: float | None = Field(
        default=None, ge=0, le=1, description="share of general tasks to keep: the best target score above it"
    )
    curve: int = Field(default=0, ge=0, description="points along training whose weights are kept and measured")
    seed: int = Field(default=0, description="seed of data order and initial values")
    trackers: str = Field(default="", description="a tracker that Accelerate knows, such as tensorboard")

    @property
    def points(self) -> list[int]:
        """Return the steps whose weights `curve` keeps, ascending."""
        # Each half of the next: denser early, where a model changes fastest.
        return sorted({math.ceil(self.steps / 2**halvings) for halvings in range(self.curve)} - {0})

    def rate(self, step: int) -> float:
        """Return the share of the learning rate that step `step` (from 0) uses, in [0, 1]."""
        warm = math.ceil(self.warmup * self.steps)
        if step < warm:
            return (step + 1) / warm  # From 1 / warm: a first step at rate 0 would be wasted.
        done = (step - warm) / max(1, self.steps - warm)
        shapes = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}
        return shapes[self.schedule]

    def make_optimizer(self, groups: Iterable[ParameterGroup]) -> torch.optim.Optimizer:
        """Return the optimizer over the parameters that a method chose; each group remembers its learning-rate scale."""
        options = [
            {
                "params": list(group.parameters),
                "lr": self.learning_rate * group.learning_rate_scale,
                "scale": group.learning_rate_scale,
                "weight_decay": self.weight_decay if group.weight_decay else 0.0,
            }
            for group in groups
            if group.parameters  # A model without norms and biases yields an empty group, which would only be carried along.
        ]
        if self.optimizer == "adamw":
            return torch.optim.AdamW(options, betas=(0.9, 0.999), eps=1e-8, fused=True)
        scaled = self.optimizer == "adafactor"
        return Adafactor(options, scale_parameter=scaled, relative_step=False, warmup_init=False)

    def set_rate(self, optimizer: torch.optim.Optimizer, step: int) -> float:
        """Set every group's learning rate for a step; return the unscaled one."""
        rate = self.learning_rate * self.rate(step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        return rate
