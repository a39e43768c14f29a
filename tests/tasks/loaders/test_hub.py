"""Hugging Face datasets in a local folder: key sets, class labels, hidden labels, splits. Nothing is downloaded."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Value, config

from holdfast.tasks.formats import stored
from holdfast.tasks.formats.settings import TaskYaml
from holdfast.tasks.loaders.hub import read_hub

NLI = Features(
    {"premise": Value("string"), "label": ClassLabel(names=["entailment", "not_entailment"]), "idx": Value("int32")}
)
ASKED = TaskYaml(input="{{ premise }}", target="label")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", True)


def parquet(folder: Path, split: str, rows: list[dict[str, Any]], features: Features | None = None) -> Path:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows, features=features).to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def nli(n: int, label: int | None = None) -> list[dict[str, Any]]:
    return [{"premise": f"p{i}", "label": i % 2 if label is None else label, "idx": i} for i in range(n)]


def test_jsonl_in_a_folder_has_the_key_sets_of_files(tmp_path: Path) -> None:
    for split in ("train", "test"):
        lines = (json.dumps({"prompt": f"{split} {i}", "completion": " yes"}) for i in range(10))
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    task = read_hub(str(tmp_path), TaskYaml())
    assert {split: len(examples) for split, examples in task.splits.items()} == {
        "train": 9,
        "validation": 1,
        "test": 10,
    }
    assert (task.name, task.source) == (tmp_path.name, f"hf:{tmp_path}")


def test_class_labels_are_read_by_name_and_are_the_choices(tmp_path: Path) -> None:
    folder = parquet(tmp_path / "rte", "test", nli(2), NLI)
    task = read_hub(str(folder), ASKED)
    assert [example.target for example in task.splits["test"]] == ["entailment", "not_entailment"]
    assert {example.choices for example in task.splits["test"]} == {("entailment", "not_entailment")}
    assert task.metric == "accuracy"


def test_text_and_a_class_label_need_no_settings(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    folder = parquet(tmp_path / "imdb", "train", [{"text": str(i), "label": i % 2} for i in range(20)], features)
    task = read_hub(str(folder), TaskYaml())
    assert {split: len(examples) for split, examples in task.splits.items()} == {
        "train": 16,
        "validation": 2,
        "test": 2,
    }


def test_examples_without_a_label_are_left_out_and_validation_stands_in_for_a_hidden_test(tmp_path: Path) -> None:
    folder = tmp_path / "rte"
    parquet(folder, "train", [*nli(20), *nli(3, label=-1)], NLI)
    parquet(folder, "validation", nli(4), NLI)
    parquet(folder, "test", nli(5, label=-1), NLI)
    splits = read_hub(str(folder), ASKED).splits
    assert {split: len(examples) for split, examples in splits.items()} == {"train": 18, "validation": 2, "test": 4}


def test_a_large_split_stays_on_the_disk_and_is_the_same_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than one block, some without a label: the bug is an item under another one's number."""
    folder = tmp_path / "rte"
    parquet(folder, "train", nli(20), NLI)
    parquet(folder, "test", [row | {"label": -1 if i % 5 == 0 else i % 2} for i, row in enumerate(nli(200))], NLI)
    held = read_hub(str(folder), ASKED)
    monkeypatch.setattr(stored, "LARGE", 0)
    streamed = read_hub(str(folder), ASKED)
    ours, theirs = streamed.splits["test"], held.splits["test"]
    assert isinstance(ours, stored.Mapped)
    assert (streamed.version, tuple(ours)) == (held.version, theirs)
    for split in ("train", "validation"):
        assert isinstance(streamed.splits[split], stored.Mapped)
        assert tuple(streamed.splits[split]) == held.splits[split]
    assert len(ours) == 160
    for index in (0, 63, 64, 159, -1):
        assert ours[index] == theirs[index]
    assert tuple(ours[60:70]) == theirs[60:70]


def test_other_splits_are_chosen_by_the_settings_and_limited_evenly(tmp_path: Path) -> None:
    folder = tmp_path / "mnli"
    parquet(folder, "train", nli(10), NLI)
    parquet(folder, "test_mm", nli(10), NLI)
    settings = TaskYaml(input="{{ premise }}", target="label", splits={"test": "test_mm"}, limit=5)
    assert [e.fields["premise"] for e in read_hub(str(folder), settings).splits["test"]] == [
        "p0",
        "p2",
        "p4",
        "p6",
        "p8",
    ]
    with pytest.raises(ValueError, match=r"its splits are train, test_mm, not dev; .*splits: \{train"):
        read_hub(str(folder), TaskYaml(splits={"test": "dev"}))


def test_unknown_columns_ask_for_a_task_yaml_and_name_the_row(tmp_path: Path) -> None:
    folder = parquet(tmp_path / "x", "test", [{"alpha": "a", "beta": "b"}])
    with pytest.raises(ValueError, match=r"x/test\[0\]: its keys \(alpha, beta\) are none of .* task\.yaml"):
        read_hub(str(folder), TaskYaml())


def test_a_dataset_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hf:no-such/dataset: cannot be loaded") as caught:
        read_hub("no-such/dataset", TaskYaml())
    assert "\n" not in str(caught.value)
