"""The question that a server shows at its start: a real one, in its task's own template, so that the answer makes sense."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from holdfast.api.evaluate import default_tasks
from holdfast.inference.model import Model
from holdfast.results.run_folder import RunFolder
from holdfast.results.scores import Output, StoredOutputs
from holdfast.tasks import sources
from holdfast.tasks.text.templates import render

LOOKED_AT = 50  # items, of which the shortest is shown
FEWEST_TOKENS = 16


@dataclass(frozen=True)
class Trial:
    """A text to complete, the answer that its task has for it, and the task; `stop` ends an answer, as when the task was measured."""

    prompt: str = "Hello"
    max_tokens: int = FEWEST_TOKENS
    stop: tuple[str, ...] = ()
    target: str = ""
    task: str = ""


def trial_of_run(layout: RunFolder, targets: Sequence[str], model: Model) -> Trial:
    """Return a question to one of these targets as the run asked it, from its stored answers; "Hello" where it has none yet."""
    names = {sources.short(argument.rpartition(":")[2]) for argument in targets}
    # The only target needs no name: a task may have another one than its folder.
    wanted = None if len(layout.targets) == 1 else names
    outputs = list(islice(_asked_of_base(layout, wanted), LOOKED_AT))
    if not outputs:
        return Trial()
    if outputs[0].logprobs and outputs[0].choices is None:  # A document was read, and goes on as the model likes.
        return Trial(outputs[0].input, FEWEST_TOKENS)
    shots = min(output.shots for output in outputs)
    shortest = min((output for output in outputs if output.shots == shots), key=lambda output: len(output.input))
    lines = any("\n" in output.target for output in outputs)
    return _trial(model, shortest.input, shortest.target, () if lines else ("\n",), shortest.task)


def trial_of_model(argument: str, model: Model) -> Trial:
    """Return a question of the first general task that suits a model; "Hello" where none does."""
    try:
        task = sources.load_task(default_tasks(argument)[0])
    except (ValueError, OSError):
        return Trial()
    tokenizer = model.pretrained.tokenizer
    texts = [
        (render(task.template, item, (), tokenizer).prompt, item.target) for item in task.splits["test"][:LOOKED_AT]
    ]
    prompt, target = min(texts, key=lambda text: len(text[0]))
    return _trial(model, prompt, target, task.template.stop, task.name)


def _asked_of_base(layout: RunFolder, wanted: set[str] | None) -> Iterator[Output]:
    # The base is asked the target first, so that of a file of a million answers only the beginning is read.
    for output in StoredOutputs([layout.outputs_file] if layout.outputs_file.exists() else []):
        if output.role == "target" and output.variant == "base" and (wanted is None or output.task in wanted):
            yield output


def _trial(model: Model, prompt: str, target: str, stop: tuple[str, ...], task: str) -> Trial:
    # With room to spare: who sees an answer cut off cannot tell whether it would have been right.
    most = max(FEWEST_TOKENS, 2 * max(model.count_tokens([target])))
    return Trial(prompt, most, stop, target, task)
