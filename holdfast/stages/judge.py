"""Stages that ask a judge: pairs with known answers, and the answers of two models that were measured."""

import json
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from holdfast.atomic_files import write_text
from holdfast.evaluation.ask import asked_by_harness
from holdfast.evaluation.judge import TEXT, compare_answers, gives_likelihoods
from holdfast.evaluation.progress import AskingProgress
from holdfast.inference.language_model import NamedModel
from holdfast.inference.model import Model
from holdfast.inference.served_model import served
from holdfast.models.endpoint import endpoint_of
from holdfast.models.precision import FP32, Loading
from holdfast.results.judged import JudgedPair, read_judged_pairs
from holdfast.results.metrics import metric
from holdfast.results.scores import Output, read_outputs, write_jsonl
from holdfast.stages.evaluate import Evaluate
from holdfast.stages.loader import Loader
from holdfast.stages.stage import Inputs, Stage, content_of, execute
from holdfast.tasks.answers.judge_calibration import known_pairs, read_known_pairs
from holdfast.tasks.formats.conversation import without_thinking
from holdfast.tasks.task import Task
from holdfast.tasks.text.templates import asked_text
from holdfast.training.processes import processes

PART = 32  # pairs that are asked between two files: what a kill costs
DATE = "2026-01-01"  # that a chat template may write: the judge's question is the same on every day
KNOWN = "judge-known"  # how the name of the folder of known pairs begins
PAIRS, DECIDED = "pairs.jsonl", "decided.json"
RANKS, READS = "log-probabilities", "its written replies"


@dataclass(frozen=True)
class AskJudge(Stage):
    """Ask a judge about pairs of answers, each in both orders; the decisions stand in `pairs.jsonl`."""

    CALIBRATES: ClassVar[bool] = False  # the pairs have known answers

    judge: str = ""
    judge_version: str = ""
    loading: Loading = FP32
    trust_remote_code: bool = False

    def hashed(self) -> dict[str, Any]:
        """Return the fields, and the words in which the judge is asked: in others it is another judge."""
        return content_of(self) | {"text": TEXT}

    def pairs(self, inputs: Inputs) -> list[JudgedPair]:
        """Return the pairs to ask about, not yet decided."""
        raise AssertionError(f"{type(self).__name__} has no pairs")

    def run(self, folder: Path, inputs: Inputs) -> None:
        """Write the decisions; they stand in `parts/` until all are there, so a killed run goes on."""
        if not processes().is_main_process:
            return
        # One answer twice needs no judge; of the calibration it does, because it shows what the order alone does.
        pairs = self.pairs(inputs)
        asked_pairs = [pair for pair in pairs if self.CALIBRATES or not pair.same]
        parts = [asked_pairs[start : start + PART] for start in range(0, len(asked_pairs), PART)]
        files = [folder / "parts" / f"{number:04}.jsonl" for number in range(len(parts))]
        decided: list[JudgedPair] = []
        model: NamedModel | None = None
        ranked, label = False, f"judge {self.judge}, {'known answers' if self.CALIBRATES else 'both models'}"
        with ExitStack() as stack, AskingProgress(label, [2 * len(part) for part in parts]) as progress:
            for number, (part, path) in enumerate(zip(parts, files, strict=True), 1):
                if path.exists():
                    progress.skip()
                else:
                    if model is None:
                        model = self._load(folder, inputs, stack)
                        ranked = gives_likelihoods(model)
                        write_text(folder / DECIDED, json.dumps(RANKS if ranked else READS))
                    progress.begin(f"part {number}, each pair in both orders")
                    write_jsonl(path, compare_answers(model, part, ranked=ranked))
                    progress.done()
                decided += read_judged_pairs(path)
            answers = iter(decided)
            write_jsonl(folder / PAIRS, [next(answers) if self.CALIBRATES or not pair.same else pair for pair in pairs])
        shutil.rmtree(folder / "parts", ignore_errors=True)

    def _load(self, folder: Path, inputs: Inputs, stack: ExitStack) -> NamedModel:
        endpoint = endpoint_of(self.judge)
        if endpoint is not None:
            return stack.enter_context(served(endpoint, folder))
        return Model(
            inputs.loader.load(self.judge, loading=self.loading, trust_remote_code=self.trust_remote_code, date=DATE)
        )

    def decisions(self, root: Path, loader: Loader | None = None) -> tuple[list[JudgedPair], str]:
        """Return the decided pairs, and by what they were decided; the stage is run where that was not done."""
        folder = execute(self, root, loader)
        words = json.loads((folder / DECIDED).read_text(encoding="utf-8")) if (folder / DECIDED).exists() else ""
        return read_judged_pairs(folder / PAIRS), words


@dataclass(frozen=True)
class CalibrateJudge(AskJudge):
    """Ask a judge about pairs with known answers: ours, or those of a user's file."""

    KIND: ClassVar[str] = "CalibrateJudge"
    CALIBRATES: ClassVar[bool] = True

    labels: str = ""
    labels_version: str = ""

    def pairs(self, inputs: Inputs) -> list[JudgedPair]:
        """Return the known pairs."""
        known = read_known_pairs(Path(self.labels)) if self.labels else known_pairs()
        return [
            JudgedPair(p.question, p.first, p.second, "", "", number, truth=p.truth) for number, p in enumerate(known)
        ]


@dataclass(frozen=True)
class JudgeAnswers(AskJudge):
    """Ask a judge about the written answers of two models to the same items.

    `base` is the evaluation of the one, `on` and `off` that of the other: with its prompt for targets and without for all else, or the
    same twice. Diagnostics are left out, and tasks whose answers are picked among choices.
    """

    KIND: ClassVar[str] = "JudgeAnswers"

    base: Evaluate | None = None
    on: Evaluate | None = None
    off: Evaluate | None = None

    def pairs(self, inputs: Inputs) -> list[JudgedPair]:
        """Return the pairs of answers at the fewest shots."""
        assert self.base is not None
        base, on, off = (
            {(o.task, o.index): o for o in read_outputs(inputs[name].folder) if o.shots == min(self.base.shots)}
            for name in ("base", "on", "off")
        )
        pairs: list[JudgedPair] = []
        for ref in self.base.tasks:
            # Of what is ranked or read no answer is written.
            if ref.role == "diagnostic" or metric(ref.task.metric).needs_likelihoods:
                continue
            tuned = on if ref.role == "target" else off
            for key, output in base.items():
                if output.task != ref.task.name or output.choices is not None or key not in tuned:
                    continue
                pairs.append(
                    JudgedPair(
                        question(ref.task, output), _shown(output), _shown(tuned[key]), "", "", output.index,
                        task=output.task, role=ref.role,
                    )
                )  # fmt: skip
        return pairs


def question(task: Task, output: Output) -> str:
    """Return an item's question as a judge reads it: with the task's instruction, without chat marks and demonstrations."""
    examples = task.splits.get("test", ())
    # The harness asks documents of its own, whose prompt is all that is known of them.
    if asked_by_harness(task) or output.index >= len(examples):
        return output.input
    text = asked_text(task.template, examples[output.index])
    return f"{task.template.instruction}\n{text}" if task.template.instruction else text


def _shown(output: Output) -> str:
    return without_thinking(output.output)
