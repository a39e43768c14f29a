"""Scores carry what was asked and how, from whoever asked to the file and the page; a real run shows its collapse."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast.api.tune import Run, tune
from holdfast.evaluation.matrix import Asking, evaluate
from holdfast.report.run.page import write_page
from holdfast.results import run_folder
from holdfast.results.compute_scores import score
from holdfast.results.scores import Circumstances, read_outputs
from holdfast.results.summary import Summary
from holdfast.tasks.task import Example, Task
from tests.inference.table import TableModel
from tests.recipes.worlds import write_world

LABELS = ["w3", "w4"]


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A tiny model, tuned at a great rate on two labels until it answers everything with them. The general task is marked by BLEU."""
    world = write_world(tmp_path_factory.mktemp("world"), pick=LABELS, copy=None, exact=None)
    (world / "copy" / "task.yaml").write_text('input: "{{ input }} w8"\nmetric: bleu\n')
    fields = {"model.steps": 60, "model.learning_rate": 1e-2, "model.save_every": 60}
    general = [str(world / "copy"), str(world / "exact")]
    return tune(str(world / "model"), str(world / "pick"), "full", general, out=world / "run", **fields)


def test_the_page_of_a_real_run_shows_answers_in_the_tuned_format_first_also_for_bleu(collapsed: Run) -> None:
    outputs = read_outputs(collapsed.folder)
    marked = {(o.variant, o.task) for o in outputs if o.scores.get("format_share")}
    assert {("tuned", "copy"), ("tuned", "exact")} <= marked, "the run no longer collapses, so it shows nothing"
    page = (collapsed.folder / "report.html").read_text()
    examples = page.split('id="examples"')[1]
    for task in ("copy", "exact"):
        block = examples.split(f">{task}")[1].split("<details")[0] if f">{task}" in examples else ""
        first = next(o for o in outputs if o.task == task and o.variant == "tuned" and o.scores.get("format_share"))
        assert first.output in block, f"no answer in the tuned format is shown of {task}"


def test_a_number_says_how_its_items_were_asked() -> None:
    task = Task(
        "t",
        {
            "train": tuple(Example({"input": f"t{i}"}, "Yes", ("Yes", "No")) for i in range(4)),
            "test": tuple(Example({"input": f"q{i}"}, "Yes", ("Yes", "No")) for i in range(4)),
        },
        metric="accuracy",
    )
    model, made = (
        TableModel({"Yes": -1, "No": -2}, lambda _: "Yes"),
        Circumstances(model="m", seed=3, versions={"a": "1"}),
    )
    written = replace(task, metric="exact_match")
    cases: list[tuple[Task, dict[str, Any], str, str]] = [
        (task, {}, "none", "ranked choices"),
        (task, {"generate_choices": True}, "none", "ranked choices; written freely beside them: greedy"),
        (written, {"shots": 2}, "the first, the same for all items", "greedy"),
        (written, {"shots": 2, "demonstrations": "sampled", "demonstration_seed": 5}, "sampled for each item, set 5", "greedy"),
        (written, {"num_beams": 4}, "none", "beam search, 4 beams"),
    ]  # fmt: skip
    for asked, options, demonstrations, decoding in cases:
        (found,) = score(evaluate(model, asked, Asking(**options)), [asked], circumstances=made)
        assert (found.demonstrations, found.decoding, found.split) == (demonstrations, decoding, "test")
        assert (found.model, found.seed, found.versions, found.template) == ("m", 3, {"a": "1"}, task.template.input)


def test_sampled_demonstrations_leave_their_trace_on_disk_and_the_run_on_its_page(
    collapsed: Run, tmp_path: Path
) -> None:
    world = collapsed.folder.parent
    holdfast.evaluate(
        str(world / "model"), [str(world / "pick")], shots=(1,), demonstrations="sampled", sets=2, out=tmp_path
    )
    (found,) = run_folder.read(tmp_path).scores
    assert (found.demonstrations, found.sets) == ("sampled for each item, set 0", 2)
    page = re.sub(r"\s+", " ", (collapsed.folder / "report.html").read_text())
    assert "none; the first, the same for all items" in page
    assert "ranked choices" in page
    assert "greedy" in page


def test_outputs_of_an_older_version_say_nothing_that_is_not_known() -> None:
    task = Task("t", {"test": (Example({"input": "q"}, "a"),)}, metric="exact_match")
    old = [replace(o, decoding="", demonstrations="") for o in evaluate(TableModel(writes=lambda _: "a"), task)]
    (found,) = score(old, [task])
    assert (found.decoding, found.demonstrations) == ("", "")


def test_a_run_of_an_older_version_is_read_and_says_what_its_intervals_rest_on(tmp_path: Path) -> None:
    """Without covariances and circumstances, as older versions wrote them: value and change stay, the page says what is assumed."""
    # The lab's model, because a general task counts only where the base is above chance.
    quick: dict[str, Any] = {"model.steps": 1, "limit": 20, "shots": (0,), "out": tmp_path / "run"}
    made = holdfast.tune("lab", "lab:elicit-sentiment", "full", "lab:kind", **quick)
    page = (made.folder / "report.html").read_text()
    assert "an older version wrote them" not in page
    newer = ("covariances", "demonstrations", "decoding")
    for name in ("scores.jsonl", "outputs.jsonl"):
        records = map(json.loads, (made.folder / name).read_text().splitlines())
        lines = [json.dumps({key: value for key, value in record.items() if key not in newer}) for record in records]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    old, new = (Summary.of(run_folder.read(folder).scores) for folder in (tmp_path, made.folder))
    assert old.general_change is not None
    assert new.general_change is not None
    assert old.general_change.value == new.general_change.value
    assert "an older version wrote them" in write_page(tmp_path).read_text()


def test_chance_counts_choices_that_are_spelled_alike_once() -> None:
    """Of the choices a, a and b a guess is right half of the time; of a, b, c and d a quarter: 3/8 over both items."""
    choices = (("a", "a", "b"), ("a", "b", "c", "d"))
    items = tuple(Example({"input": f"q{i}"}, "b", of_item) for i, of_item in enumerate(choices))
    task = Task("t", {"test": items}, metric="accuracy")
    (made,) = score(evaluate(TableModel(dict.fromkeys("abcd", -1.0)), task), [task])
    assert made.chance == 3 / 8
