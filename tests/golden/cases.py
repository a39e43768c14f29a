"""The runs whose numbers are recorded."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.api.tune import tune
from holdfast.studies import runner

# Rates at which 20 steps move the loss by far more than any rounding: without the optimizer's step nothing would.
TINY: dict[str, Any] = {
    "steps": 20,
    "batch_size": 4,
    "save_every": 5,
    "token_budget": 60,  # fixed, because `auto` looks at the machine's memory; small, so that a step is split
}
PROMPT: dict[str, Any] = {"length": 3, "learning_rate": 0.3}
MODEL: dict[str, Any] = {"learning_rate": 1e-2, "weight_decay": 0.1, "clip": 0.5}


@dataclass(frozen=True)
class Case:
    """One recorded run of `tune`; with `arms`, a study over two seeds instead. `slow` ones are left to the slow tier."""

    name: str
    method: str
    model: str = "model"
    targets: tuple[str, ...] = ("pick",)
    general: tuple[str, ...] = ("choose", "copy")
    prompt: dict[str, Any] = field(default_factory=dict)
    tuned: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    arms: tuple[str, ...] = ()
    slow: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """The folders of the world that it reads."""
        return tuple(name for name in (self.model, *self.targets, *self.general) if not name.startswith("lab"))

    def run(self, out: Path) -> Path:
        """Run it below the current folder, which is the world; returns the folder of the run or study."""
        fields: dict[str, Any] = {f"model.{key}": value for key, value in (TINY | MODEL | self.tuned).items()}
        if "promot" in (*self.arms, self.method) or self.method.startswith("promot"):
            fields |= {f"prompt.{key}": value for key, value in (TINY | PROMPT | self.prompt).items()}
        options: dict[str, Any] = {"shots": (0, 1), "limit": 8, "curve": 2} | self.options
        if self.arms:
            given: dict[str, Any] = {"seeds": 2, "set": fields} | options
            runner.study(self.model, self.arms, list(self.targets), list(self.general), out=out, **given)
        else:
            tune(self.model, list(self.targets), self.method, list(self.general), out=out, **options, **fields)
        return out


BOTH = ("pick", "copy")
SEQUENCE: dict[str, Any] = {"general": ("choose",), "options": {"shots": (0,)}}
ON_LAB: dict[str, Any] = {
    "model": "lab",
    "targets": ("lab:elicit-sentiment",),
    "general": ("lab:kind", "lab:count"),
    "prompt": {"length": 8, "batch_size": 8, "token_budget": 400},
    "tuned": {"learning_rate": 3e-3, "batch_size": 8, "token_budget": 400},
    "slow": True,
}
LAB_BOTH: dict[str, Any] = ON_LAB | {"targets": ("lab:elicit-sentiment", "lab:elicit-translate")}
LOOKED_AT: dict[str, Any] = ON_LAB | {"options": {"noise_floor": True, "analyses": ["gradient_alignment"]}}
ON_STORIES: dict[str, Any] = {"model": "stories", "targets": ("trec",), "general": ("copa",), "slow": True} | {
    "prompt": {"token_budget": 600},
    "tuned": {"learning_rate": 3e-3, "token_budget": 600},
}

CASES = (
    Case("promot", "promot", options={"noise_floor": True, "analyses": ["weight_drift", "format_share"]}),
    Case("full", "full"),
    Case("promot_lora", "promot_lora"),
    Case("fticl", "fticl", tuned={"token_budget": 200}),
    Case("two-targets", "promot", targets=BOTH, **SEQUENCE),
    Case("sequential", "promot_sequential", targets=BOTH, **SEQUENCE),
    Case("encoder-decoder", "promot", model="t5", options={"shots": (0,)}),
    Case("study", "", arms=("full", "promot"), options={"shots": (0,), "analyses": ["weight_drift"]}),
    Case("lab-promot", "promot", **LOOKED_AT),
    Case("lab-full", "full", **ON_LAB),
    Case("lab-promot_lora", "promot_lora", **ON_LAB),
    Case("lab-fticl", "fticl", **ON_LAB),
    Case("lab-two-targets", "promot", **LAB_BOTH),
    Case("lab-sequential", "promot_sequential", **LAB_BOTH),
    Case("lab-study", "", arms=("full", "promot"), **ON_LAB),
    Case("stories-promot", "promot", **ON_STORIES),
    Case("stories-full", "full", **ON_STORIES),
)
