"""What the playground shows, without its page: the models of a run, its tasks, and their answers to one input."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.api.load import load
from holdfast.evaluation.matrix import clean
from holdfast.inference.model import Model
from holdfast.inference.sampling import Sampling
from holdfast.plugins import refuse_code
from holdfast.prefix.attached import detached
from holdfast.prompts.load import load_prompt
from holdfast.report import sentences
from holdfast.report.run import examples
from holdfast.results import run_folder
from holdfast.results.run_folder import RunFolder
from holdfast.results.scores import Output
from holdfast.results.summary import Summary
from holdfast.tasks import sources
from holdfast.tasks.task import Task
from holdfast.tasks.templates import behind, choose_demonstrations, question

PLAIN = "plain text"
MOST_TASKS, MOST_SHOTS = 8, 4  # whose examples are offered; demonstrations that can be chosen
LIKELIEST = 5


@dataclass(frozen=True, slots=True)
class Reply:
    """One model's answer: its text, and the likeliest first tokens with their probabilities."""

    state: str
    text: str
    first: list[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Sample:
    """An item that the report shows, ready to be asked again."""

    task: str
    text: str
    shots: int
    target: str


@dataclass(frozen=True)
class Bench:
    """A run opened for questions.

    `models` are by what the page calls them: the base, the tuned model with its prompt attached and, where the model itself was trained,
    removed. `tasks` are those of the run whose data is still there.
    """

    name: str
    verdict: str
    models: dict[str, Model]
    tasks: dict[str, Task]
    samples: list[Sample]

    def prompt(self, text: str, task: str, shots: int) -> str:
        """What the models read: the text behind `shots` demonstrations of a task, or as it is.

        Raises:
            ValueError: the text is empty.
        """
        if not text.strip():
            raise ValueError("write something to ask, or choose an example")
        known = self.tasks.get(task)
        if known is None:
            return text
        pool = known.splits.get("train") or known.splits.get("validation") or ()
        first = next(iter(self.models.values()))
        asked = [example for example in pool if question(known.template, example) != text]
        shown = choose_demonstrations(
            known.template, asked, min(shots, len(asked)), mode="first", seed=0, index=0, exclude=None
        )
        return behind(known.template, text, shown, first.pretrained.tokenizer)

    def ask(self, prompt: str, task: str, new: int) -> Iterator[Reply]:
        """Each model's greedy answer to a prompt of `prompt`, up to the task's stop strings or `new` tokens."""
        known = self.tasks.get(task)
        stop = known.template.stop if known else ()
        for state, model in self.models.items():
            (text,) = model.generate([prompt], Sampling(max_new_tokens=new, stop=tuple(stop)))
            yield Reply(state, clean(text, stop), model.next_tokens(prompt, LIKELIEST))


def opened(path: str | Path, *, trust_remote_code: bool = False, trust_code: bool = False) -> Bench:
    """Return the models, tasks and examples of a finished run.

    Raises:
        ValueError: the folder is not that of a finished run of `tune`, or its tasks name code and `trust_code` is off.
    """
    found = run_folder.read(path)
    if not found.config or not found.pieces:
        raise ValueError(f"{path}: no trained model here; give the folder of a finished `holdfast tune`")
    summary = Summary.of(found.scores)
    layout = RunFolder(found.path)
    config, targets = layout.config, layout.targets
    refuse_code([targets, config.get("general", ())], layout.config_file, trust_code=trust_code)
    tasks = {task.name: task for name in (*targets, *config.get("general", ())) for task in _tasks(name)}
    return Bench(
        found.name,
        sentences.plain(sentences.lead(summary)),
        _models(found.path, config, trust_remote_code),
        tasks,
        list(_samples(summary, found.outputs, tasks)),
    )


def _models(path: Path, config: Mapping[str, Any], trust_remote_code: bool) -> dict[str, Model]:
    """The base, the tuned model behind each of its prompts, and without one where the model itself was trained."""
    models, own = (
        {"Base": load(config["model"], trust_remote_code=trust_remote_code, date=config.get("date"))},
        RunFolder(path).prompts,
    )
    removed = load(path, "off", trust_remote_code=trust_remote_code)
    for name, place in own.items():
        state = "Tuned, prompt attached" if len(own) == 1 else f"Tuned, prompt of {name}"
        models[state] = Model(removed.pretrained, detached(load_prompt(place, removed.pretrained)()))
    if {"model", "adapter"} & set(RunFolder(path).pieces):
        models["Tuned, prompt removed" if own else "Tuned"] = removed
    return models


def _tasks(argument: str) -> list[Task]:
    """The tasks behind an argument; none where their data is no longer there, so that the page still opens."""
    try:
        return sources.load_tasks(argument)
    except ValueError:
        return []


def _samples(summary: Summary, outputs: list[Output], tasks: dict[str, Task]) -> Iterator[Sample]:
    asked = {(o.task, o.shots, o.index): o for o in outputs if o.variant == "base"}
    for group in examples.choose(outputs, summary)[:MOST_TASKS]:
        for item in group.items:
            output = asked[group.task, item.shots, item.index]
            task = tasks.get(group.task)
            text, shots = _question(task, output)
            yield Sample(group.task if task else PLAIN, text, shots, output.target)


def _question(task: Task | None, output: Output) -> tuple[str, int]:
    """The item's question without its demonstrations and their number, or all that was asked where the task is gone."""
    test = task.splits.get("test", ()) if task else ()
    if task and output.index < len(test):
        text = question(task.template, test[output.index])
        if output.input.endswith(text) or task.template.chat:
            return text, output.shots
    return output.input, 0
