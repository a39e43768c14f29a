"""What a run measures, and with how few evaluations: the base, the weights it keeps, and the points along the way."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from accelerate import PartialState

from holdfast.atomic_files import write_text
from holdfast.methods.base import chooser
from holdfast.results.run_folder import RunFolder
from holdfast.results.scores import Output, read_outputs
from holdfast.stages import analyse
from holdfast.stages.analyse import Analyse
from holdfast.stages.evaluate import Evaluate, LabelMass
from holdfast.stages.stage import Stage, execute
from holdfast.stages.train import Train
from holdfast.training import checkpoint


@dataclass(frozen=True)
class Asked:
    """What is asked of every variant. `targets` maps each target task to its name in folders; `diagnostics` are tasks in disguise and
    probes; `versions` are the fingerprints of the model, the targets, the general tasks and the diagnostics.

    Which items `limit` draws does not depend on the run's seed: runs that differ by their seed are asked the same, and share the base.
    """

    model: str
    targets: Mapping[str, str]
    general: tuple[str, ...]
    diagnostics: tuple[str, ...]
    shots: tuple[int, ...]
    limit: int | None
    versions: tuple[str, ...]
    trust_remote_code: bool = False
    date: str | None = None

    def both(self) -> dict[str, Any]:
        """Everything."""
        others = {"general": self.general, "diagnostics": self.diagnostics, "versions": self.versions}
        return self._fields(self.shots, targets=tuple(self.targets), toward=next(iter(self.targets)), **others)

    def of(self, targets: Sequence[str], shots: tuple[int, ...]) -> dict[str, Any]:
        """These targets alone."""
        versions = (self.versions[1 + list(self.targets).index(target)] for target in targets)
        return self._fields(shots, targets=tuple(targets), versions=(self.versions[0], *versions))

    def of_general(self) -> dict[str, Any]:
        """The general tasks alone."""
        after = 1 + len(self.targets)
        versions = (self.versions[0], *self.versions[after : after + len(self.general)])
        return self._fields(self.shots, general=self.general, versions=versions)

    def of_others(self) -> dict[str, Any]:
        """All but the targets: the general tasks and the diagnostics."""
        versions = (self.versions[0], *self.versions[1 + len(self.targets) :])
        return self._fields(self.shots, general=self.general, diagnostics=self.diagnostics, versions=versions)

    def _fields(self, shots: tuple[int, ...], **fields: Any) -> dict[str, Any]:
        shared: dict[str, Any] = {"model": self.model, "limit": self.limit, "trust_remote_code": self.trust_remote_code}
        shared |= {"date": self.date}
        return {**shared, "shots": shots, **fields}


def prompts_of(stages: Sequence[Stage], trained: Sequence[Path]) -> dict[str, int]:
    """The place of the stage that trained each target's prompt, where there is one."""
    return {
        task: place
        for place, (stage, folder) in enumerate(zip(stages, trained, strict=True))
        if isinstance(stage, Train) and RunFolder(folder).prompt.is_dir()
        for task in stage.tasks
    }


def measure(
    stages: Sequence[Stage],
    trained: Sequence[Path],
    prompts: Mapping[str, int],
    root: Path,
    asked: Asked,
    *,
    twice: bool = False,
) -> list[Output]:
    """Every answer that the scores of a run are made of; each evaluation is a stage in `root` and skipped if it is there.

    `trained` are the folders of `stages`, which are finished; `prompts` the places of those that trained each target's prompt. Of
    several prompts each is measured on its own targets only: the general tasks belong to none of them. With `twice` the base is measured a
    second time.
    """
    last, folder = stages[-1], trained[-1]
    assert isinstance(last, Train)
    base = _base(root, asked)
    second = _base(root, asked, again=True) if twice else []
    owners = _owners(stages, prompts)
    found = _after_own_stages(stages, prompts, root, asked)
    if not owners:
        found += _run(root, Evaluate("evaluate-tuned-plain", variant="tuned", tuned=last, **asked.both()))
        return base + second + found + _along(last, folder, root, asked, owners)
    for stage, own in owners:
        tuned: dict[str, Any] = {"variant": "tuned", "prompt": "on", "tuned": last, "trained_prompt": stage}
        if len(owners) == 1:
            found += _run(root, Evaluate("evaluate-tuned-on", **tuned, **asked.both()))
        else:
            name = f"evaluate-tuned-on-{asked.targets[own[0]]}"
            found += _run(root, Evaluate(name, **tuned, **asked.of(own, asked.shots)))
    if {"model", "adapter"} & set(RunFolder(folder).pieces):
        found += _run(root, Evaluate("evaluate-tuned-off", variant="tuned", prompt="off", tuned=last, **asked.both()))
    else:  # only a prompt was trained: without it, this is the base
        found += [replace(output, variant="tuned", prompt="off") for output in base]
    return base + second + found + _along(last, folder, root, asked, owners)


def _base(root: Path, asked: Asked, *, again: bool = False) -> list[Output]:
    """The base's answers. What is asked beside the targets is asked once for all targets and seeds that share `root`, because nothing
    in it depends on them: how probable a target's labels are there is a stage of its own.
    """
    name = "evaluate-base-again" if again else "evaluate-base"
    sampled: dict[str, Any] = {"variant": "base-again", "demonstrations": "sampled", "batch_tokens": 4096}
    how = sampled if again else {}
    own = _run(root, Evaluate(name, **how, **asked.of(tuple(asked.targets), asked.shots)))
    if not (asked.general or asked.diagnostics):
        return own
    others = Evaluate(name, **how, **asked.of_others())
    found = _run(root, others)
    if again or not asked.general:
        return own + found
    mass = LabelMass("label-mass-base", others, next(iter(asked.targets)), asked.versions[1])
    return own + LabelMass.read(execute(mass, root), found)


def follows(stage: Stage) -> TypeGuard[Train]:
    """Whether there is a trade-off to follow: a stage that trains a prompt alone leaves the model as it is."""
    return isinstance(stage, Train) and chooser(stage.methods).stage != "prompt"


def explain(out: Path, stages: Sequence[Stage], root: Path, asked: Asked, analyses: Sequence[str]) -> None:
    """`analysis.jsonl` below `out`: what the analyses find at step 0 of the last stage and at each step whose weights were kept."""
    last = stages[-1]
    assert isinstance(last, Train)
    if not analyses or not follows(last):
        return
    reached = json.loads((execute(last, root) / "result.json").read_text())["step"]
    steps = [0, *(step for step in last.settings.points if step <= reached)]
    shared: dict[str, Any] = {"analyses": tuple(analyses), "general": asked.general, "versions": asked.versions}
    folders = [execute(Analyse(f"analyse-step-{step}", last, step, **shared), root) for step in steps]
    if not PartialState().is_main_process:
        return
    records = analyse.read(folders)
    write_text(RunFolder(out).analysis_file, "".join(json.dumps(record) + "\n" for record in records))


def clear_points(trained: Sequence[Path]) -> None:
    """Remove the weights along the way; their scores are what is kept."""
    for folder in trained:
        for step in checkpoint.points(folder):
            checkpoint.point(folder, step).unlink()


def _after_own_stages(stages: Sequence[Stage], prompts: Mapping[str, int], root: Path, asked: Asked) -> list[Output]:
    """Each target right after the last stage that trained the model on it, where later stages moved the model on.

    What was measured last needs no measurement of its own: it is the tuned model.
    """
    moving = {task: stage for stage in stages if follows(stage) for task in stage.tasks}
    found = []
    for task, stage in moving.items():
        if stage != stages[-1]:
            prompt = stages[prompts[task]] if task in prompts else None
            assert prompt is None or isinstance(prompt, Train)
            state: dict[str, Any] = {"prompt": None if prompt is None else "on", "trained_prompt": prompt}
            own = Evaluate(
                f"evaluate-own-{asked.targets[task]}",
                variant="own-stage",
                tuned=stage,
                **state,
                **asked.of((task,), asked.shots),
            )
            found += _run(root, own)
    return found


def _owners(stages: Sequence[Stage], prompts: Mapping[str, int]) -> list[tuple[Train, tuple[str, ...]]]:
    """Each stage that trained a prompt, with the targets that it is for."""
    found = []
    for place in dict.fromkeys(prompts.values()):
        stage = stages[place]
        assert isinstance(stage, Train)
        found.append((stage, tuple(task for task in prompts if prompts[task] == place)))
    return found


def _along(
    last: Train, folder: Path, root: Path, asked: Asked, owners: Sequence[tuple[Train, tuple[str, ...]]]
) -> list[Output]:
    """The targets behind their prompts, at the fewest shots, and the general tasks without, at each step whose weights were kept.

    Where prompts were trained before the last stage, step 0 says what each reaches alone; a single one is also asked the general
    tasks there, which it should be removed for: where the format lives.
    """
    fewest, found = (min(asked.shots),), []
    for stage, own in owners:
        if stage in last.prompts:
            shared: dict[str, Any] = {"variant": "tuned", "prompt": "on", "tuned": last.start, "trained_prompt": stage}
            found += _run(root, Evaluate("evaluate-prompt", **shared, step=0, **asked.of(own, fewest)))
            if asked.general and len(owners) == 1:  # is it the prompt that carries the format to other tasks?
                general = asked.of_general() | {"shots": fewest, "toward": own[0]}
                found += _run(root, Evaluate("evaluate-prompt-general", **shared, step=0, **general))
    if not follows(last):
        return found
    reached = json.loads((folder / "result.json").read_text())["step"]  # fewer than `steps` where `stop_at` ended it
    for step in (step for step in last.settings.points if step <= reached):
        name = f"evaluate-step-{step}"
        shared = {"variant": "tuned", "tuned": last, "step": step}
        for stage, own in owners:
            on = Evaluate(name, **shared, prompt="on", trained_prompt=stage, **asked.of(own, fewest))
            found += _run(root, on)
        if not owners:
            found += _run(root, Evaluate(name, **shared, **asked.of(tuple(asked.targets), fewest)))
        if asked.general:
            found += _run(root, Evaluate(name, **shared, prompt="off" if owners else None, **asked.of_general()))
    return found


def _run(root: Path, stage: Evaluate) -> list[Output]:
    return read_outputs(execute(stage, root))
