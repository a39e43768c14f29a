"""A grid of languages: its cells as tasks, the words of the prompt's language, the same items for all prompts, and what is refused."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.evaluation.matrix import evaluate, items
from holdfast.report.console import text
from holdfast.report.language_grid import tables
from holdfast.report.run.page import page
from holdfast.results import run_folder
from holdfast.results.compute_scores import score
from holdfast.results.language_grid import read_grids
from holdfast.results.run_folder import write_results
from holdfast.tasks.loaders.language_grid import cell_of
from holdfast.tasks.sources import expand, load_task, load_tasks
from tests.inference.table import TableModel

PROMPTS = {
    "en": ["{{ input }}\nGood?", "Review: {{ input }}\nGood?"],
    "fr": [{"input": "{{ input }}\nBon ?", "answers": {"yes": "oui", "no": "non"}}],
}


def grid(folder: Path, size: int = 4, **changed: Any) -> str:
    for language in ("en", "de"):
        (folder / language).mkdir(exist_ok=True)
        lines = [
            {"input": f"{language}{i}", "target": ("yes", "no")[i % 2], "choices": ["yes", "no"]} for i in range(size)
        ]
        (folder / language / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    declared = {"name": "r", "data": {"en": "en", "de": "de"}, "prompts": PROMPTS, "groups": {"unseen": ["de"]}}
    (folder / "grid.yaml").write_text(json.dumps(declared | changed))  # JSON is YAML.
    return f"grid:{folder}/grid.yaml"


def test_every_language_is_asked_by_every_prompt_in_the_words_of_the_prompt(tmp_path: Path) -> None:
    tasks = load_tasks(grid(tmp_path))
    assert [task.name for task in tasks] == [
        "r:en@en.1", "r:en@en.2", "r:en@fr.1", "r:unseen:de@en.1", "r:unseen:de@en.2", "r:unseen:de@fr.1"
    ]  # fmt: skip
    french = tasks[5].splits["test"][1]
    assert (french.target, french.choices) == ("non", ("oui", "non"))
    assert tasks[4].template.input == "Review: {{ input }}\nGood?"
    assert load_task(tasks[5].source) == tasks[5]  # What a run writes down finds the cell again.
    assert len({task.version for task in tasks}) == 6


def test_an_english_cell_is_the_plain_evaluation(tmp_path: Path) -> None:
    [cell, *_] = load_tasks(grid(tmp_path))
    plain = load_task(str(tmp_path / "en"))
    plain = replace(plain, template=replace(plain.template, input="{{ input }}\nGood?"))
    outputs = [evaluate(TableModel({"yes": -1.0, "no": -2.0}), task) for task in (cell, plain)]
    assert [replace(o, task="") for o in outputs[0]] == [replace(o, task="") for o in outputs[1]]


def test_all_prompts_of_a_language_are_asked_the_same_items(tmp_path: Path) -> None:
    """By the task's whole name each prompt would draw items of its own, and a median over prompts would mix the two."""
    tasks = load_tasks(grid(tmp_path, size=40))
    drawn = [items(task, 5, 0) for task in tasks]
    assert drawn[0] == drawn[1] == drawn[2]
    assert drawn[3] == drawn[4] == drawn[5]


def test_the_table_is_the_median_over_prompts_and_the_mean_over_a_groups_languages(tmp_path: Path) -> None:
    """By hand: `yes` always is right on half of the items, `oui` on half; three English prompts give 50, 50 and 100 of the last data."""
    prompts = {"en": ["{{ input }} a", "{{ input }} b", "{{ input }} c"], "fr": PROMPTS["fr"]}
    tasks = load_tasks(grid(tmp_path, prompts=prompts, groups={"seen": ["en"], "unseen": ["de"]}))
    model = TableModel({"yes": -1.0, "no": -2.0, "oui": -1.0, "non": -2.0})
    outputs = []
    for task in tasks:
        answers = evaluate(model, task)
        if task.name == "r:unseen:de@en.3":
            answers = [
                replace(o, logprobs=(0.0, -1.0) if o.target == "yes" else (-1.0, 0.0), output=o.target) for o in answers
            ]
        outputs += answers
    tuned = [
        replace(o, variant="tuned", logprobs=(-1.0, 0.0) if o.choices == ("yes", "no") else o.logprobs) for o in outputs
    ]
    tuned = [replace(o, output=o.choices[1] if o.choices == ("yes", "no") else o.output) for o in tuned]  # type: ignore[index]
    [base] = read_grids(score(outputs, tasks))
    assert base.base["de", "en"] == [50, 50, 100]
    assert base.mean(["de"], "en") == (50, None)
    [both] = read_grids(score([*outputs, *tuned], tasks))
    assert both.mean(["en", "de"], "en") == (50, 50)
    assert both.groups == {"en": "seen", "de": "unseen"}
    shown = "".join(text(part, 80) for part in tables(score(outputs, tasks)))
    lines = [line.split() for line in shown.splitlines()]
    assert ["de", "(unseen)", "50.0", "50.0"] in lines
    assert ["mean:", "seen", "50.0", "50.0"] in lines


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"prompts": {"en": ["{{ inputs }}"]}}, r"prompts\.en, number 1: with the data of en: .*inputs"),
        ({"prompts": {"en": ["{{ input"]}}, r"prompts\.en, number 1: "),
        (
            {"prompts": {"fr": [{"input": "{{ input }}", "answers": {"yes": "oui"}}]}},
            r"`answers` has no word for 'no' \(yes\)",
        ),
        ({"prompts": {}}, r"grid\.yaml: prompts: there are none"),
        ({"prompts": {"e n": ["{{ input }}"]}}, r"grid\.yaml: prompts\.e n"),
        ({"groups": {"seen": ["ed"]}}, r"groups: there is no data in 'ed'; there is en, de"),
        ({"groups": {"seen": ["de"], "unseen": ["de"]}}, r"groups: 'de' is in two of them"),
        ({"data": {"en": "nowhere"}, "groups": {}}, r"nowhere: no such folder, file or task"),
        ({"dota": {}}, r"grid\.yaml: dota: unexpected keyword"),
    ],
)
def test_a_grid_that_cannot_be_asked_is_refused_in_one_line(tmp_path: Path, changed: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_tasks(grid(tmp_path, **changed))


def test_a_grid_is_several_tasks_and_a_cell_is_one(tmp_path: Path) -> None:
    argument = grid(tmp_path)
    with pytest.raises(ValueError, match=r"is a suite of tasks, and one is needed here"):
        load_task(argument)
    assert expand(f"{argument}#en@fr.1") == [f"{argument}#en@fr.1"]
    with pytest.raises(ValueError, match=r"the grid has no such cell"):
        load_task(f"{argument}#en@fr.2")
    with pytest.raises(ValueError, match=r"there is no such file"):
        load_tasks(f"grid:{tmp_path}/other.yaml")
    assert [cell_of(name) for name in ("nq@data", "everyday:capitals", "lab:kind", "mail@x.org")] == [None] * 4


def test_a_runs_page_has_the_grid(tmp_path: Path) -> None:
    tasks = load_tasks(grid(tmp_path))
    model = TableModel({"yes": -1.0, "no": -2.0, "oui": -1.0, "non": -2.0})
    outputs = [output for task in tasks for output in evaluate(model, task)]
    tuned = [replace(o, variant="tuned", output=o.target) for o in outputs]
    write_results(tmp_path / "run", [*outputs, *tuned], score([*outputs, *tuned], tasks), tasks)
    shown = page(run_folder.read(tmp_path / "run"))
    assert "Languages of data and of prompts" in shown
    assert re.search(r"<th[^>]*>mean: unseen</th><td[^>]*>50\.0 \(\+0\.0\)</td>", shown)
