"""Ask a model the items of a task, every variant the same ones in the same words."""

import heapq
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain
from typing import Literal

from holdfast.evaluation import dialogues
from holdfast.evaluation.calibration import prior_of, questions_without_content
from holdfast.evaluation.interaction import Interact, PreparedItem
from holdfast.inference.given_text import log_likelihoods
from holdfast.inference.language_model import LanguageModel
from holdfast.inference.sampling import Sampling
from holdfast.results.metrics import metric
from holdfast.results.scores import Output, PromptState, Role
from holdfast.tasks.answers.choice_rules import wording
from holdfast.tasks.examples.nearest import ranking
from holdfast.tasks.loaders.language_grid import drawn_by
from holdfast.tasks.task import Example, Task
from holdfast.tasks.text.templates import Rendered, choose_demonstrations, render

Variant = Literal["base", "tuned", "base-again", "own-stage"]
LIKELIHOOD = "log-likelihood of the target"  # `Output.decoding` of an item that nothing is answered to
FEWEST_NEW_TOKENS = 16  # room for the answer of another task's format
# Items that are asked in one go. What a kill can cost, and what is in memory at a time; and enough that batches are full.
PART = 1024
INTERACTIONS: Mapping[str, Interact] = {"dialogue": dialogues.track}  # by the names that metrics have for them


@dataclass(frozen=True, kw_only=True)
class Asking:
    """All that an evaluation of a task depends on, beside the model and the task.

    Choices are ranked by log-likelihood where the metric is accuracy; with `generate_choices` the model also writes freely
    (`Output.generated`). Where it is a likelihood, only that of the target is asked. Otherwise the model generates until a stop string of
    the template. `limit` items are drawn by the task's name and
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


ZERO_SHOT = Asking()


def evaluate(model: LanguageModel, task: Task, asking: Asking = ZERO_SHOT) -> list[Output]:
    """Ask the items of the test split, and mark each answer with the task's metric, where that exists for one item.

    Raises:
        ValueError: the test split is empty, an item lacks choices that the metric needs, or the template does not fit.
    """
    questions = Questions(model, task, asking)
    return list(chain.from_iterable(map(questions.ask, questions.parts)))


@dataclass(frozen=True)
class _Answer:
    """An item with its answer: a text, the log-likelihoods of its choices and their `prior`, or both (`written` beside a choice).

    `new` is the room for new tokens that was kept behind the prompt; `truncated` is known of one whose target was read.
    """

    example: Example
    prompt: Rendered
    new: int
    text: str = ""
    written: str | None = None
    logprobs: tuple[float, ...] | None = None
    prior: tuple[float, ...] | None = None
    truncated: bool | None = None


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
        asking, measure, items = self.asking, self.metric, self._prepared(indices)
        answers = self._interacted(items) if measure.interaction else self._answered(items)
        words = demonstrations_in_words(asking.shots, asking.demonstrations, asking.demonstration_seed)
        decoding = (
            LIKELIHOOD
            if measure.reads_target
            else decoding_in_words(ranked=measure.pick is not None, written=self._generates, num_beams=asking.num_beams)
        )
        outputs = [
            Output(
                asking.variant, asking.prompt, self.task.name, asking.role, asking.shots, i, answer.prompt.prompt, answer.example.target,
                answer.text, answer.example.answers or (), answer.example.choices, answer.logprobs, truncated=cut, generated=answer.written,
                demonstrations=words, decoding=decoding, checks=answer.example.checks or (), prior=answer.prior,
            )
            for i, answer, cut in zip(indices, answers, _truncated(self.model, answers), strict=True)
        ]  # fmt: skip
        if measure.pick:
            outputs = [replace(output, output=measure.pick(output)) for output in outputs]
        # F1 over classes, or BLEU, exists for a task and not for an item; those are computed from the outputs later.
        return [replace(o, scores={measure.name: measure.value([o])}) if measure.is_mean else o for o in outputs]

    def _prepared(self, indices: Sequence[int]) -> list[PreparedItem]:
        """Return the items at these indices with their demonstrations."""
        task, asking = self.task, self.asking
        # As a slice where it is one: examples that stay on the disk are then read in one go.
        whole = self._examples[indices.start : indices.stop] if isinstance(indices, range) else None
        examples = [self._examples[i] for i in indices] if whole is None else whole
        # By the item's index and not by a running generator: an item has the same demonstrations whatever `limit` is.
        seed = asking.demonstration_seed
        return [
            PreparedItem(
                example,
                choose_demonstrations(
                    task.template, self._pool, asking.shots, mode=self._mode, seed=seed, index=i, exclude=example
                ),
                f"{task.name}/test[{i}]",
            )
            for i, example in zip(indices, examples, strict=True)
        ]

    def _interacted(self, items: Sequence[PreparedItem]) -> list[_Answer]:
        """Ask items that take several questions."""
        interact = INTERACTIONS[self.metric.interaction]
        ended = interact(self.model, self.task, items, self.asking.num_beams, self.asking.max_new_tokens)
        return [
            _Answer(replace(item.example, target=end.target), end.rendered, end.new, end.answer, end.written)
            for item, end in zip(items, ended, strict=True)
        ]

    def _answered(self, items: Sequence[PreparedItem]) -> list[_Answer]:
        """Ask items that take one question: rank their choices, let the model write, or both."""
        model, task, measure = self.model, self.task, self.metric
        if measure.reads_target:
            return self._read(items)
        prompts = [
            render(task.template, item.example, item.demonstrations, model.tokenizer, name=item.name) for item in items
        ]
        new = self._new if self._generates else 0
        answers = [_Answer(item.example, prompt, new) for item, prompt in zip(items, prompts, strict=True)]
        if measure.pick:
            free = (
                questions_without_content(task, items, model.tokenizer, self._wording) if measure.calibrated else None
            )
            answers = _ranked(model, items, answers, free or [()] * len(items))
        if self._generates:
            texts = _generate(model, task, prompts, new, self.asking.num_beams)
            beside = bool(measure.pick)
            answers = [
                replace(answer, text=text, written=text if beside else None)
                for answer, text in zip(answers, texts, strict=True)
            ]
        return answers

    def _read(self, items: Sequence[PreparedItem]) -> list[_Answer]:
        """Ask how probable the items' targets are: of documents, behind their first word."""
        if self.task.template.asks_nothing:
            documents = self.model.documents([item.example.target for item in items])
            texts = [Rendered(document.read, document.predicted) for document in documents]
            values, cuts = [document.value for document in documents], [False] * len(items)
        else:
            render_item = partial(render, self.task.template, tokenizer=self.model.tokenizer)
            texts = [render_item(item.example, item.demonstrations, name=item.name) for item in items]
            likelihoods = log_likelihoods(self.model, texts)
            values, cuts = zip(*((each.value, each.truncated) for each in likelihoods), strict=True)
        return [
            _Answer(replace(item.example, target=text.target), text, 0, logprobs=(value,), truncated=cut)
            for item, text, value, cut in zip(items, texts, values, cuts, strict=True)
        ]

    @property
    def _generates(self) -> bool:
        return self.metric.pick is None or self.asking.generate_choices

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


def _ranked(
    model: LanguageModel, items: Sequence[PreparedItem], answers: Sequence[_Answer], free: Sequence[Sequence[str]]
) -> list[_Answer]:
    """Return the answers with the log-likelihoods of each item's choices, and their prior behind its questions `free` of content."""
    questions: list[list[tuple[str, str]]] = []
    for item, answer in zip(items, answers, strict=True):
        if not item.example.choices:
            raise ValueError(
                f"{item.name} has no choices to rank; give every example `choices`, or use the metric exact_match"
            )
        questions.append([(answer.prompt.prompt, choice) for choice in _choices(answer)])
    without = [
        [[(prompt, choice) for _, choice in pairs] for prompt in prompts]
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
    return [
        replace(answer, logprobs=values, prior=prior)
        for answer, values, prior in zip(answers, logprobs, priors, strict=True)
    ]


def _choices(answer: _Answer) -> list[str]:
    """Return the choices of an item as they would follow its prompt, delimiter included."""
    example, text = answer.example, answer.prompt
    # The rendered target is the delimiter and the answer: without the answer, the delimiter is left, or nothing in a chat.
    return [text.target.removesuffix(example.target) + choice for choice in example.choices or ()]


def _generate(model: LanguageModel, task: Task, texts: Sequence[Rendered], new: int, num_beams: int) -> list[str]:
    stop = task.template.stop
    sampling = Sampling(max_new_tokens=new, stop=tuple(stop), num_beams=num_beams)
    return [clean(answer, stop) for answer in model.generate([text.prompt for text in texts], sampling)]


def clean(answer: str, stop: Sequence[str]) -> str:
    """Return the answer before the first stop string, without space at its ends."""
    return answer[: min((position for s in stop if (position := answer.find(s)) >= 0), default=None)].strip()


def _truncated(model: LanguageModel, answers: Sequence[_Answer]) -> list[bool]:
    """Return whether each item is cut, because it does not fit the model's positions beside its longest choice and the new tokens."""
    known = [answer.truncated for answer in answers if answer.truncated is not None]
    if known:
        return known
    pairs = [(answer.prompt.prompt, max(_choices(answer), key=len, default="")) for answer in answers]
    return model.cuts(pairs, answers[0].new)
