"""Warnings about a run before it begins: each is about the data, and afterwards nobody looks for the reason of a strange score."""

from pathlib import Path
from statistics import median

from holdfast.api.request import RunPlan
from holdfast.evaluation.ask import unread
from holdfast.models.loading import load_tokenizer
from holdfast.models.resolve import resolve
from holdfast.recipes import describe
from holdfast.results.visible import one_line
from holdfast.stages.curate import Curate
from holdfast.stages.train import Train
from holdfast.tasks.examples.label_faults import answers
from holdfast.tasks.examples.leakage import leakage
from holdfast.tasks.examples.splits import evenly, subset
from holdfast.tasks.formats.records import SUFFIXES
from holdfast.tasks.task import SPLITS, Task

LONGER = 10  # times as long: what a target's tokens may be to another's before it drowns that
LOOKED_AT = 1000  # examples of a target, evenly spaced


def cautions(plan: RunPlan) -> list[str]:
    """Return a sentence for each thing that makes the numbers of a planned run mean less than they seem to: test questions that stand
    in the training data, labels that no training row has, rows that contradict each other, words that the model has no token for.

    Raises:
        ValueError: the tokenizer cannot be loaded.
    """
    model, tasks = plan.request.model, plan.tasks
    tokenizer = load_tokenizer(resolve(model), trust_remote_code=plan.request.trust_remote_code)
    sentences = describe.unusual(plan.request.techniques, plan.request.settings)
    sentences += few_rows(plan) + unequal_targets(plan)
    for ref in tasks.targets:
        sentences += _split(ref.task)
        sentences += answers(ref.task).sentences(one_line(ref.task.name))
        sentences += leakage(ref.task).sentences(one_line(ref.task.name))
        sentences += filter(None, [unread(tokenizer, ref.task, model)])
    strange = [one_line(ref.task.name) for ref in tasks.general if unread(tokenizer, ref.task, model)]
    if strange:
        others = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        sentences.append(
            f"{', '.join(strange[:3])}{others}: {model} has no token for many words of what should be kept here, so it says little about "
            "retention; name other tasks with --general"
        )
    return sentences


def few_rows(plan: RunPlan) -> list[str]:
    """Return a sentence for each stage that has fewer training rows than a step takes, so that every step trains on the same ones."""
    sentences: dict[str, str] = {}
    for stage in plan.pipeline.stages:
        # How many rows a curation leaves is known once it has run.
        if not isinstance(stage, Train) or any(isinstance(task, Curate) for task in stage.tasks):
            continue
        for ref in stage.targets:
            if ref.task.template.asks_nothing:  # One document may be many rows.
                continue
            rows = len(subset(ref.task, stage.train_limit, stage.train_share, stage.settings.seed).splits["train"])
            # Targets have equal parts of every batch.
            if rows * len(stage.targets) < stage.settings.batch_size:
                taken = -(-stage.settings.batch_size // len(stage.targets))
                counted = "1 training row" if rows == 1 else f"{rows} training rows"
                # A file of training rows alone gives some to validation, and the rest is a number that its author has not written.
                counted += f" ({len(held)} for validation)" if (held := ref.task.splits.get("validation")) else ""
                smaller = f"--set {stage.name.partition('-')[0]}.batch_size={max(1, rows // 2)}"
                sentence = f"{one_line(ref.task.name)}: {counted}, and a step takes {taken}, so every step trains on the same ones again"
                sentence += f"; add rows, or {smaller}"
                # Of stages that are alike the first is named.
                sentences.setdefault(ref.argument, sentence)
    return list(sentences.values())


def unequal_targets(plan: RunPlan) -> list[str]:
    """Return a sentence where one target's answers are so much longer than another's that its tokens are nearly all of the loss."""
    stages = [stage for stage in plan.pipeline.stages if isinstance(stage, Train) and len(stage.targets) > 1]
    if not (stage := next((stage for stage in stages if stage.loss_per == "token"), None)):
        return []
    lengths = {}
    for ref in stage.targets:
        train = ref.task.splits["train"]
        sampled = [train[index] for index in evenly(len(train), LOOKED_AT)]
        lengths[one_line(ref.task.name)] = median(len(example.target) for example in sampled)
    (short, least), *_, (long, most) = sorted(lengths.items(), key=lambda item: item[1])
    if most < LONGER * least:
        return []
    setting = f"--set {stage.name.partition('-')[0]}.loss_per=target"
    return [
        f"the answers of {long} are about {most / max(1, least):.0f} times as long as those of {short}, and each token counts the same, so "
        f"that {short} is hardly learned; with {setting} each row does"
    ]


def _split(task: Task) -> list[str]:
    """Return how a task in one file is split, since a small file leaves few rows to measure on; of others nothing."""
    file = Path(task.source)
    if file.suffix not in SUFFIXES or not file.is_file():
        return []
    train, validation, test = (f"{len(task.splits[name]):,}" for name in SPLITS)
    parts = f"{train} rows to train on, {validation} for validation, {test} to test"
    return [f"{one_line(task.name)}: {one_line(file.name)} is its only file, so it is split by content: {parts}"]
