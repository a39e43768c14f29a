"""A harness task's documents as examples of ours: to train on, and to know its closed set of answers by. No harness is imported."""

from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.tasks.examples.splits import evenly, with_validation
from holdfast.tasks.task import HARNESS, Example, Template

SUITES = {
    # Common sense, science, language, knowledge, sums and instructions; each has a mark for every item. For those with a network.
    f"{HARNESS}standard": (
        "hellaswag", "piqa", "winogrande", "arc_easy", "arc_challenge", "openbookqa", "boolq", "commonsense_qa", "lambada_openai",
        "mmlu_high_school_geography", "mmlu_high_school_biology", "mmlu_high_school_psychology", "mmlu_us_foreign_policy",
        "mmlu_marketing", "truthfulqa_mc2", "gsm8k", "ifeval",
    ),
}  # fmt: skip
MOST = 20_000  # documents of a split, evenly spaced: as many as anybody trains on here, and read in a second or two


def examples(task: Any) -> Mapping[str, Sequence[Example]]:
    """Return the splits of a harness task, rendered as the harness would ask them.

    There are none where its requests have another form than question and answer (a text to score as a whole, one question for
    each choice, a beginning that is put into the answer's mouth).

    What the harness asks is `test`, and is never trained on: its validation split is our `test` where it has no other.
    """
    if not _is_question_and_answer(task):
        return {}
    documents = {"train": task.training_docs() if task.has_training_docs() else ()}
    if task.has_test_docs() and task.has_validation_docs():
        documents["validation"] = task.validation_docs()
    documents["test"] = task.eval_docs
    splits = {split: _examples(task, docs) for split, docs in documents.items() if len(docs)}
    return with_validation(template(task), splits, 0)


def template(task: Any) -> Template:
    """Return the template by which the harness joins a document's text, its answer and its demonstrations."""
    settings, stop = task.config, (task.config.generation_kwargs or {}).get("until") or ()
    stop = (stop,) if isinstance(stop, str) else tuple(stop)
    return Template(
        "{{ input }}",
        # The harness writes the description with its separator at the end, and our template puts one there.
        instruction=(settings.description or "").removesuffix(settings.fewshot_delimiter),
        delimiter=settings.target_delimiter,
        separator=settings.fewshot_delimiter,
        # An empty stop string would end every answer at once; the harness allows it.
        stop=tuple(text for text in stop if text) or ("\n",),
    )


def _is_question_and_answer(task: Any) -> bool:
    settings = task.config
    description = settings.description or ""
    return (
        task.OUTPUT_TYPE in ("multiple_choice", "generate_until")
        and not task.multiple_input
        and not settings.gen_prefix
        and isinstance(description, str)
        and (not description or description.endswith(settings.fewshot_delimiter))
    )


def _examples(task: Any, documents: Sequence[Any]) -> tuple[Example, ...]:
    return tuple(_example(task, documents[index]) for index in evenly(len(documents), MOST))


def _example(task: Any, document: Any) -> Example:
    choices = tuple(map(str, task.doc_to_choice(document))) if task.config.doc_to_choice is not None else None
    target, answers = task.doc_to_target(document), None
    if isinstance(target, list):
        answers = tuple(_answer(entry, choices) for entry in target)
    answer = answers[0] if answers else _answer(target, choices)
    return Example({"input": str(task.doc_to_text(document))}, answer, choices, answers)


def _answer(target: Any, choices: tuple[str, ...] | None) -> str:
    # Where there are choices, the harness gives the answer as an index into them, or as its text.
    return choices[target] if choices and isinstance(target, int) and 0 <= target < len(choices) else str(target)
