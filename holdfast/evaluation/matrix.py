"""Ask a model the items of a task, every variant the same ones in the same words."""

import heapq
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Literal

from holdfast.evaluation import dialogues
from holdfast.evaluation.calibration import prior_of, questions_without_content
from holdfast.evaluation.interaction import Interact
from holdfast.inference.language_model import LanguageModel
from holdfast.inference.sampling import Sampling
from holdfast.results.metrics import metric
from holdfast.results.scores import Output, PromptState, Role
from holdfast.tasks.choice_rules import wording
from holdfast.tasks.language_grid import drawn_by
from holdfast.tasks.nearest import ranking
from holdfast.tasks.task import Example, Task
from holdfast.tasks.templates import Rendered, choose_demonstrations, render

Variant = Literal["base", "tuned", "base-again", "own-stage"]
FEWEST_NEW_TOKENS = 16  # room for the answer of another task's format
# Items that are asked in one go. What a kill can cost, and what is in memory at a time; and enough that batches are full.
PART = 1024
INTERACTIONS: Mapping[str, Interact] = {"dialogue": dialogues.track}  # by the names that metrics have for them


@dataclass(frozen=True, kw_only=True)
class Asking:
    """All that an evaluation of a task depends on, beside the model and the task.

    Choices are ranked by log-likelihood where the metric is accuracy; with `generate_choices` the model also writes freely
    (`Output.generated`). Otherwise it generates until a stop string of the template. `limit` items are drawn by the task's name and
    `seed` alone, and demonstrations by the item and `demonstration_seed` alone, so every variant is asked the same. Demonstrations
    come from the train split, else validation, and never from the test split; of the nearest ones, set n begins after n times `shots`.
    """

    shots: int = 0
    role: Role = "general"
    limit: int | None = None
    seed: int = 0
    variant: Variant = "base"
    prompt: PromptState = None
    demonstrations: str = "first"
    demonstration_seed: int = 0
    num_beams: int = 1
    max_new_tokens: int | None = None
    generate_choices: bool = False


def evaluate(
    model: LanguageModel,
    task: Task,
    *,
    shots: int = 0,
    role: Role = "general",
    limit: int | None = None,
    seed: int = 0,
    variant: Variant = "base",
    prompt: PromptState = None,
    demonstrations: str = "first",
    demonstration_seed: int = 0,
    num_beams: int = 1,
    max_new_tokens: int | None = None,
    generate_choices: bool = False,
) -> list[Output]:
    """Ask the items of the test split, as `Asking` says, and mark each answer with the task's metric, where that exists for one item.

    Raises:
        ValueError: the test split is empty, an item lacks choices that the metric needs, or the template does not fit.
    """
    asking = Asking(
        shots=shots, role=role, limit=limit, seed=seed, variant=variant, prompt=prompt, demonstrations=demonstrations,
        demonstration_seed=demonstration_seed, generate_choices=generate_choices, num_beams=num_beams, max_new_tokens=max_new_tokens,
    )  # fmt: skip
    questions = Questions(model, task, asking)
    return list(chain.from_iterable(map(questions.ask, questions.parts)))


class Questions:
    """The items of a task, ready to be asked part by part: what all parts share (the order of demonstrations, the room for an answer) is
    worked out once, and nothing is kept of a part that was asked.

    Attributes:
        parts: The indices in the test split, `PART` to a part and in order; `ask` takes one. What a part is answered does not depend on
            the others, so that parts may be asked by several processes, or before and after a kill.

    Raises:
        ValueError: the test split is empty.
    """

    def __init__(self, model: LanguageModel, task: Task, asking: Asking) -> None:
        self.model, self.task, self.asking = model, task, asking
        self.metric, self._examples = metric(task.metric), task.splits.get("test", ())
        self.parts = parts_of(_drawn(drawn_by(task.name), len(self._examples), asking.limit, asking.seed))
        self._pool = task.splits.get("train") or task.splits.get("validation") or ()
        skip = asking.demonstration_seed * asking.shots
        self._mode = ranking(asking.demonstrations, task.template, self._pool, asking.shots, skip=skip)

    def ask(self, indices: Sequence[int]) -> list[Output]:
        """Return the items at these indices of the test split, answered and marked.

        Raises:
            ValueError: an item lacks choices that the metric needs, or the template does not fit.
        """
        model, task, asking, measure = self.model, self.task, self.asking, self.metric
        # As a slice where it is one: examples that stay on the disk are then read in one go.
        whole = self._examples[indices.start : indices.stop] if isinstance(indices, range) else None
        chosen = [self._examples[i] for i in indices] if whole is None else list(whole)
        # By the item's index and not by a running generator: an item has the same demonstrations whatever `limit` is.
        before = [
            choose_demonstrations(
                task.template, self._pool, asking.shots, mode=self._mode, seed=asking.demonstration_seed, index=i, exclude=example
            )
            for i, example in zip(indices, chosen, strict=True)
        ]  # fmt: skip
        names = [f"{task.name}/test[{i}]" for i in indices]
        generates = measure.pick is None or asking.generate_choices
        logprobs = priors = answers = written = [None] * len(chosen)
        if measure.interaction:
            interact = INTERACTIONS[measure.interaction]
            answered = interact(model, task, chosen, before, names, asking.num_beams, asking.max_new_tokens)
            texts, new = [item.rendered for item in answered], answered[0].new
            answers, written = [item.answer for item in answered], [item.written for item in answered]
            chosen = [replace(example, target=item.target) for example, item in zip(chosen, answered, strict=True)]
        else:
            new = self._new
            texts = [
                render(task.template, example, shown, model.tokenizer, name=name)
                for example, shown, name in zip(chosen, before, names, strict=True)
            ]
            free = (
                questions_without_content(task, chosen, before, model.tokenizer, self._wording)
                if measure.calibrated
                else written
            )
            if measure.pick:
                logprobs, priors = _rank(model, task, indices, chosen, texts, free)
            if generates:
                answers = _generate(model, task, texts, new, asking.num_beams)
                written = answers if measure.pick else written
        truncated = _truncated(model, chosen, texts, new if generates else 0)
        words = demonstrations_in_words(asking.shots, asking.demonstrations, asking.demonstration_seed)
        decoding = decoding_in_words(ranked=measure.pick is not None, written=generates, num_beams=asking.num_beams)
        outputs = [
            Output(
                asking.variant, asking.prompt, task.name, asking.role, asking.shots, i, text.prompt, example.target,
                answer or "", example.answers or (), example.choices, values, truncated=cut, generated=alone,
                demonstrations=words, decoding=decoding, checks=example.checks or (), prior=prior,
            )
            for i, example, text, values, prior, answer, alone, cut in zip(
                indices, chosen, texts, logprobs, priors, answers, written, truncated, strict=True
            )
        ]  # fmt: skip
        if measure.pick:
            outputs = [replace(output, output=measure.pick(output)) for output in outputs]
        # F1 over classes, or BLEU, exists for a task and not for an item; those are computed from the outputs later.
        return [replace(o, scores={measure.name: measure.value([o])}) if measure.is_mean else o for o in outputs]

    @cached_property
    def _new(self) -> int:
        return self.asking.max_new_tokens or longest_answer(self.task, self.model)

    @cached_property
    def _wording(self) -> frozenset[str]:
        # Of all items and not of a part: what is no content in one part must be none in the others.
        return wording(self._examples)


def parts_of(indices: Sequence[int]) -> list[Sequence[int]]:
    """Return the indices in parts of `PART`; a range stays ranges, which take no memory."""
    return [indices[start : start + PART] for start in range(0, len(indices), PART)]


def demonstrations_in_words(shots: int, mode: str, seed: int) -> str:
    """Return a description of the examples before a question, for `Output.demonstrations`."""
    if shots == 0:
        return "none"
    if mode not in ("first", "sampled"):
        measure = mode.partition(":")[2] or "words"
        return f"the nearest to each item by {measure}" + (f", after the first {seed * shots}" if seed else "")
    return "the first, the same for all items" if mode == "first" else f"sampled for each item, set {seed}"


def decoding_in_words(*, ranked: bool, written: bool, num_beams: int) -> str:
    """Return a description of the decoding, for `Output.decoding`: picked among choices, written, or both."""
    search = "greedy" if num_beams == 1 else f"beam search, {num_beams} beams"
    if not ranked:
        return search
    return f"ranked choices; written freely beside them: {search}" if written else "ranked choices"


def items(task: Task, limit: int | None, seed: int) -> list[int]:
    """Return the indices in the test split that are asked: all, or `limit` drawn by the task's name and the seed, ascending."""
    return items_of(drawn_by(task.name), len(task.splits.get("test", ())), limit, seed)


def items_of(name: str, n: int, limit: int | None, seed: int) -> list[int]:
    """Return `items` of a task with this name and n items to ask.

    Raises:
        ValueError: there is nothing to ask.
    """
    return list(_drawn(name, n, limit, seed))


def _drawn(name: str, n: int, limit: int | None, seed: int) -> Sequence[int]:
    if n == 0 or limit == 0:
        raise ValueError(f"task {name}: nothing to ask; give it a test split, and a limit of 1 or more")
    if limit is None or limit >= n:
        return range(n)
    # By the name as well: with the seed alone, tasks of one size would all be asked the items at the same indices.
    return sorted(random.Random(f"{name}:{seed}").sample(range(n), limit))


def longest_answer(task: Task, model: LanguageModel) -> int:
    """Return the most tokens of an answer: 1.5 times the longest training target, at least 16, at most half the model's positions."""
    examples = task.splits.get("train") or chain.from_iterable(task.splits.values())
    # The longest in characters: the longest in tokens is among them, as a rule, and the targets of a large task need not all be tokenized.
    # Of equally long ones the last.
    numbered = enumerate(task.template.delimiter + example.target for example in examples)
    texts = [text for _, text in heapq.nlargest(64, numbered, key=lambda pair: (len(pair[1]), pair[0]))]
    bound = max(FEWEST_NEW_TOKENS, math.ceil(1.5 * max(model.count_tokens(texts))))
    return min(bound, model.room // 2)


def _rank(
    model: LanguageModel,
    task: Task,
    indices: Sequence[int],
    examples: Sequence[Example],
    texts: Sequence[Rendered],
    free: Sequence[Sequence[str] | None],
) -> tuple[list[tuple[float, ...]], list[tuple[float, ...] | None]]:
    """Return each item's log-likelihoods of its choices, and `prior` behind its questions `free` of content, where there are any."""
    questions: list[list[tuple[str, str]]] = []
    for index, example, text in zip(indices, examples, texts, strict=True):
        if not example.choices:
            raise ValueError(
                f"{task.name}/test[{index}] has no choices to rank; give every example `choices`, or use the metric exact_match"
            )
        questions.append([(text.prompt, choice) for choice in _choices(example, text)])
    without = [
        [[(prompt, choice) for _, choice in pairs] for prompt in prompts or ()]
        for pairs, prompts in zip(questions, free, strict=True)
    ]
    # Items share the questions without content, which are asked once. All in one call, because the model computes a prompt once for
    # all of its choices.
    shared = dict.fromkeys(chain.from_iterable(chain.from_iterable(without)))
    pairs = [*chain.from_iterable(questions), *shared]
    values = [score.value for score in model.loglikelihood(pairs)]
    known = dict(zip(shared, values[len(pairs) - len(shared) :], strict=True))
    rest = iter(values)
    logprobs = [tuple(next(rest) for _ in pairs) for pairs in questions]
    priors = [prior_of([[known[pair] for pair in pairs] for pairs in each]) if each else None for each in without]
    return logprobs, priors


def _choices(example: Example, text: Rendered) -> list[str]:
    """Return the choices as they would follow the prompt, delimiter included."""
    # The rendered target is the delimiter and the answer: without the answer, the delimiter is left, or nothing in a chat.
    return [text.target.removesuffix(example.target) + choice for choice in example.choices or ()]


def _generate(model: LanguageModel, task: Task, texts: Sequence[Rendered], new: int, num_beams: int) -> list[str]:
    stop = task.template.stop
    sampling = Sampling(max_new_tokens=new, stop=tuple(stop), num_beams=num_beams)
    return [clean(answer, stop) for answer in model.generate([text.prompt for text in texts], sampling)]


def clean(answer: str, stop: Sequence[str]) -> str:
    """Return the answer before the first stop string, without space at its ends."""
    return answer[: min((position for s in stop if (position := answer.find(s)) >= 0), default=None)].strip()


def _truncated(model: LanguageModel, examples: Sequence[Example], texts: Sequence[Rendered], new: int) -> list[bool]:
    """Return whether each item is cut, because it does not fit the model's positions beside its longest choice and the new tokens."""
    longest = [max(_choices(e, text), key=len, default="") for e, text in zip(examples, texts, strict=True)]
    return model.cuts([(text.prompt, choice) for text, choice in zip(texts, longest, strict=True)], new)
