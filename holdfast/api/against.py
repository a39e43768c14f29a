"""Measure a base beside models that were tuned from it, with whatever tool: the Python name behind `holdfast evaluate --against`."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from holdfast.api.judging import Judging, forget
from holdfast.api.measurement import Measurement, recorded
from holdfast.api.moved_base import stand_in
from holdfast.api.versions import library_versions
from holdfast.evaluation.ask import check_askable
from holdfast.evaluation.harness_samples import write_samples
from holdfast.models import chat_date, reading, resolve
from holdfast.models.adapter import is_adapter, read_adapter
from holdfast.models.architecture import of_run
from holdfast.models.endpoint import endpoint_of
from holdfast.models.fingerprint import fingerprint
from holdfast.models.loading import load_tokenizer
from holdfast.models.model_files import CONFIG, read_object
from holdfast.models.precision import FP32, Loading
from holdfast.report.card import write_card
from holdfast.report.compare.compare_page import write_comparison
from holdfast.report.run.page import write_page
from holdfast.results.compute_scores import score
from holdfast.results.evidence import Evidence, Fingerprint, same_model, write_evidence
from holdfast.results.run_folder import RunFolder, write_results
from holdfast.results.scores import Circumstances, StoredOutputs
from holdfast.stages.evaluate import Evaluate
from holdfast.stages.loader import Loader
from holdfast.stages.stage import exclusive
from holdfast.tasks import sources
from holdfast.tasks.task import SHOTS
from holdfast.tasks.task_set import TaskSet


@dataclass(frozen=True)
class TunedModel:
    """A model to measure beside the base: its weights, and the folder of the prompt that goes with it ("" without one).

    `base` is what an adapter that is `model` stands on, where that is not what its configuration names.
    """

    argument: str
    model: str
    prompt: str = ""
    base: str = ""

    @classmethod
    def of(
        cls, argument: str, prompt: str | None = None, base: str | None = None, *, trust: bool = False
    ) -> "TunedModel":
        """Return what a TUNED argument means: a run's folder stands for what the run left, a prompt's folder for its base behind it.

        `base` stands in for the base of an adapter or prompt that names one which is not here (`stand_in`).

        Raises:
            ValueError: a run left no weights that stand alone, two prompts are named for one model, or one for a model behind a server; or
                an adapter's base is not here, and it does not fit `base`.
        """
        if endpoint_of(argument) is not None:
            if prompt is not None:
                raise ValueError(
                    f"{argument}: --prompt is the server's business; leave it out, and start the server with it"
                )
            return cls(argument, argument)
        layout, prompts = RunFolder(Path(argument)), [] if prompt is None else [prompt]
        weights = layout.own_weights() if layout.is_run else argument
        if layout.is_run:
            prompts += [] if prompts else [str(path) for path in layout.prompts.values()]
        elif is_adapter(argument) and not read_adapter(argument, base).merges:
            weights = None
            prompts.append(argument)
        if len(prompts) > 1:
            raise ValueError(f"{argument}: has {len(prompts)} prompts; name the one to attach with --prompt, alone")
        attached = prompts[0] if prompts else ""
        if weights is not None:
            other = stand_in(str(weights), base, trust_remote_code=trust) if base is not None else None
            return cls(argument, str(weights), attached, other or "")
        # Nothing but a prompt was trained: the weights are those of its base.
        recorded = layout.config["model"] if layout.is_run else read_adapter(argument, base).recorded
        other = stand_in(attached, base, recorded, trust_remote_code=trust) if base is not None and attached else None
        return cls(argument, other or str(recorded), attached)

    @property
    def parts(self) -> tuple[Fingerprint, ...]:
        """Return the fingerprints of the weights, and of the prompt where there is one."""
        prompt = (Fingerprint(self.prompt, fingerprint(self.prompt)),) if self.prompt else ()
        version = resolve.version(self.model, self.base or None)
        return (Fingerprint(self.model, version, resolve.weights_version(self.model)), *prompt)

    def evaluations(self, first: Evaluate) -> list[Evaluate]:
        """Return what is asked of it, like the base's evaluation `first`: behind its prompt and without, where it has one."""
        version = " ".join(part.version for part in self.parts)
        tuned = replace(
            first, name="evaluate-tuned", variant="tuned", model=self.model, model_version=version, base=self.base
        )
        if not self.prompt:
            return [tuned]
        on = replace(tuned, name="evaluate-tuned-on", prompt="on", attached=self.prompt)
        return [on, replace(tuned, name="evaluate-tuned-off", prompt="off", model_version=self.parts[0].version)]


def against(
    base: str | Path,
    tuned: str | Path | Sequence[str | Path],
    tasks: str | Path | Sequence[str | Path] = (),
    targets: str | Path | Sequence[str | Path] = (),
    *,
    prompt: str | Path | None = None,
    shots: Sequence[int] = SHOTS,
    limit: int | None = None,
    out: str | Path | None = None,
    dtype: str = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    overwrite: bool = False,
    judge: str | Path | None = None,
    judge_labels: str | Path | None = None,
) -> list[Path]:
    """Ask a base and models that were tuned from it the same items; return the folder of each tuned model's page, as after `tune`.

    `tasks` are what should be kept (by default the suite `everyday`, or the lab's own). `targets` are what a model was tuned on, where
    that is known: then the page also says what was gained, and whether the target's format has spread. Each model is a folder, a hub id,
    a GGUF file, a PEFT adapter, `lab`, a run's folder, or behind a server (`openai:URL#NAME`). `prompt` is a soft prompt that goes with
    the tuned model: it counts attached on the targets, and removed on all else. Several tuned models have a folder each below `out`, and
    share a comparison there. The same call goes on where it was stopped; another one on the same `out` needs `overwrite`.

    `judge` is a third model that says which of two written answers is better (docs/judge.md), once it has been measured on pairs with
    known answers: ours, or those of the file `judge_labels`.

    Raises:
        ValueError: there is no such model or task; the judge is not fit to be asked (`Judging.of`); or `out` holds a run of `tune`, another
            measurement, or files that are not ours.
    """
    attached = None if prompt is None else str(prompt)
    models = [TunedModel.of(name, attached, str(base), trust=trust_remote_code) for name in sources.arguments(tuned)]
    # By default those that a run of `tune` measures.
    kept = sources.arguments(tasks) or reading.default_general(
        str(base), sources.arguments(targets), trust_remote_code=trust_remote_code
    )
    refs = TaskSet.read(sources.arguments(targets), kept, tuned=False).refs
    check_askable([ref.task for ref in refs], max(shots))
    folder = (
        Path(out) if out is not None else Path("runs") / f"{_short(str(base))}-against-{_short(models[0].argument)}"
    )
    arguments = [str(base), *(model.base or model.model for model in models)]
    date = _date(arguments, any(ref.task.template.chat for ref in refs), trust_remote_code)
    # A measurement that goes on the next day asks in the words of the day on which it began.
    date = date and recorded(folder).get("date", date)
    first = Evaluate(
        "evaluate-base", str(base), tasks=refs, shots=tuple(shots), limit=limit, model_version=resolve.version(str(base)),
        toward=next((ref for ref in refs if ref.role == "target"), None), trust_remote_code=trust_remote_code, date=date,
    )  # fmt: skip
    # All in one precision, by default that of the first, which is the base's own: another would be a difference that no tuning made.
    # That of a server is not known.
    local = [name for name in arguments if endpoint_of(name) is None]
    first = replace(first, loading=Loading(dtype, device).resolved(resolve.resolve(local[0])) if local else FP32)
    folders = _folders(folder, models)
    judging = None
    if judge is not None:
        fingerprints = [Fingerprint(first.model, first.model_version), *(model.parts[0] for model in models)]
        judging = Judging.of(str(judge), judge_labels, fingerprints, [r.task for r in refs], Loading(dtype, device))
    measurement = Measurement(folder, _settings(first, models), pages=True, overwrite=overwrite)
    measurement.check()
    _warn_of_one_model(first, models)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder, "another command works here; waiting for it to end"):
        measurement.claim(folders)
        root, loader = RunFolder(folder).stages, Loader()
        # As files: of many items the answers are not held.
        base_answers = first.answers_file(root, loader)
        for model, path in zip(models, folders, strict=True):
            answers = [evaluation.answers_file(root, loader) for evaluation in model.evaluations(first)]
            _write(path, StoredOutputs([base_answers, *answers]), model, first)
        # Once all are measured, so that the judge is loaded once.
        if judging is not None:
            for model, path in zip(models, folders, strict=True):
                judging.decide(first, model.evaluations(first), path, root, loader)
                write_page(path)
        if len(folders) > 1:
            write_comparison(folders, folder)
    return folders


def _settings(first: Evaluate, models: Sequence[TunedModel]) -> dict[str, Any]:
    """Return everything that the numbers depend on, under the names of the options."""
    return {
        "command": "evaluate --against",
        "MODEL": [first.model, first.model_version],
        "against": [[model.argument, *([part.argument, part.version] for part in model.parts)] for model in models],
        "task": [[ref.argument, ref.version] for ref in first.tasks if ref.role != "target"],
        "target": [[ref.argument, ref.version] for ref in first.tasks if ref.role == "target"],
        "shots": first.shots,
        "limit": first.limit,
        "dtype": first.loading.dtype,
        "date": first.date,
    }


def _write(folder: Path, outputs: StoredOutputs, tuned: TunedModel, first: Evaluate) -> None:
    """Write scores, answers, page, card and the evidence for all of it."""
    folder.mkdir(parents=True, exist_ok=True)
    tasks, versions = [ref.task for ref in first.tasks], library_versions(first.model, tuned.argument)
    circumstances = Circumstances(model=first.model, model_hash=first.model_version, versions=versions)
    scores = [
        s if s.variant == "base" else replace(s, model=tuned.argument, model_hash=tuned.parts[0].version)
        for s in score(outputs, tasks, circumstances=circumstances)
    ]
    write_samples(folder, write_results(folder, outputs, scores, tasks), tasks)
    measured = tuple(Fingerprint(ref.argument, ref.version) for ref in first.tasks)
    base = _fingerprint_of_base(first)
    write_evidence(folder, Evidence(base, tuned.parts, measured, first.shots, first.limit, versions))
    forget(folder)
    write_page(folder)
    write_card(folder, of_run(folder))


def _fingerprint_of_base(first: Evaluate) -> Fingerprint:
    return Fingerprint(first.model, first.model_version, resolve.weights_version(first.model))


def _warn_of_one_model(first: Evaluate, models: Iterable[TunedModel]) -> None:
    """Say on stderr, before anything is asked, of each tuned model that it is the base, or cannot have been tuned from it."""
    targets = any(ref.role == "target" for ref in first.tasks)
    for model in models:
        if same := same_model(Evidence(_fingerprint_of_base(first), model.parts), targets):
            print(f"holdfast: {same}", file=sys.stderr, flush=True)
        if other := _differ(_sizes(first.model, first.base), _sizes(model.model, model.base)):
            message = f"{model.argument} was not tuned from {first.model}: its {other}; the numbers compare two models, and no tuning"
            print(f"holdfast: {message}", file=sys.stderr, flush=True)


def _sizes(model: str, base: str) -> dict[str, int]:
    """Return the sizes by its `config.json` that no tuning changes; none of a model behind a server, without one, or of one in parts.

    `base` stands in for the base of an adapter, where that has moved.
    """
    if endpoint_of(model) is not None:
        return {}
    file = Path(resolve.resolve(model, base or None)) / CONFIG
    config = read_object(file) if file.is_file() else {}
    return {name: config[name] for name in ("hidden_size", "num_hidden_layers") if isinstance(config.get(name), int)}


def _differ(base: Mapping[str, int], tuned: Mapping[str, int]) -> str:
    """Return the first size in which two models differ, in words; empty where none is known to."""
    names = [name for name in base if tuned.get(name, base[name]) != base[name]]
    return f"{names[0]} is {tuned[names[0]]} and not {base[names[0]]}" if names else ""


def _folders(out: Path, models: Sequence[TunedModel]) -> list[Path]:
    """Return the folder of each tuned model: `out` of a single one, else one of its name below."""
    names = [_short(model.argument) for model in models]
    if len(set(names)) < len(names):  # Checkpoints often have one name in folders of different ones.
        names = [f"{number}-{name}" for number, name in enumerate(names, 1)]
    return [out] if len(models) == 1 else [out / name for name in names]


def _short(argument: str) -> str:
    if endpoint := endpoint_of(argument):
        return sources.short(endpoint.name)
    return sources.short(Path(argument).resolve().name if Path(argument).exists() else argument)


def _date(models: Iterable[str], chats: bool, trust: bool) -> str | None:
    """Return today where a chat template writes the date, so that all models are asked with the same; say where templates differ.

    Raises:
        ValueError: a model's tokenizer cannot be loaded.
    """
    # Of every model, and now: one that is not there would else be noticed once the base has been asked everything.
    local = [name for name in models if endpoint_of(name) is None]
    tokenizers = {name: load_tokenizer(resolve.resolve(name), trust_remote_code=trust) for name in local}
    if not chats:
        return None
    with_template = [name for name, tokenizer in tokenizers.items() if getattr(tokenizer, "chat_template", None)]
    if with_template and len(with_template) < len(tokenizers):
        print(
            f"only {', '.join(with_template)} has a chat template; the others are asked in plain text", file=sys.stderr
        )
    return str(chat_date.today()) if any(map(chat_date.writes_date, tokenizers.values())) else None
