"""A metric whose items take several questions is an entry in two tables, and nothing else of the evaluation knows it."""

from dataclasses import replace

import pytest

from holdfast.evaluation import matrix
from holdfast.evaluation.interaction import Interaction
from holdfast.inference.sampling import Sampling
from holdfast.results.metrics import METRICS
from holdfast.tasks.task import Example, Task
from holdfast.tasks.text.templates import render
from tests.inference.table import TableModel

TASK = Task("again", {"test": tuple(Example({"input": f"c{i}"}, "sure") for i in range(3))}, metric="exact_match")


def test_every_metric_that_asks_several_questions_names_a_function_that_does() -> None:
    named = {metric.interaction for metric in METRICS.values()} - {""}
    assert named == set(matrix.INTERACTIONS)


def test_a_second_interaction_needs_no_change_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is asked again with its own first answer in front, and the second answer is marked."""

    def twice(model, task, items, num_beams, max_new_tokens):
        rendered = [
            render(task.template, item.example, item.demonstrations, model.tokenizer, name=item.name) for item in items
        ]
        sampling = Sampling(max_new_tokens=8, stop=("\n",), num_beams=num_beams)
        first = model.generate([each.prompt for each in rendered], sampling)
        second = model.generate(
            [f"{text}: {each.prompt}" for each, text in zip(rendered, first, strict=True)], sampling
        )
        return [
            Interaction(each, b.strip(), item.example.target, f"{a}|{b}", 8)
            for each, item, a, b in zip(rendered, items, first, second, strict=True)
        ]

    def answer(question: str) -> str:
        return " sure" if question in (" maybe: c0", " maybe: c2") else " maybe"

    monkeypatch.setitem(matrix.INTERACTIONS, "twice", twice)  # pyright: ignore[reportArgumentType]
    monkeypatch.setitem(
        METRICS, "second_answer", replace(METRICS["exact_match"], name="second_answer", interaction="twice")
    )
    outputs = matrix.evaluate(TableModel(writes=answer), replace(TASK, metric="second_answer"))
    assert [output.scores["second_answer"] for output in outputs] == [1.0, 0.0, 1.0]
    assert [output.generated for output in outputs] == [" maybe| sure", " maybe| maybe", " maybe| sure"]
