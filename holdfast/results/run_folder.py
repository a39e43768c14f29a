"""A run's folder: where each of its parts lies, and what a report reads from it."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.results.record_lines import read_objects, to_record
from holdfast.results.run_log import read_log
from holdfast.results.scores import Output, Score, StoredOutputs, read_scores, some_outputs, write_jsonl
from holdfast.results.symptoms import marked
from holdfast.tasks.task import Task
from holdfast.tasks.yaml_files import read_yaml

AGAIN = "give the command of the run again"
SHOWN = 100_000  # answers from which a page is made: of more, an even part
PIECES = ("model", "prompt", "adapter")  # the weights that a run, or one of its stages, may leave


@dataclass(frozen=True)
class RunFolder:
    """The layout of a run's folder: every other module takes the paths of its parts from here. Nothing is read before it is needed.

    The folder of a training stage has `model/`, `prompt/`, `adapter/` and `log.jsonl` in the same places.
    """

    path: Path

    @property
    def is_run(self) -> bool:
        """Return whether this is the folder of a run of `tune`, finished or not."""
        # Not the scores: they come last, and `evaluate` writes some into folders that were never tuned.
        return self.config_file.exists()

    @property
    def evidence_only(self) -> bool:
        """Return whether two models were compared here that no run of ours made."""
        return self.evidence_file.exists() and not self.is_run

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def scores_file(self) -> Path:
        return self.path / "scores.jsonl"

    @property
    def outputs_file(self) -> Path:
        return self.path / "outputs.jsonl"

    @property
    def log_file(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def analysis_file(self) -> Path:
        return self.path / "analysis.jsonl"

    @property
    def evidence_file(self) -> Path:
        """The fingerprints of the models, the tasks and the numbers."""
        return self.path / "evidence.json"

    @property
    def measurement_file(self) -> Path:
        """The settings of what `evaluate` measured here: another measurement does not replace it silently."""
        return self.path / "measurement.json"

    @property
    def judge_file(self) -> Path:
        """The words of a judge on two models, where one was asked."""
        return self.path / "judge.json"

    @property
    def sweep_file(self) -> Path:
        """The points of a search, where a field was chosen on validation data."""
        return self.path / "sweep.jsonl"

    @property
    def page(self) -> Path:
        return self.path / "report.html"

    @property
    def card(self) -> Path:
        return self.path / "README.md"

    @property
    def stages(self) -> Path:
        """Return the path of the folders of the run's stages; a run of a study shares them with others and has none here."""
        return self.path / "stages"

    @property
    def stage_names_file(self) -> Path:
        """The names of the folders that a run of a study stands on, among those that all its runs share."""
        return self.path / "stages.json"

    def stage_names(self) -> list[str]:
        """Return those names; nothing where the run shares no stages."""
        return json.loads(self.stage_names_file.read_text(encoding="utf-8")) if self.stage_names_file.exists() else []

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def dropped_file(self) -> Path:
        """The note of a study that it removed the run's model (`holdfast study --drop-weights`)."""
        return self.path / "weights-dropped.txt"

    def own_weights(self) -> Path | None:
        """Return the folder of the model, or of the adapter, that the run left; None where it left neither, and the base is as it was.

        Raises:
            ValueError: there was a model, and a study removed it. The base in its place would be measured as if it were the run's.
        """
        if self.dropped_file.exists() and not self.model.is_dir():  # There again, where the run was made anew.
            raise ValueError(
                f"{self.path}: its weights were removed by --drop-weights, so it cannot be asked; its scores are in {self.scores_file}. "
                "Run it again from its config.yaml: holdfast run CONFIG --out DIR"
            )
        return next((path for path in (self.model, self.adapter) if path.is_dir()), None)

    @property
    def prompt(self) -> Path:
        return self.path / "prompt"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def data(self) -> Path:
        """Return the path of the task whose rows were trained on, where they were curated."""
        return self.path / "data"

    @property
    def pieces(self) -> list[str]:
        """Return those of `model`, `prompt` and `adapter` that exist."""
        return [piece for piece in PIECES if (self.path / piece).is_dir()]

    @property
    def prompts(self) -> dict[str, Path]:
        """Return the folders of the prompts by target; the only one has no name."""
        if not self.prompt.is_dir():
            return {}
        if (self.prompt / "adapter_config.json").exists():  # Its folders, where it has any, are its parts.
            return {"": self.prompt}
        # Sorted, because the order of a directory is the file system's. A prompt without a configuration still lies there.
        return {path.name: path for path in sorted(self.prompt.iterdir()) if path.is_dir()} or {"": self.prompt}

    @property
    def config(self) -> dict[str, Any]:
        """Return the configuration, as `config.yaml` has it."""
        config = read_yaml(self.config_file, "give the command of the run again")
        if not isinstance(config, dict):
            raise ValueError(
                f"{self.config_file}: is not the configuration of a run; give the command of the run again"
            )
        return config

    @property
    def targets(self) -> list[str]:
        """Return the TASK arguments that the run trained on; `config.yaml` has one as text and several as a list."""
        task = self.config.get("task", [])
        return [task] if isinstance(task, str) else [str(name) for name in task or ()]


@dataclass(frozen=True, slots=True)
class FindingRecord:
    """A line of `analysis.jsonl`: the value of a measure somewhere in the model, after so many steps (None: of what the run keeps)."""

    analysis: str
    step: int | None
    measure: str
    where: str
    value: float


@dataclass(frozen=True)
class Folder:
    """The content of a run's folder. `absent` says in plain words what is missing, for the page to repeat."""

    path: Path
    scores: list[Score]
    outputs: list[Output]
    log: list[dict[str, Any]]
    config: str
    absent: list[str]
    # for each stage that cut training rows, how many and what was lost
    truncated: list[str] = field(default_factory=list)
    analysis: list[FindingRecord] = field(default_factory=list)
    # for each stage with a floor, which weights it kept and why
    rules: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def is_run(self) -> bool:
        """Return whether `tune` made it, so that its configuration can be repeated."""
        return RunFolder(self.path).is_run

    @property
    def edited(self) -> bool:
        """Return whether the weights were edited after training, so that scores along the way are of another model than the end's."""
        return self.is_run and bool(RunFolder(self.path).config.get("edit"))

    @property
    def pieces(self) -> list[str]:
        """Return those of `model`, `prompt` and `adapter` that exist."""
        return RunFolder(self.path).pieces

    @property
    def prompts(self) -> list[str]:
        """Return the prompts' paths in the folder: `prompt`, or `prompt/TARGET` for each of several targets."""
        # With "/" on every system: the paths are printed into cards and pages, and are subfolders on a hub.
        return [path.relative_to(self.path).as_posix() for path in RunFolder(self.path).prompts.values()]

    def adapter_type(self, piece: str) -> str:
        """Return the type of the adapter or prompt at this path (PEFT's `PREFIX_TUNING`, ...); `PROMPT_TUNING` where nothing says so."""
        try:
            return str(json.loads((self.path / piece / "adapter_config.json").read_text(encoding="utf-8"))["peft_type"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return "PROMPT_TUNING"

    @property
    def circumstances(self) -> Score:
        """Return a score of the tuned model (else of the base), for what all scores of a run share: recipe, seed, versions."""
        return next((score for score in self.scores if score.variant == "tuned"), self.scores[0])

    @property
    def base_model(self) -> str:
        """Return the model that training started from: that which the base scores were measured on."""
        return next((score.model for score in self.scores if score.variant == "base" and score.model), "")


def write_results(
    folder: Path, outputs: Iterable[Output], scores: Sequence[Score], tasks: Iterable[Task]
) -> StoredOutputs:
    """Write `scores.jsonl` and `outputs.jsonl` into a folder; return the outputs that were written. `outputs` are gone through twice.

    Answers of weights along the way are left out: their scores are what is kept. Each answer to a general task is marked where it is in
    the format of the tuned task, which decides the examples on the page.
    """
    layout = RunFolder(folder)
    # The scores last: a folder that has them counts as finished, and then its answers must be there.
    write_jsonl(layout.outputs_file, (output for output in marked(outputs, tasks) if output.step is None))
    write_jsonl(layout.scores_file, scores)
    return StoredOutputs([layout.outputs_file])


def read(path: str | Path) -> Folder:
    """Read a run's folder. Everything but the scores may be missing.

    Raises:
        ValueError: there are no scores, or a file is not whole; the message names the file (and line) and what to do.
    """
    path = Path(path)
    layout = RunFolder(path)
    if not layout.scores_file.exists():
        raise ValueError(_no_scores(path))
    scores = _scores(path)
    outputs, left_out = some_outputs(layout.outputs_file, SHOWN) if layout.outputs_file.exists() else ([], 0)
    log = read_log(layout.log_file)
    # Two models that were compared have no configuration of a run; what was measured stands in the evidence.
    files = [path for path in (layout.config_file, layout.evidence_file) if path.exists()]
    try:
        text = files[0].read_text(encoding="utf-8") if files else ""
    except UnicodeDecodeError as error:
        raise ValueError(f"{files[0]}: is not UTF-8 text (byte {error.start}); {AGAIN}") from None
    variants = {score.variant for score in scores}
    absent = [
        sentence
        for missing, sentence in (
            (not outputs, "outputs.jsonl (the answers, item by item): no examples are shown."),
            (
                bool(left_out),
                f"{left_out:,} answers of many: examples and counts of single items are of {len(outputs):,} others, evenly spaced; the "
                "scores are of all, and all stand in outputs.jsonl.",
            ),
            (
                not log.points and not layout.evidence_only,
                "log.jsonl (the course of training): no training curves are shown.",
            ),
            (not text, "config.yaml (the configuration): the run cannot be repeated from this folder alone."),
            (
                "base" not in variants,
                "scores of the base model: nothing can be compared.",
            ),
            (
                "tuned" not in variants,
                "scores of a tuned model: only the base was measured.",
            ),
        )
        if missing
    ]
    return Folder(
        path,
        scores,
        outputs,
        log.points,
        text,
        absent,
        log.truncated,
        read_findings(path),
        log.rules,
    )


def expanded(paths: Sequence[Path]) -> list[Path]:
    """Return the folders of runs; one that is none itself and holds some (`runs/demo`) stands for these."""
    runs = []
    for path in paths:
        # A folder without any run stays in the list, so that reading it says what is wrong with it.
        runs += [path] if RunFolder(path).scores_file.exists() else _inside(path) or [path]
    return runs


def finished(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the folders of runs as `expanded` does, but runs without scores in a folder of runs apart; not where all are."""
    runs = expanded(paths)
    without = [run for run in runs if run not in paths and not RunFolder(run).scores_file.exists()]
    return ([run for run in runs if run not in without], without) if len(without) < len(runs) else (runs, [])


def _inside(path: Path) -> list[Path]:
    # Those of `tune`, and those of `evaluate --against`.
    return sorted({file.parent for file in (*path.glob("*/config.yaml"), *path.glob("*/evidence.json"))})


def _no_scores(path: Path) -> str:
    """Return the error of a folder that cannot be reported on: its reason, and what to do."""
    if not path.is_dir():
        return f"{path}: there is no such folder; `holdfast tune MODEL TASK --out {path}` makes a run there"
    if runs := _inside(path):
        return f"{path}: holds runs and is none itself; give one of {', '.join(map(str, runs))}"
    if RunFolder(path).is_run:
        return f"{path}: its run is not finished (no scores.jsonl); give the command that began it again"
    if (path / "config.json").exists():
        return (
            f"{path}: a model and no run; measure it with `holdfast evaluate {path} --task TASK --out DIR` and give DIR"
        )
    return (
        f"{path}: no scores.jsonl, so there is nothing to report; write it with `holdfast tune MODEL TASK --out {path}` or "
        f"`holdfast evaluate MODEL --out {path}`"
    )


def _scores(path: Path) -> list[Score]:
    scores = read_scores(path)
    if not scores:
        raise ValueError(f"{path / 'scores.jsonl'}: the file is empty, so there is nothing to report; evaluate again")
    # Lines are grouped by these keys, and of two equal ones only the last would be shown.
    keys = set()
    for score in scores:
        if score.key in keys:
            raise ValueError(f"{path / 'scores.jsonl'}: two scores for {score.key}; keep one, or evaluate again")
        keys.add(score.key)
    return scores


def read_findings(folder: Path) -> list[FindingRecord]:
    """Return the findings of the run's analyses; none without analyses.

    Raises:
        ValueError: a line of `analysis.jsonl` is no finding; the message names it.
    """
    path = RunFolder(folder).analysis_file
    if not path.exists():
        return []
    return [to_record(FindingRecord, line, AGAIN) for line in read_objects(path, AGAIN)]
