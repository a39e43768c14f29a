"""Ask a judge about the answers of two models, and say what its decisions are worth."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.models import resolve
from holdfast.models.endpoint import endpoint_of
from holdfast.models.loading import load_tokenizer
from holdfast.models.precision import FP32, Loading
from holdfast.results.evidence import Fingerprint
from holdfast.results.judged import (
    ALL,
    JudgedPair,
    JudgedTask,
    JudgeRecord,
    outputs_hash,
    preferences,
    write_judge,
)
from holdfast.results.metrics import metric
from holdfast.results.run_folder import RunFolder
from holdfast.results.statistics_judge import FEWEST_KNOWN, JudgeQuality, Preferences, judge_quality, win_rate
from holdfast.stages.evaluate import Evaluate
from holdfast.stages.judge import KNOWN, CalibrateJudge, JudgeAnswers
from holdfast.stages.loader import Loader
from holdfast.tasks.answers.judge_calibration import known_pairs, pairs_version, read_known_pairs
from holdfast.tasks.task import Task

OURS = "pairs of the everyday suite"


@dataclass(frozen=True)
class Judging:
    """A judge that is there and fit to be asked, with the pairs that it is measured on."""

    judge: Fingerprint
    calibration: Fingerprint
    labels: str
    loading: Loading

    @classmethod
    def of(
        cls,
        judge: str,
        labels: str | Path | None,
        models: Iterable[Fingerprint],
        tasks: Sequence[Task],
        loading: Loading,
    ) -> "Judging":
        """Return the judge of a MODEL argument; `models` are those that it would judge.

        Raises:
            ValueError: no task has answers that are written, the judge is one of the models, or the pairs of `labels` are too few.
        """
        if all(metric(task.metric).needs_likelihoods for task in tasks):
            raise ValueError(
                f"--judge {judge}: compares written answers, and all answers of these tasks are picked among choices "
                f"({', '.join(task.name for task in tasks[:4])}); add a task whose answers are written (metric f1, checked ...)"
            )
        version = resolve.version(judge)
        for model in models:
            if version == model.version or judge == model.argument:
                raise ValueError(
                    f"--judge {judge}: is one of the models that it would judge ({model.argument}); models prefer their own answers, "
                    "which no calibration on answers of others shows; name a third model"
                )
        pairs = known_pairs() if labels is None else read_known_pairs(Path(labels))
        if (known := sum(pair.truth != 0 for pair in pairs)) < FEWEST_KNOWN:
            raise ValueError(
                f"{labels}: {known} pairs with a better answer; a judge is measured on {FEWEST_KNOWN} or more"
            )
        calibration = Fingerprint(OURS if labels is None else str(labels), pairs_version(pairs))
        if endpoint_of(judge) is None:
            load_tokenizer(
                resolve.resolve(judge)
            )  # Now: a judge that is not there would be noticed once all was measured.
            loading = loading.resolved(resolve.resolve(judge))
        else:
            loading = FP32
        return cls(Fingerprint(judge, version), calibration, "" if labels is None else str(labels), loading)

    def decide(
        self, base: Evaluate, tuned: Sequence[Evaluate], folder: Path, root: Path, loader: Loader
    ) -> JudgeRecord:
        """Ask about the answers of two models, and write `judge.json` into `folder`; what was asked before is not asked again."""
        trust = base.trust_remote_code
        shared = (self.judge.argument, self.judge.version, self.loading, trust)
        known, decided = CalibrateJudge(
            KNOWN,
            *shared,
            self.labels,
            self.calibration.version if self.labels else pairs_version(known_pairs()),
        ).decisions(root, loader)
        pairs, _ = JudgeAnswers("judge-answers", *shared, base, tuned[0], tuned[-1]).decisions(root, loader)
        if not any(pair.fits for pair in pairs):
            raise ValueError(
                f"--judge {self.judge.argument}: no question with its two answers fits this model; name one with more room"
            )
        calibration = preferences(known)
        quality = judge_quality(calibration)
        record = JudgeRecord(
            self.judge, Fingerprint(base.model, base.model_version),
            tuple(Fingerprint(evaluation.model, evaluation.model_version) for evaluation in tuned),
            self.calibration, min(base.shots), decided, quality, _tasks(pairs, calibration, quality), outputs_hash(folder),
        )  # fmt: skip
        write_judge(folder, record)
        return record


def forget(folder: Path) -> None:
    """Remove what a judge said of other answers in a folder."""
    RunFolder(folder).judge_file.unlink(missing_ok=True)


def _tasks(pairs: Sequence[JudgedPair], calibration: Preferences, quality: JudgeQuality) -> tuple[JudgedTask, ...]:
    """Return a line for all targets and for all general tasks, and one for each task where there are several."""
    lines: list[JudgedTask] = []
    for role in ("target", "general"):
        mine = [pair for pair in pairs if pair.role == role]
        names = list(dict.fromkeys(pair.task for pair in mine))
        groups = [(ALL, mine), *((name, [pair for pair in mine if pair.task == name]) for name in names)]
        for name, group in groups if mine else ():
            fitting = [pair for pair in group if pair.fits]
            if not fitting:
                continue
            rate = win_rate(preferences(group), calibration, quality)
            lines.append(
                JudgedTask(
                    name, role, len(fitting), sum(pair.same for pair in fitting), len(group) - len(fitting),
                    sum(pair.split for pair in fitting),
                    sum((pair.forward == "") + (pair.backward == "") for pair in fitting if not pair.same), rate,
                )
            )  # fmt: skip
    return tuple(lines)
