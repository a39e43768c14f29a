"""The matrix of an evaluation: models x tasks x shots, asked the same items in the same words, and what follows from it."""

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from holdfast.inference.model import LanguageModel, Model
from holdfast.results import symptoms
from holdfast.results.metrics import Metric, metric
from holdfast.results.scores import Output, Role, Score
from holdfast.results.statistics import RESAMPLES, Estimate, paired, single
from holdfast.results.verdicts import MARGIN, judge
from holdfast.tasks.task import Example, Task
from holdfast.tasks.templates import Rendered, choose_demonstrations, render

AGAIN = "base-again"  # the base measured a second time
OWN = "own-stage"  # a target right after the stage that trained on it, before later ones moved the model
Variant = Literal["base", "tuned", "base-again", "own-stage"]
FEWEST_NEW_TOKENS = 16  # room for the answer of another task's format
Cell = tuple[str, str | None, str, int, int | None]  # variant, prompt, task, shots, step
ALONG = (
    "format_share",
    "collapse_share",
    "first_token_mass",
)  # the symptoms that are followed over the steps of training


def evaluate(
    model: LanguageModel,
    task: Task,
    *,
    shots: int = 0,
    role: Role = "general",
    limit: int | None = None,
    seed: int = 0,
    variant: Variant = "base",
    prompt: Literal["on", "off"] | None = None,
    demonstrations: Literal["first", "sampled"] = "first",
    demonstration_seed: int = 0,
    num_beams: int = 1,
    max_new_tokens: int | None = None,
    generate_choices: bool = False,
    tokenizer: Any = None,
) -> list[Output]:
    """Ask the items of the test split and mark each answer with the task's metric, where that exists for one item.

    Choices are ranked by log-likelihood where the metric is accuracy; with `generate_choices` the model also writes freely
    (`Output.generated`). Otherwise it generates until a stop string of the template. `limit` items are drawn by the task's name and
    `seed` alone, and demonstrations by the item and `demonstration_seed` alone, so every variant is asked the same. Demonstrations
    come from the train split, else validation, and never from the test split. `tokenizer` (that of a `Model` by default) serves chat
    templates and counts tokens.

    Raises:
        ValueError: the test split is empty, an item lacks choices that the metric needs, or the template does not fit.
    """
    kind, asked = metric(task.metric), task.splits.get("test", ())
    if isinstance(model, Model):
        tokenizer = tokenizer or model.pretrained.tokenizer
    chosen = items(task, limit, seed)
    pool = task.splits.get("train") or task.splits.get("validation") or ()
    texts = [
        render(
            task.template,
            asked[i],
            choose_demonstrations(pool, shots, mode=demonstrations, seed=demonstration_seed, index=i, exclude=asked[i]),
            tokenizer,
        )
        for i in chosen
    ]
    examples, new = [asked[i] for i in chosen], max_new_tokens or longest_answer(task, model, tokenizer)
    logprobs = _rank(model, task, chosen, examples, texts) if kind.pick else [None] * len(chosen)
    generates = kind.pick is None or generate_choices
    answers = _generate(model, task, texts, new, num_beams) if generates else [None] * len(chosen)
    truncated = _truncated(model, tokenizer, examples, texts, new if generates else 0)
    outputs = [
        Output(
            variant, prompt, task.name, role, shots, i, text.prompt, example.target, answer or "",
            example.answers or (), example.choices, values, truncated=cut, generated=answer if kind.pick else None,
        )
        for i, example, text, values, answer, cut in zip(
            chosen, examples, texts, logprobs, answers, truncated, strict=True
        )
    ]  # fmt: skip
    if kind.pick:
        outputs = [replace(output, output=kind.pick(output)) for output in outputs]
    return [replace(o, scores={kind.name: kind.value([o])}) if kind.is_mean else o for o in outputs]


def items(task: Task, limit: int | None, seed: int) -> list[int]:
    """Places in the test split that are asked: all, or `limit` drawn by the task's name and the seed, ascending."""
    return items_of(task.name, len(task.splits.get("test", ())), limit, seed)


def items_of(name: str, n: int, limit: int | None, seed: int) -> list[int]:
    """`items` of a task with this name and n items to ask."""
    if n == 0 or limit == 0:
        raise ValueError(f"task {name}: nothing to ask; give it a test split, and a limit of 1 or more")
    if limit is None or limit >= n:
        return list(range(n))
    return sorted(random.Random(f"{name}:{seed}").sample(range(n), limit))


def longest_answer(task: Task, model: LanguageModel, tokenizer: Any) -> int:
    """How many tokens an answer may have: 1.5 times the longest training target, at least 16, at most half the model's positions.

    Without a tokenizer a character counts as a token.
    """
    examples = task.splits.get("train") or [example for split in task.splits.values() for example in split]
    texts = sorted((task.template.delimiter + example.target for example in examples), key=len)[-64:]
    counts = [len(ids) for ids in _ids(tokenizer, texts)] if tokenizer is not None else [len(texts[-1])]
    bound = max(FEWEST_NEW_TOKENS, math.ceil(1.5 * max(counts)))
    return min(bound, _room(model) // 2)


def _rank(
    model: LanguageModel, task: Task, places: Sequence[int], examples: Sequence[Example], texts: Sequence[Rendered]
) -> list[tuple[float, ...] | None]:
    for place, example in zip(places, examples, strict=True):
        if not example.choices:
            raise ValueError(
                f"{task.name}/test[{place}] has no choices to rank; give every example `choices`, or use the metric exact_match"
            )
    pairs = [(text.prompt, choice) for e, text in zip(examples, texts, strict=True) for choice in _choices(e, text)]
    values = iter(found.value for found in model.loglikelihood(pairs))
    return [tuple(next(values) for _ in example.choices or ()) for example in examples]


def _choices(example: Example, text: Rendered) -> list[str]:
    """The choices as they would follow the prompt, delimiter included."""
    return [text.target.removesuffix(example.target) + choice for choice in example.choices or ()]


def _generate(model: LanguageModel, task: Task, texts: Sequence[Rendered], new: int, num_beams: int) -> list[str]:
    stop = task.template.stop
    found = model.generate([text.prompt for text in texts], max_new_tokens=new, stop=stop, num_beams=num_beams)
    return [clean(answer, stop) for answer in found]


def clean(answer: str, stop: Sequence[str]) -> str:
    """The answer before the first stop string, without space at its ends."""
    return answer[: min((place for s in stop if (place := answer.find(s)) >= 0), default=None)].strip()


def _truncated(
    model: LanguageModel, tokenizer: Any, examples: Sequence[Example], texts: Sequence[Rendered], new: int
) -> list[bool]:
    """Which items do not fit the model's positions beside their longest choice and the new tokens: their input is cut."""
    room = _room(model)
    if tokenizer is None or room >= 2**29:
        return [False] * len(texts)
    whole = [text.prompt + max(_choices(e, text), key=len, default="") for e, text in zip(examples, texts, strict=True)]
    if isinstance(model, Model) and model.pretrained.encoder_decoder:
        whole, new = [text.prompt for text in texts], 0
    return [len(ids) + new > room for ids in _ids(tokenizer, whole)]


def _ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    return tokenizer(list(texts), verbose=False)["input_ids"]


def _room(model: LanguageModel) -> int:
    if not isinstance(model, Model):
        return 2**30
    return model.pretrained.max_length - (0 if model.prompt is None else len(model.prompt))


def score(
    outputs: Iterable[Output],
    tasks: Iterable[Task],
    *,
    margin: float = MARGIN,
    floor: float = 0.0,
    resamples: int = RESAMPLES,
    **circumstances: Any,
) -> list[Score]:
    """Every number that follows from the outputs, each with interval and circumstances, and with the paired change from the base.

    One score a cell (variant, prompt, task, shots, step) by the task's metric, and for general tasks (not for diagnostics) the symptoms
    of format collapse (`holdfast.results.symptoms`). The base's outputs are those with variant "base"; its value by those with
    "base-again" stands in `Score.again`, and no smaller change is called gained or lost; the tuned model's change since those with
    "own-stage" stands in `Score.transfer`. `margin` and `floor` are as in
    `holdfast.results.verdicts.judge`; `circumstances` are fields of `Score`.

    Raises:
        ValueError: a cell was asked other items than its base, or belongs to a task that is not among `tasks`.
    """
    known = {task.name: task for task in tasks}
    cells: dict[Cell, list[Output]] = defaultdict(list)
    for output in outputs:
        cells[output.variant, output.prompt, output.task, output.shots, output.step].append(output)
    asked = dict.fromkeys(cell[0].task for cell in cells.values() if cell[0].role == "target")
    targets = [known[name] for name in asked if name in known]
    scores: list[Score] = []
    for key, cell in cells.items():
        if key[2] not in known:
            raise ValueError(f"outputs of the task {key[2]!r}, which is not among those given: {', '.join(known)}")
        if key[0] in (AGAIN, OWN):
            continue
        task, cell = known[key[2]], sorted(cell, key=lambda output: output.index)
        base = None if key[0] == "base" else _beside(cell, cells.get(("base", None, *key[2:4], None)))
        kind = metric(task.metric)
        found = {kind.name: _estimates(kind, cell, base, circumstances.get("seed", 0), resamples)}
        if targets and cell[0].role == "general":
            foreign = frozenset().union(*(symptoms.foreign_answers(target, task) for target in targets))
            signs = symptoms.symptoms(base, cell, foreign)
            found |= {name: signs[name] for name in signs if key[4] is None or name in ALONG}
        scores += [
            _score(name, kind if name == kind.name else None, cell, task, *estimates, circumstances)
            for name, estimates in found.items()
        ]
        if key[0] == "base" and (second := cells.get((AGAIN, *key[1:]))):
            scores[-len(found)] = replace(scores[-len(found)], again=kind.value(second))
        if key[0] == "tuned" and (before := _beside(cell, cells.get((OWN, *key[1:])))):
            _, moved = _estimates(kind, cell, before, circumstances.get("seed", 0), resamples)
            assert moved is not None
            named = {"transfer": moved.value, "transfer_low": moved.low, "transfer_high": moved.high}
            scores[-len(found)] = replace(scores[-len(found)], **named)
    return judge(scores, margin=margin, floor=floor)


def _beside(cell: Sequence[Output], other: Sequence[Output] | None) -> list[Output] | None:
    """Another cell's answers to the same items in the same order; None where there is no such cell."""
    if other is None:
        return None
    other = sorted(other, key=lambda output: output.index)
    if [(o.index, o.input) for o in other] != [(o.index, o.input) for o in cell]:
        raise ValueError(
            f"{cell[0].task}, {cell[0].shots} shots: {other[0].variant} and {cell[0].variant} were asked different items or in "
            "different words, so their difference says nothing; evaluate both with one task, limit and seed"
        )
    return other


def _estimates(
    kind: Metric, cell: Sequence[Output], base: Sequence[Output] | None, seed: int, resamples: int
) -> tuple[Estimate, Estimate | None]:
    own = kind.statistics(cell)
    value = single(kind, own, seed=seed, resamples=resamples)
    return value, None if base is None else paired(kind, kind.statistics(base), own, seed=seed, resamples=resamples)


def _score(
    name: str,
    kind: Metric | None,
    cell: Sequence[Output],
    task: Task,
    value: Estimate,
    change: Estimate | None,
    circumstances: Mapping[str, Any],
) -> Score:
    first, ranked = cell[0], kind is not None and cell[0].logprobs is not None
    guess = [1 / len(set(output.choices)) for output in cell if output.choices] if ranked else []
    return Score(
        variant=first.variant,  # pyright: ignore[reportArgumentType]
        prompt=first.prompt,  # pyright: ignore[reportArgumentType]
        task=first.task,
        role=first.role,  # pyright: ignore[reportArgumentType]
        shots=first.shots,
        metric=name,
        value=value.value,
        low=value.low,
        high=value.high,
        n=value.n,
        stderr=value.stderr,
        delta=None if change is None else change.value,
        delta_low=None if change is None else change.low,
        delta_high=None if change is None else change.high,
        p=None if change is None else change.p,
        chance=sum(guess) / len(cell),
        truncated=sum(output.truncated for output in cell),
        step=first.step,
        signature=kind.signature(cell) if kind else "",
        task_version=task.version,
        template=task.template.input,
        **{"decoding": "ranked choices" if ranked else "greedy", **circumstances},
    )
