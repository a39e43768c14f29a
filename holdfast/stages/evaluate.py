"""An evaluation stage: one model, with its prompt attached or removed, on many tasks at several shots."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from accelerate import PartialState
from rich.console import Console
from rich.progress import Progress

from holdfast.evaluation.matrix import Role
from holdfast.evaluation.model import Model
from holdfast.prefix.attached import detached
from holdfast.scores import Output, write_jsonl
from holdfast.stages import pretrained as source
from holdfast.stages.asking import ask
from holdfast.stages.base import Stage
from holdfast.stages.sources import load_task
from holdfast.stages.train import Train


@dataclass(frozen=True)
class Evaluate(Stage):
    """Ask one variant every task at every number of shots and keep each answer in `outputs.jsonl`.

    `base` is the untuned model; `tuned` the stage whose `model/` (or whose unchanged base) is measured; `trained_prompt` the stage whose
    `prompt/` is attached when `prompt` is "on".
    """

    model: str = ""
    variant: Literal["base", "tuned"] = "base"
    prompt: Literal["on", "off"] | None = None
    tuned: Train | None = None
    trained_prompt: Train | None = None
    targets: tuple[str, ...] = ()
    general: tuple[str, ...] = ()
    shots: tuple[int, ...] = (0,)
    limit: int | None = None
    seed: int = 0
    versions: tuple[str, ...] = ()
    trust_remote_code: bool = False

    def run(self, folder: Path, inputs: dict[str, Path]) -> None:
        """Write `outputs.jsonl`."""
        if not PartialState().is_main_process:
            return
        model = self.load(inputs)
        roles: dict[Role, tuple[str, ...]] = {"target": self.targets, "general": self.general}
        asked: list[tuple[str, Role]] = [(name, role) for role, names in roles.items() for name in names]
        outputs: list[Output] = []
        label = f"{self.variant}" + (f", prompt {self.prompt}" if self.prompt else "")
        with Progress(console=Console(stderr=True), transient=True) as bar:
            line = bar.add_task("", total=len(asked) * len(self.shots))
            for argument, role in asked:
                task = load_task(argument)
                for shots in self.shots:
                    bar.update(line, description=f"{label}: {task.name}, {shots} shots")
                    outputs += ask(
                        model,
                        task,
                        role=role,
                        shots=shots,
                        limit=self.limit,
                        seed=self.seed,
                        variant=self.variant,
                        prompt=self.prompt,
                        generate_choices=role == "general",
                    )
                    bar.advance(line)
        write_jsonl(folder / "outputs.jsonl", outputs)

    def load(self, inputs: dict[str, Path]) -> Model:
        """The model that this stage measures."""
        tuned = inputs.get("tuned")
        weights = tuned if tuned is not None and (tuned / "model").is_dir() else None
        pretrained = source.load(self.model, weights, trust_remote_code=self.trust_remote_code)
        prompt = None
        if self.prompt == "on":
            prompt = detached(source.load_prompt(inputs["trained_prompt"] / "prompt", pretrained)())
        return Model(pretrained, prompt)
