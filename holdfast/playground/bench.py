"""Contents of the playground, without its page: the models of a run or any others, tasks, and their answers to one input."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from holdfast.api.load import load
from holdfast.api.moved_base import stand_in
from holdfast.evaluation.matrix import clean
from holdfast.inference.model import Model
from holdfast.inference.sampling import Sampling
from holdfast.playground.parting import Parting, part
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
from holdfast.tasks.task import Example, Task
from holdfast.tasks.text.templates import choose_demonstrations, prompt_for_text, question

PLAIN = "plain text"
MOST_TASKS, MOST_SHOTS = 8, 4  # whose examples are offered; demonstrations that can be chosen
BEGINNING = 12  # words of a document that the models are to go on with
MOST_ITEMS = 4  # of each task, where no report says which are worth a look
LIKELIEST = 5
LONGEST_INPUT = 100_000  # characters


@dataclass(frozen=True, slots=True)
class Reply:
    """One model's answer: its text, the likeliest first tokens with their probabilities, and where it parts from the first model's.

    `parting` is None of the first model itself, and where both say the same; then `same` names it.
    """

    state: str
    text: str
    first: list[tuple[str, float]]
    parting: Parting | None = None
    same: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """An item that the report shows, ready to be asked again."""

    task: str
    text: str
    shots: int
    target: str


@dataclass(frozen=True)
class Bench:
    """A run, or any models, opened for questions.

    `models` are by what the page calls them: the base, the tuned model with its prompt attached and, where the model itself was trained,
    removed; or each by its name. Answers are compared with the first one's. `tasks` are those of the run whose data is still there.
    """

    name: str
    verdict: str
    models: dict[str, Model]
    tasks: dict[str, Task]
    samples: list[Sample]
    of_run: bool = True  # so that the samples are those of its report

    def prompt(self, text: str, task: str, shots: int) -> str:
        """Return the prompt that the models read: the text after `shots` demonstrations of a task, or as it is.

        Raises:
            ValueError: the text is empty, or longer than any model here reads.
        """
        if not text.strip():
            raise ValueError("write something to ask, or choose an example")
        # Before it is tokenised, which takes minutes for megabytes, and others wait meanwhile.
        if len(text) > LONGEST_INPUT:
            raise ValueError(f"write at most {LONGEST_INPUT:,} characters")
        known = self.tasks.get(task)
        if known is None:  # Plain text, or a task whose data is gone.
            return text
        pool = known.splits.get("train") or known.splits.get("validation") or ()
        first = next(iter(self.models.values()))
        # A demonstration of the question itself would hand every model the answer.
        others = [example for example in pool if question(known.template, example) != text]
        shown = choose_demonstrations(
            known.template, others, min(shots, len(others)), mode="first", seed=0, index=0, exclude=None
        )
        return prompt_for_text(known.template, text, shown, first.pretrained.tokenizer)

    def ask(self, prompt: str, task: str, new: int) -> Iterator[Reply]:
        """Yield each model's greedy answer to a prompt of `prompt`, up to the task's stop strings or `new` tokens."""
        known = self.tasks.get(task)
        stop = known.template.stop if known else ()
        sampling = Sampling(max_new_tokens=new, stop=tuple(stop))
        (first, base), *_ = self.models.items()
        base_text = ""
        base_tokens: list[int] = []
        for state, model in self.models.items():
            tokens, text = model.written(prompt, sampling)
            likeliest = model.next_tokens(prompt, LIKELIEST)
            if model is base:
                base_text, base_tokens = text, tokens
                yield Reply(state, clean(text, stop), likeliest)
            elif text == base_text:
                yield Reply(state, clean(text, stop), likeliest, same=first)
            else:
                parting = part(prompt, base, base_tokens, model, tokens, sampling)
                yield Reply(state, clean(text, stop), likeliest, parting)


def opened(
    path: str | Path,
    *,
    dtype: str = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    trust_code: bool = False,
) -> Bench:
    """Return the models, tasks and examples of a finished run.

    Raises:
        ValueError: the folder is not that of a finished run of `tune`, or its tasks name code and `trust_code` is off.
    """
    if not RunFolder(Path(path)).is_run:
        raise ValueError(
            f"{path}: no run of `holdfast tune`; to ask any two models, name the second with --against MODEL"
        )
    run = run_folder.read(path)
    if not run.config or not run.pieces:
        raise ValueError(
            f"{path}: no trained model here; give the folder of a finished `holdfast tune`, or compare it with --against MODEL"
        )
    summary = Summary.of(run.scores)
    layout = RunFolder(run.path)
    config, targets = layout.config, layout.targets
    # Before any task is loaded: a folder that somebody sent may name a file of Python as its task.
    refuse_code([targets, config.get("general", ())], layout.config_file, trust_code=trust_code)
    loaded = chain.from_iterable(_tasks(name) for name in (*targets, *config.get("general", ())))
    tasks = {task.name: task for task in loaded}
    return Bench(
        run.name,
        sentences.plain(sentences.lead(summary)),
        _models(run.path, config, dtype, device, trust_remote_code),
        tasks,
        list(_samples(summary, run.outputs, tasks)),
    )


def compared(
    models: Sequence[str],
    tasks: Sequence[str] = (),
    *,
    dtype: str = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
) -> Bench:
    """Return any models beside each other, the first of which the others are compared with; `tasks` offer demonstrations and examples.

    Each is whatever `holdfast.load` takes; of a run's folder it is the tuned model with its prompt attached.

    Raises:
        ValueError: there is no such model or task, or a model is named twice.
    """
    if twice := sorted({name for name in models if models.count(name) > 1}):
        raise ValueError(f"{twice[0]}: is named twice; name two models")
    known = {task.name: task for task in chain.from_iterable(map(sources.load_tasks, tasks))}
    loaded = {
        name: load(
            model,
            base=stand_in(model, models[0], trust_remote_code=trust_remote_code),
            dtype=dtype,
            device=device,
            trust_remote_code=trust_remote_code,
        )
        for name, model in zip(_names(models), models, strict=True)
    }
    samples: list[Sample] = []
    for task in list(known.values())[:MOST_TASKS]:
        items = task.splits.get("test", ())[:MOST_ITEMS]
        samples += [Sample(task.name, *_shown(task, example)) for example in items]
    verdict = "The same input to each model; where an answer leaves that of the first, the probabilities there."
    return Bench(" and ".join(loaded), verdict, loaded, known, samples, of_run=False)


def _shown(task: Task, example: Example) -> tuple[str, int, str]:
    """Return the question of an example, without demonstrations, and its answer; of a document its beginning, and the rest."""
    if not task.template.asks_nothing:
        return question(task.template, example), 0, example.target
    words = example.target.split(" ")
    return " ".join(words[:BEGINNING]), 0, " ".join(words[BEGINNING:])


def _names(models: Sequence[str]) -> list[str]:
    """Return a short name for each model: the last parts of its path, as many as tell it from the others."""
    parts = [Path(model).parts for model in models]
    for length in range(2, max(map(len, parts)) + 1):
        names = ["/".join(path[-length:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    return list(models)


def _models(
    path: Path, config: Mapping[str, Any], dtype: str, device: str, trust_remote_code: bool
) -> dict[str, Model]:
    """Return the base, the tuned model behind each of its prompts, and without one where the model itself was trained."""
    removed = load(path, "off", dtype=dtype, device=device, trust_remote_code=trust_remote_code)
    # In the precision of the run, or the two would differ by more than training.
    base = load(
        config["model"],
        dtype=removed.pretrained.loading.dtype,
        device=device,
        trust_remote_code=trust_remote_code,
        date=config.get("date"),
    )
    models, prompts = {"Base": base}, RunFolder(path).prompts
    for name, folder in prompts.items():
        state = "Tuned, prompt attached" if len(prompts) == 1 else f"Tuned, prompt of {name}"
        # All tuned states share one set of weights: a prompt is only put in front of them.
        models[state] = Model(removed.pretrained, detached(load_prompt(folder, removed.pretrained)()))
    # A prompt alone leaves the model as it is: without it there would be the base a second time.
    if {"model", "adapter"} & set(RunFolder(path).pieces):
        models["Tuned, prompt removed" if prompts else "Tuned"] = removed
    return models


def _tasks(argument: str) -> list[Task]:
    """Return the tasks of an argument; none where their data is no longer there, so that the page still opens."""
    try:
        return sources.load_tasks(argument)
    except ValueError:
        return []


def _samples(summary: Summary, outputs: list[Output], tasks: dict[str, Task]) -> Iterator[Sample]:
    # The base's, because it was asked every item once; of the tuned model there may be an answer for each prompt.
    of_base = {(o.task, o.shots, o.index): o for o in outputs if o.variant == "base"}
    for group in examples.choose(outputs, summary)[:MOST_TASKS]:
        for item in group.items:
            output = of_base[group.task, item.shots, item.index]
            task = tasks.get(group.task)
            text, shots = _question(task, output)
            yield Sample(group.task if task else PLAIN, text, shots, output.target)


def _question(task: Task | None, output: Output) -> tuple[str, int]:
    """Return the item's question without its demonstrations and their number, or all that was asked where the task is gone."""
    test = task.splits.get("test", ()) if task else ()
    if task and output.index < len(test):
        text = question(task.template, test[output.index])
        # The data may have changed since; then the item at this index is another. A chat's text does not end with the question.
        if output.input.endswith(text) or task.template.chat:
            return text, output.shots
    return output.input, 0
