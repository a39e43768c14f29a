"""PCP: texts of the template and one label each, the threshold, what is never labelled; the recipe's order and its whole run."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from holdfast.api.tune import tune
from holdfast.curation.base import CurationContext
from holdfast.curation.pseudo_labels import PseudoLabels
from holdfast.recipes.find import find_recipe
from holdfast.recipes.pipeline import compose
from holdfast.recipes.plan import RecipePlan
from holdfast.recipes.techniques import Techniques
from holdfast.stages.curate import Curate
from holdfast.stages.train import Train
from holdfast.tasks.examples.splits import subset
from holdfast.tasks.formats.write import read_rows
from holdfast.tasks.task import Example, Task, Template
from holdfast.tasks.task_set import TaskRef
from tests.recipes.worlds import QUICK, write_world

CHOICES = ("great", "terrible")
TRAIN = tuple(Example({"input": f"film {i}"}, CHOICES[i % 2], CHOICES) for i in range(6))
TASK = Task("films", {"train": TRAIN, "test": TRAIN[:1]}, Template("{{ input }}. It was"))


class Value(NamedTuple):
    value: float


class Fan:
    """Finds every film great, the surer the later its number."""

    tokenizer = None

    def loglikelihood(self, pairs: list[tuple[str, str]]) -> list[Value]:
        return [Value(float(prompt.partition(".")[0][-1]) if answer == " great" else 0.0) for prompt, answer in pairs]

    def generate(self, texts: list[str], sampling: Any) -> list[str]:
        return [f" said of {text[:6]}\nmore" for text in texts]

    def count_tokens(self, texts: list[str]) -> list[int]:
        return [len(text.split()) for text in texts]


def labelled(task: Task = TASK, others: tuple[Task, ...] = (), **settings: Any) -> list[Example]:
    context = CurationContext(task, model=Fan(), others=others)  # pyright: ignore[reportArgumentType]
    return list(PseudoLabels(**settings)(task.splits["train"], context))


def test_every_question_becomes_a_text_with_the_template_and_one_label() -> None:
    rows = labelled()
    assert [row.target for row in rows] == [f"film {i}. It was great" for i in range(6)]
    assert all(sum(row.target.count(choice) for choice in CHOICES) == 1 for row in rows)
    assert {(row.choices, row.demonstrations, len(row.fields)) for row in rows} == {(None, (), 0)}
    assert rows[0].origin == "pseudo-label: films/train[0], 0.500"


def test_the_threshold_keeps_what_the_model_is_sure_of() -> None:
    # Sure by e^i / (e^i + 1): above 0.9 from the third on (0.953, and 0.881 before).
    assert [row.target for row in labelled(confidence=0.9)] == [f"film {i}. It was great" for i in (3, 4, 5)]


def test_free_answers_are_written_and_have_no_threshold() -> None:
    free = Task("films", {"train": tuple(Example(e.fields, e.target) for e in TRAIN)}, TASK.template)
    assert labelled(free)[2].target == "film 2. It was said of film 2"
    with pytest.raises(ValueError, match=r"confidence=0.5: films/train\[0\] has no choices to be sure among"):
        labelled(free, confidence=0.5)


def test_questions_of_another_task_are_labelled_by_the_targets_template() -> None:
    other = Task(
        "more", {"train": (Example({"input": "film 9"}, "terrible", CHOICES),), "test": TRAIN}, Template("?{{ input }}")
    )
    assert [row.target for row in labelled(others=(other,), unlabelled="more")][6:] == ["film 9. It was great"]
    assert len(labelled(others=(other,), unlabelled="more", questions=2)) == 2


def test_parts_of_a_task_are_nested_in_each_seed_and_differ_between_seeds() -> None:
    """Not nested, a step of a learning curve would be other examples as well as more of them."""
    task = Task("t", {"train": tuple(Example({"input": str(i)}, "x") for i in range(200))})
    parts = [subset(task, limit, 1.0, 0).splits["train"] for limit in (5, 50, 200)]
    assert [len(part) for part in parts] == [5, 50, 200]
    for small, large in pairwise(parts):
        assert {e.fields["input"] for e in small} <= {e.fields["input"] for e in large}
    assert subset(task, None, 0.025, 0).splits["train"] == parts[0]
    assert len(subset(task, None, 1e-6, 0).splits["train"]) == 1
    assert subset(task, 5, 1.0, 1).splits["train"] != parts[0]
    assert subset(task, None, 1.0, 0) is task
    with pytest.raises(ValueError, match="train_limit=201: t has 200 training examples; ask for fewer"):
        subset(task, 201, 1.0, 0)


def test_the_texts_are_trained_from_the_models_own_weights_and_labelled_by_the_first_stage() -> None:
    plan = RecipePlan("model", (TaskRef("films"),), {"texts": {"steps": 7}}, 0, ("hash", "films-hash"))
    first, texts, model = find_recipe("pcp")(plan)
    assert isinstance(texts, Train)
    assert isinstance(model, Train)
    (curate,) = texts.tasks
    assert isinstance(curate, Curate)
    assert (curate.start, texts.start, model.start) == (first, None, texts)
    assert model.tasks == (TaskRef("films"),)
    chosen = RecipePlan("model", (TaskRef("films"),), {"curate": {"confidence": 0.8}}, 0, ("hash", "films-hash"))
    stage = compose(Techniques("pcp", curate="pseudo_labels"), chosen).stages[1]
    assert isinstance(stage, Train)
    assert isinstance(stage.tasks[0], Curate)
    assert stage.tasks[0].technique == PseudoLabels(confidence=0.8)
    assert isinstance(stage.tasks[0].start, Train)


def test_a_whole_run_and_its_resumption(tmp_path: Path) -> None:
    world = write_world(tmp_path, goal=["w20", "w21"])
    settings: dict[str, Any] = {
        f"{stage}.{key}": value
        for stage in ("labels", "texts", "model")
        for key, value in (("steps", 4), ("learning_rate", 1e-2))
    }
    settings |= {"labels.train_limit": 8, "model.train_limit": 8, "model.save_every": QUICK["model.save_every"]}
    run = tune(str(world / "model"), str(world / "goal"), "pcp", "none", shots=(0,), out=tmp_path / "run", **settings)
    rows = read_rows(run.folder / "data", "train")
    assert len(rows) == 24
    assert all(row.target.split()[-1] in ("w20", "w21") for row in rows)
    log = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(line["stage"] for line in log)) == ["labels", "texts", "model"]
    assert {line["stage"]: line["rows"] for line in log if "rows" in line} == {"labels": 8, "texts": 24, "model": 8}
    before = (run.folder / "scores.jsonl").read_bytes()
    done = {path: path.stat().st_mtime_ns for path in (run.folder / "stages").glob("*/done.json")}
    tune(str(world / "model"), str(world / "goal"), "pcp", "none", shots=(0,), out=tmp_path / "run", **settings)
    assert {path: path.stat().st_mtime_ns for path in (run.folder / "stages").glob("*/done.json")} == done
    assert (run.folder / "scores.jsonl").read_bytes() == before
    too_many: dict[str, Any] = {"model.train_limit": 99}
    with pytest.raises(ValueError, match="train_limit=99: goal has 24 training examples"):
        tune(
            str(world / "model"),
            str(world / "goal"),
            "full",
            "none",
            shots=(0,),
            out=tmp_path / "b",
            **too_many,
        )
