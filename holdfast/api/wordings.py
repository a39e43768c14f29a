"""Rank the wordings of a task's question by the loss that they start with: the lower it is, the less tuning has to change."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from holdfast.api.load import load
from holdfast.tasks.sources import load_task
from holdfast.tasks.text.templates import render
from holdfast.tasks.text.tokenization import encode


@dataclass(frozen=True)
class Wording:
    """A wording of a task's question, and the model's mean loss of the answers behind it, in nats a token (end of the answer included)."""

    instruction: str
    input: str
    loss: float
    is_own: bool  # It is that of the task as it stands.
    record: str = "wording"


def wordings(
    model: str,
    task: str,
    inputs: Sequence[str] = (),
    instructions: Sequence[str] = (),
    *,
    rows: int = 64,
    dtype: str = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
) -> list[Wording]:
    """Return the task's own wording and every pair of `instructions` and `inputs` (Jinja, as in `task.yaml`), lowest loss first.

    The loss is that of the untrained model on `rows` training examples, evenly spaced, as the first step of training would have it. Of
    wordings that are learned equally well, those with a lower one have been found to cost less of what the model could do before
    (docs/questions/choosing-a-method.md has what was measured).

    Source: SAPO (ICML 2026), arXiv 2606.01967.

    Raises:
        ValueError: no other wording is given, one does not fit the task's fields, or the task has no training examples.
    """
    if not inputs and not instructions:
        raise ValueError("there is nothing to compare: give another wording with --input, --instruction, or both")
    read = load_task(task)
    examples = read.splits.get("train", ())
    if not examples:
        raise ValueError(f"{read.name}: has no training examples, whose answers the wordings are ranked by")
    if any(example.template for example in examples):
        raise ValueError(f"{read.name}: its examples have wordings of their own, which no other can replace")
    shown = [examples[i * len(examples) // min(rows, len(examples))] for i in range(min(rows, len(examples)))]
    standing = read.template
    others = [
        replace(standing, instruction=instruction, input=text)
        for instruction, text in product(instructions or (standing.instruction,), inputs or (standing.input,))
    ]
    templates = [standing, *(template for template in others if template != standing)]
    # Before the model is loaded: a wording with a wrong field is refused at once.
    for template in templates:
        try:
            render(replace(template, chat=False), shown[0], (), None, name=read.name)
        except ValueError as error:
            raise ValueError(f"wording {template.input!r}: {error}") from None
    loaded = load(model, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
    tokenizer, layout = loaded.pretrained.tokenizer, loaded.pretrained.architecture.layout

    ranked = []
    for template in templates:
        rows_of = [
            encode(
                tokenizer,
                render(template, example, (), tokenizer, name=read.name),
                max_length=loaded.pretrained.max_length,
                eos=True,
                name=read.name,
                layout=layout,
            )
            for example in shown
        ]
        scores = loaded.score_rows(rows_of)
        loss = -sum(score.value for score in scores) / sum(score.tokens for score in scores)
        ranked.append(Wording(template.instruction, template.input, loss, template is standing))
    return sorted(ranked, key=lambda wording: wording.loss)
