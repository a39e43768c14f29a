"""Tasks of the lm-evaluation-harness as ours, and ours as its: the same numbers both ways, on real tasks and a real small model."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import holdfast
from holdfast.api.tune import Run
from holdfast.inference.model import Model
from holdfast.models import loading
from holdfast.results.scores import read_outputs
from holdfast.tasks.sources import expand, load_task

pytest.importorskip("lm_eval", reason="the extra `harness` is not installed")
SHARED = Path(__file__).parents[3] / "shared"
SHARED = SHARED if SHARED.exists() else Path("/work/shared")
NAMES, LIMIT = {"sst2": "accuracy", "copa": "accuracy", "trec": "accuracy", "country-capital": "exact_match"}, 12
needs_shared = pytest.mark.skipif(
    not SHARED.exists(), reason="the shared models and tasks are not beside this checkout"
)
pytestmark = pytest.mark.filterwarnings("ignore")  # the harness's own warnings are not ours to fix


def describe(folder: Path, name: str, data: Path, metric: str, **more: Any) -> None:
    """Write a harness task file over a folder's train and test, asked as our own default template asks."""
    ranked = metric == "accuracy"
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {split: str(data / f"{split}.jsonl") for split in ("train", "test")}},
        "training_split": "train",
        "test_split": "test",
        "fewshot_split": "train",
        "fewshot_config": {"sampler": "first_n"},
        "output_type": "multiple_choice" if ranked else "generate_until",
        "doc_to_text": "{{input}}\nAnswer:",
        "doc_to_target": "{{choices.index(target)}}" if ranked else "{{target}}",
        "metric_list": [
            {"metric": "acc" if ranked else "exact_match", "aggregation": "mean", "higher_is_better": True}
        ],
        "metadata": {"version": 1.0},
        **(
            {"doc_to_choice": "{{choices}}"} if ranked else {"generation_kwargs": {"until": ["\n"], "max_gen_toks": 16}}
        ),
        **more,
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(task))


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder with one small ranked task, and one that cannot be trained on."""
    data = tmp_path / "data"
    data.mkdir()
    for split, n in (("train", 30), ("test", 6)):
        items = [
            {"input": f"{i} and {i}", "choices": ["even", "odd"], "target": ("even", "odd")[i % 2]} for i in range(n)
        ]
        (data / f"{split}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    folder = tmp_path / "tasks"
    folder.mkdir()
    describe(folder, "parity", data, "accuracy", description="Even or odd?\n\n")
    describe(folder, "begun", data, "accuracy", gen_prefix="It is")
    (folder / "both.yaml").write_text(yaml.safe_dump({"group": "both", "task": ["parity", "begun"]}))
    return folder


def test_a_harness_task_has_the_examples_that_it_asks(made: Path) -> None:
    task = load_task(f"harness:parity@{made}")
    assert {split: len(found) for split, found in task.splits.items()} == {"train": 27, "validation": 3, "test": 6}
    first = task.splits["test"][0]
    assert (first.fields["input"], first.target, first.choices) == ("0 and 0\nAnswer:", "even", ("even", "odd"))
    assert (task.template.instruction, task.template.delimiter, task.metric) == ("Even or odd?", " ", "recorded:acc")
    assert load_task(f"harness:begun@{made}").splits == {}, (
        "an answer that the harness begins itself cannot be trained on"
    )


def test_a_group_is_its_tasks_and_no_target(made: Path, tmp_path: Path) -> None:
    assert expand(f"harness:both@{made}") == [f"harness:parity@{made}", f"harness:begun@{made}"]
    with pytest.raises(ValueError, match="a group of 2 tasks, and one is needed here"):
        load_task(f"harness:both@{made}")
    with pytest.raises(ValueError, match="describes no such task"):
        load_task(f"harness:nothing@{made}")
    with pytest.raises(ValueError, match="there is no such folder"):
        load_task(f"harness:nothing@{made}/nowhere")
    with pytest.raises(ValueError, match=r"harness:begun: no train split to train on"):
        holdfast.tune("lab", f"harness:begun@{made}", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_harness_task_is_tuned_on_and_kept(made: Path, tmp_path: Path) -> None:
    short: dict[str, Any] = {"prompt.steps": 2, "prompt.length": 2, "model.steps": 2}
    task = f"harness:parity@{made}"
    run: Run = holdfast.tune("lab", task, general=[f"harness:begun@{made}"], out=tmp_path / "run", **short)
    assert {(s.task, s.metric) for s in run.scores if s.role == "target"} == {("harness:parity", "acc")}
    general = [o for o in read_outputs(run.folder) if o.role == "general"]
    assert {o.variant for o in general} == {"base", "tuned"}
    assert all(o.generated is not None and o.logprobs for o in general), (
        "ranked, and written freely for format collapse"
    )
    assert (run.folder / "samples" / "tuned-prompt-on" / "samples_harness-parity_1-shot.jsonl").exists()


@pytest.mark.slow
@needs_shared
@pytest.mark.parametrize("shots", [0, 2])
def test_real_tasks_have_the_harnesss_own_numbers_both_ways(tmp_path: Path, shots: int) -> None:
    """Three ways to one number: its `hf` model, our model under its tasks, its tasks and our own under our evaluation."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from holdfast.evaluation.harness import HarnessModel
    from holdfast.evaluation.matrix import items_of

    pretrained = loading.load(SHARED / "models" / "stories260k")
    data = {name: SHARED / "data" / "tasks" / name for name in NAMES}
    data["country-capital"] = SHARED / "data" / "tasks" / "function_vectors" / "country-capital"
    for name, metric in NAMES.items():
        describe(tmp_path, name, data[name], metric)
    places = {name: items_of(f"harness:{name}", _count(data[name]), LIMIT, 0) for name in NAMES}
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    ask: Any = lm_eval.simple_evaluate  # its decorator hides its parameters
    huggingface: Any = HFLM
    huggingface = huggingface(pretrained=pretrained.model, tokenizer=pretrained.tokenizer, batch_size=4, device="cpu")
    theirs, ours = (
        ask(model=lm, tasks=list(NAMES), task_manager=manager, num_fewshot=shots, samples=places, bootstrap_iters=0)
        for lm in (huggingface, HarnessModel(Model(pretrained)))
    )
    model, arguments = str(SHARED / "models" / "stories260k"), [f"harness:{name}@{tmp_path}" for name in NAMES]
    scores = holdfast.evaluate(model, arguments, shots=[shots], limit=LIMIT, out=tmp_path / "out")
    for (name, metric), score in zip(NAMES.items(), scores, strict=True):
        key = {"accuracy": "acc,none", "exact_match": "exact_match,none"}[metric]
        assert score.value == theirs["results"][name][key] == ours["results"][name][key], name
        written = [json.loads(line) for line in _samples(tmp_path / "out", name, shots).read_text().splitlines()]
        for sample, mine, record in zip(theirs["samples"][name], written, read(tmp_path, name), strict=True):
            asked = [tuple(part.values()) for part in mine["arguments"].values()]
            if metric == "accuracy":
                assert asked == [tuple(one) for one in sample["arguments"]]
                # Sums of up to 10 float32 log-probabilities: 1e-5 is rounding; a token more or less is 0.1 and more.
                assert record.logprobs == pytest.approx([r[0] for r in sample["filtered_resps"]], abs=1e-4, rel=0)
            else:
                assert asked[0][0] == sample["arguments"][0][0]
                assert mine["filtered_resps"] == sample["filtered_resps"]


def _count(folder: Path) -> int:
    return len((folder / "test.jsonl").read_text().splitlines())


def _samples(folder: Path, name: str, shots: int) -> Path:
    return folder / "samples" / "base" / f"samples_harness-{name}_{shots}-shot.jsonl"


def read(folder: Path, name: str) -> list[Any]:
    return [output for output in read_outputs(folder / "out") if output.task == f"harness:{name}"]


@pytest.mark.slow
@needs_shared
def test_our_own_task_over_the_same_file_gives_the_same_marks(tmp_path: Path) -> None:
    """The same items through our reader and template, without the harness, against the harness's task file."""
    model = str(SHARED / "models" / "stories260k")
    describe(tmp_path, "copa", SHARED / "data" / "tasks" / "copa", "accuracy")
    for argument, out in ((f"harness:copa@{tmp_path}", "theirs"), (str(SHARED / "data" / "tasks" / "copa"), "ours")):
        holdfast.evaluate(model, [argument], shots=[1], out=tmp_path / out)
    theirs, ours = (read_outputs(tmp_path / out) for out in ("theirs", "ours"))
    assert [o.input for o in ours] == [o.input for o in theirs]
    assert [o.output for o in ours] == [o.output for o in theirs]
    assert [o.scores["accuracy"] for o in ours] == [o.scores["acc"] for o in theirs]
