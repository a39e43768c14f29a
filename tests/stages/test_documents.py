"""Going on with pretraining: lines that are a text alone, from the file to the table."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.api.judging import Judging
from holdfast.api.tune import tune
from holdfast.curation._mixing import mixed_in
from holdfast.curation.base import CurationContext
from holdfast.evaluation.harness_samples import _requests
from holdfast.models.precision import FP32
from holdfast.prefix.model import PrefixModel
from holdfast.results.scores import Output, read_outputs, read_scores
from holdfast.results.summary import Summary
from holdfast.stages.training_rows import TrainingRows
from holdfast.tasks.examples.leakage import leakage
from holdfast.tasks.sources import load_task
from holdfast.tasks.task import DOCUMENT, Example, Task, Template
from tests.recipes.worlds import write_world
from tests.training import tiny


def text(count: int, seed: int) -> str:
    return " ".join(f"w{3 + (seed * 5 + (seed % 3 + 2) * i) % (tiny.VOCABULARY - 3)}" for i in range(count))


def write(folder: Path, sizes: dict[str, int], length: int = 12, **more: object) -> Path:
    folder.mkdir(parents=True)
    seed = 0
    for split, count in sizes.items():
        lines = []
        for _ in range(count):
            seed += 1
            lines.append(json.dumps({"text": text(length, seed), **more}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def rows_of(task: Task, **settings: int) -> TrainingRows:
    pretrained = tiny.pretrained()
    return TrainingRows(
        pretrained=pretrained,
        model=PrefixModel(pretrained.model),
        owner=None,
        prompt_of=lambda number, model: None,
        demonstrations=0,
        sampling="sampled",
        seed=0,
        loss_on="last",
        loss_per="token",
        truncation="input",
        **{"max_length": 1024, **settings},
    )


def documents(*texts: str) -> Task:
    return Task("docs", {"train": tuple(Example({}, each) for each in texts)}, DOCUMENT)


def test_a_line_that_is_a_text_alone_is_a_document(tmp_path: Path) -> None:
    task = load_task(str(write(tmp_path / "docs", {"train": 30, "test": 6})))
    assert (task.metric, task.template.asks_nothing) == ("likelihood", True)
    assert task.splits["test"][0].target == text(12, 31)
    assert len(task.splits["validation"]) == 3


def test_beside_other_keys_a_text_is_no_document_until_that_is_said(tmp_path: Path) -> None:
    folder = write(tmp_path / "docs", {"train": 30, "test": 6}, lable="x")
    with pytest.raises(ValueError, match="no `label`; is it `lable`"):
        load_task(str(folder))
    other = write(tmp_path / "other", {"train": 30, "test": 6}, source="web")
    with pytest.raises(
        ValueError, match='for documents to be learned as they are, write `input: ""` and `target: text`'
    ):
        load_task(str(other))
    (other / "task.yaml").write_text('input: ""\ntarget: text\n')
    assert load_task(str(other)).template.asks_nothing


def test_one_file_of_documents_is_split_like_any_other(tmp_path: Path) -> None:
    task = load_task(str(write(tmp_path / "docs", {"all": 40}) / "all.jsonl"))
    assert {name: len(examples) for name, examples in task.splits.items()} == {"train": 32, "validation": 4, "test": 4}


def test_a_document_that_is_in_train_and_test_is_found(tmp_path: Path) -> None:
    same, other = Example({}, text(12, 1)), Example({}, text(12, 2))
    task = Task("docs", {"train": (same, other, same), "test": (same,)}, DOCUMENT)
    found = leakage(task)
    assert (found.exact, found.repeated, found.contradicting) == (1, 1, 0)


def test_the_loss_of_a_document_is_transformers_own() -> None:
    """Every token behind the first, and the end."""
    rows = rows_of(documents(text(20, 1)))
    (row,) = rows.stream(documents(text(20, 1)), 0, 1).batch(0)
    ids = torch.tensor([[*rows.pretrained.tokenizer(text(20, 1))["input_ids"], rows.pretrained.tokenizer.eos_token_id]])
    assert row.tokens == tuple(ids[0].tolist())
    with torch.no_grad():
        theirs = rows.pretrained.model(ids, labels=ids).loss.item()
        logs = rows.pretrained.model(ids).logits[0].log_softmax(-1)
    weights = torch.tensor(row.weights[1:])
    ours = -(logs[:-1].gather(1, ids[0, 1:, None])[:, 0] * weights).sum() / weights.sum()
    assert ours.item() == pytest.approx(theirs, rel=1e-6)


def test_a_pass_has_all_of_a_long_document_and_its_end_once() -> None:
    long, short = text(200, 1), text(9, 2)
    rows = rows_of(documents(long, short), max_length=32)
    stream = rows.stream(documents(long, short), 0, 1)
    made = [row for group in stream.first(stream.size) for row in group]
    assert stream.size > 7
    assert all(len(row.tokens) <= 32 for row in made)
    end = rows.pretrained.tokenizer.eos_token_id
    # The second pieces come behind all first ones: put together again by the documents that their names say.
    ordered = sorted(made, key=lambda row: row.name.partition(",")[0])
    learned = [token for row in ordered for token in row.tokens]
    assert [token for token in learned if token != end] == rows.pretrained.tokenizer(f"{long} {short}")["input_ids"]
    assert learned.count(end) == 2
    assert all(sum(row.weights) == len(row.tokens) - 1 for row in made)
    # Drawn like other examples: a pass has each piece once.
    batches = [stream.batch(step)[0].tokens for step in range(stream.size)]
    assert sorted(batches) == sorted(row.tokens for row in made)


def test_documents_are_shown_no_demonstrations(tmp_path: Path) -> None:
    world = write_world(tmp_path, pick=["w3", "w4"])
    write(tmp_path / "docs", {"train": 24, "test": 6})
    begin = partial(tune, str(world / "model"), str(tmp_path / "docs"), general=None, limit=3)
    with pytest.raises(ValueError, match=r"model.demonstrations=2: docs has documents, which answer no question"):
        begin("fticl", out=tmp_path / "fticl")
    with pytest.raises(ValueError, match="grpo: learns from the model's answers to questions, and docs has documents"):
        begin("full+grpo", out=tmp_path / "grpo")
    with pytest.raises(ValueError, match="s3ft: rests on the task's questions, and docs has documents"):
        begin("full", curate="s3ft", out=tmp_path / "s3ft")
    assert not list(tmp_path.glob("*/report.html"))


@pytest.mark.parametrize("method", ["full", "promot", "promot_deep"])
def test_a_run_on_documents_beside_questions(tmp_path: Path, method: str) -> None:
    world = write_world(tmp_path, pick=["w3", "w4"])
    write(tmp_path / "docs", {"train": 24, "test": 6})
    write(tmp_path / "others", {"test": 8}, length=300)
    steps = {"model.steps": 8, "model.learning_rate": 1e-2}
    steps |= {"prompt.steps": 4, "prompt.length": 3} if method != "full" else {}
    general = [str(tmp_path / "others"), str(world / "pick")]
    run = tune(
        str(world / "model"), str(tmp_path / "docs"), method, general, shots=(0, 1), out=tmp_path / "run", **steps
    )
    scores = read_scores(run.folder)
    asked = {(s.task, s.shots) for s in scores}
    assert asked == {("docs", 0), ("others", 0), ("pick", 0), ("pick", 1)}, "documents are asked once"
    target = [s.metric for s in scores if s.task == "docs" and s.variant == "base"]
    assert target == ["likelihood", "bits_per_byte"]
    summary = Summary.of(scores)
    assert summary.gain is not None
    assert summary.gain.value > 1, "8 steps at 0.01 learn w-words that come one behind another"
    assert summary.retention is not None, "documents count among what is kept"
    assert not any("share" in s.metric for s in scores if s.task == "others"), "what is not answered has no format"
    docs = [o for o in read_outputs(run.folder) if o.task == "others" and o.variant == "base"]
    lines = (tmp_path / "others/test.jsonl").read_text().splitlines()
    assert [o.input + o.target for o in docs] == [json.loads(line)["text"] for line in lines]


def test_empty_documents_are_left_out_by_the_line_that_the_message_gives(tmp_path: Path) -> None:
    folder = write(tmp_path / "docs", {"train": 30, "test": 6})
    with (folder / "train.jsonl").open("a") as file:
        file.write('{"text": ""}\n{"text": " \\n"}\n')
    with pytest.raises(ValueError, match=r"train.jsonl:31, 32: `text` is empty") as refused:
        load_task(str(folder))
    (folder / "task.yaml").write_text(str(refused.value).partition("`keep:")[2].partition("`")[0].join(["keep:", "\n"]))
    assert sum(len(load_task(str(folder)).splits[split]) for split in ("train", "validation")) == 30


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("full", {"curate": "mix"}),
        ("full+replay", {"model.replay_tasks": "LONG"}),
        ("corda", {"model.calibrate": "LONG", "model.rank": 2}),
        ("full", {"analyses": ["label_mass", "gradient_alignment"], "curve": 1}),
    ],
    ids=["mixed in", "replayed", "calibrated by", "looked at"],
)
def test_documents_longer_than_the_model_beside_a_task_of_questions(
    tmp_path: Path, method: str, options: dict[str, object]
) -> None:
    """The model has 128 positions, and they have 300 words. The bugs: a target that does not fit, and demonstrations of a test split."""
    world = write_world(tmp_path, pick=["w3", "w4"])
    long = write(tmp_path / "long", {"train": 6, "test": 4}, length=300)
    named = {name: str(long) if value == "LONG" else value for name, value in options.items()}
    general = str(write(tmp_path / "tested", {"test": 4}) if "analyses" in options else long)
    given: dict[str, Any] = {"shots": (1,), "limit": 3, "model.steps": 3, "out": tmp_path / "run", **named}
    run = tune(str(world / "model"), str(world / "pick"), method, general, **given)
    assert {s.shots for s in read_scores(run.folder) if s.task != "pick"} == {0}


def test_mixed_in_a_document_is_no_turn_and_a_question_keeps_its_chat() -> None:
    chat = Template(input="{{ input }}", chat=True)
    questions = Task("chats", {"train": (Example({"input": "q"}, "a"),)}, chat)
    texts = Task("docs", {"train": (Example({}, text(20, 1)),)}, DOCUMENT)
    (document,) = mixed_in([texts], CurationContext(questions))[0]
    assert (document.template, document.demonstrations) == (DOCUMENT, ())
    (question,) = mixed_in([questions], CurationContext(texts))[0]
    assert (question.template, question.demonstrations) == (chat, None)


def test_what_writes_nothing_has_no_pairs_to_judge(tmp_path: Path) -> None:
    docs = load_task(str(write(tmp_path / "docs", {"train": 24, "test": 6})))
    with pytest.raises(ValueError, match="compares written answers"):
        Judging.of("lab", None, (), [docs], FP32)


def test_a_document_stands_in_the_harness_samples_as_context_and_continuation() -> None:
    output = Output("base", None, "docs", "target", 0, 0, "w3", " w4 w5", "", logprobs=(-7.5,))
    assert list(_requests(output, Task("docs", {}, DOCUMENT, "likelihood"))) == [("w3", " w4 w5")]
