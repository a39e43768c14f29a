"""What a TASK argument means, and what is said where it means nothing."""

import json
import sys
from pathlib import Path

import pytest
from datasets import config

from holdfast.lab import world
from holdfast.tasks.catalogue.entries import ENTRIES, SUITES
from holdfast.tasks.everyday import suite
from holdfast.tasks.loaders.harness_examples import SUITES as HARNESS_SUITES
from holdfast.tasks.loaders.icl_probe import LANGUAGES
from holdfast.tasks.sources import expand, is_diagnostic, listing, load_task

LINES = "".join(json.dumps({"input": str(i), "target": str(i + 1)}) + "\n" for i in range(10))


def test_a_folder_a_file_and_a_lab_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sums").mkdir()
    (tmp_path / "sums" / "test.jsonl").write_text(LINES)
    (tmp_path / "one.jsonl").write_text(LINES)
    monkeypatch.chdir(tmp_path)
    assert set(load_task("sums").splits) == set(load_task(str(tmp_path / "sums/")).splits) == {"test"}
    assert set(load_task("one.jsonl").splits) == {"train", "validation", "test"}
    assert load_task("lab:reverse").name == "reverse"


def test_the_seed_moves_what_is_held_out(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text(LINES)
    assert load_task(str(path)) == load_task(str(path), seed=0)
    assert len({load_task(str(path), seed=seed).splits["test"][0].target for seed in range(8)}) > 1


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("lab:revers", r"lab:revers: no such task; did you mean `lab:reverse`\? `holdfast tasks`"),
        ("lab-reverse", r"lab-reverse: no such folder, file or task; did you mean `lab:reverse`\?"),
        ("some/where/train.jsonl", r"some/where/train.jsonl: no such folder, file or task; `holdfast tasks` lists"),
    ],
)
def test_an_unknown_task_is_answered_with_the_nearest(argument: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load_task(argument)


def test_the_listing_has_every_name_once_with_summary_and_source() -> None:
    names = [record["name"] for record in listing()]
    own = [*(f"probe:{name}" for name in LANGUAGES), "leetspeak:TASK", "pig-latin:TASK"]
    everyday = [f"everyday:{name}" for name in suite.names()]
    lab = [f"lab:{name}" for name in world.names()]
    assert names == ["everyday", *SUITES, "harness:standard", *ENTRIES, *lab, *everyday, *own]
    assert all(set(record) == {"name", "summary", "source"} and all(record.values()) for record in listing())


def test_a_mistyped_path_is_answered_with_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(LINES)
    with pytest.raises(ValueError, match=r"trian.jsonl: .*did you mean `.*/train.jsonl`"):
        load_task(str(tmp_path / "trian.jsonl"))


def test_a_hub_dataset_in_a_folder_directly_and_as_the_source_of_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "cache")
    data, task = tmp_path / "data", tmp_path / "sums"
    data.mkdir()
    task.mkdir()
    (data / "test.jsonl").write_text(LINES)
    (task / "task.yaml").write_text(f"source: hf:{data}\ninput: 'Add one to {{{{ input }}}}:'\n")
    assert len(load_task(f"hf:{data}").splits["test"]) == 10
    assert load_task(str(task)).template.input == "Add one to {{ input }}:"
    (task / "task.yaml").write_text("source: elsewhere")
    with pytest.raises(ValueError, match=r"task\.yaml: `source` is 'elsewhere'; write hf:dataset"):
        load_task(str(task))


def test_disguises_and_probes_are_diagnostics_and_nothing_else_is() -> None:
    found = [
        is_diagnostic(name)
        for name in ("leetspeak:lab:reverse", "pig-latin:rte", "probe:french", "leetspeak:probe:dutch")
    ]
    assert all(found)
    assert not any(
        is_diagnostic(name) for name in ("lab:reverse", "harness:piqa", "hf:rte", "rte", "probe", "C:/leetspeak")
    )


def test_a_suite_of_the_harness_stands_for_its_tasks_and_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"harness:standard is a suite of tasks.*harness:hellaswag"):
        load_task("harness:standard")
    # As where the extra is not installed.
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    monkeypatch.delitem(sys.modules, "holdfast.tasks.loaders.harness", raising=False)
    with pytest.raises(
        ValueError, match=r"harness: tasks need the lm-evaluation-harness; pip install 'holdfast\[harness\]'"
    ):
        expand("harness:standard")


@pytest.mark.slow
def test_the_harness_has_every_task_of_the_standard_suite() -> None:
    tasks = pytest.importorskip("lm_eval.tasks", reason="the extra `harness` is not installed")
    assert set(HARNESS_SUITES["harness:standard"]) <= set(tasks.TaskManager().all_tasks)
