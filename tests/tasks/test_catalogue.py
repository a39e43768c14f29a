"""Every entry of the catalogue on rows with the columns of its data set, read from a local folder."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, config

from holdfast.tasks.catalogue.entries import ENTRIES, SUITES
from holdfast.tasks.sources import listing, load_task, load_tasks
from holdfast.tasks.task import Task
from holdfast.tasks.text.templates import render

PAIR = {"premise": "P.", "hypothesis": "H.", "label": 0}
TWO = {"sentence1": "A.", "sentence2": "B.", "label": 1}
NEWS = "### Input:\nlong\n### Summary:"
QUESTION = "### Input:\nc\n### Answer:\na\n### Question:"
# the row of each data set, and the prompt and target that the paper's template makes of it
ROWS: dict[str, tuple[dict[str, Any], str, str]] = {
    "promot-rte": (PAIR, "P. question: H. Is it true or false? answer:", " True"),
    "promot-snli": ({**PAIR, "label": 1}, "P. question: H. Is it true or false or neither? answer:", " Neither"),
    "promot-cb": ({**PAIR, "label": 1}, "P. question: H. Is it true or false or neither? answer:", " False"),
    "promot-wic": (
        {**TWO, "word": "w"},
        "A. B. question: The word w is used in the same way in the two sentences. Is it true or False? answer:",
        " True",
    ),
    "promot-openbookqa": (
        {"question_stem": "q", "choices": {"text": list("wxyz"), "label": list("ABCD")}, "answerKey": "C"},
        "Q: q A) w B) x C) y D) z A:",
        " C",
    ),
    "promot-triviaqa": ({"question": "q", "answer": {"value": "v", "aliases": ["v", "u"]}}, "Q: q A:", " v"),
    "promot-webquestions": ({"question": "q", "answers": ["v", "u"]}, "Q: q A:", " v"),
    "promot-en-fr": ({"translation": {"en": "cat", "fr": "chat"}}, "Translate English to French: cat", " chat"),
    "promot-en-de": ({"translation": {"en": "cat", "de": "Katze"}}, "Translate English to German: cat", " Katze"),
    "promot-en-ro": ({"translation": {"en": "cat", "ro": "pisică"}}, "Translate English to Romanian: cat", " pisică"),
    "promot-xsum": ({"document": "long", "summary": "short"}, "Article: long One sentence summary:", " short"),
    "promot-wikilingua": (
        {"article": {"document": ["a", "b"], "summary": ["c.", "d."]}},
        "Article: a b One sentence summary:",
        " c. d.",
    ),
    "fticl-xsum": ({"document": "long", "summary": "short"}, NEWS, "short"),
    "fticl-xlsum": ({"text": "long", "summary": "short"}, NEWS, "short"),
    "fticl-peerread": ({"metadata": {"abstractText": "long", "title": "short"}}, NEWS, "short"),
    "fticl-cnndm": ({"article": "long", "highlights": "short"}, NEWS, "short"),
    "fticl-socialiqa": (
        {"context": "c", "question": "q?", "answerA": "x", "answerB": "a", "answerC": "y", "label": "2\n"},
        QUESTION,
        "q?",
    ),
    "fticl-tweetqa": ({"Tweet": "c", "Question": "q?", "Answer": ["a", "b"]}, QUESTION, "q?"),
    "fticl-sciq": ({"support": "c", "question": "q?", "correct_answer": "a"}, QUESTION, "q?"),
    "fticl-amazon": ({"content": "t", "label": 0}, "### Input:\nt\n### Sentiment:", "negative"),
    "fticl-amazonfood": ({"Text": "t", "Score": 4}, "### Input:\nt\n### Sentiment:", "positive"),
    "fticl-sst2": ({"sentence": "t", "label": 1}, "### Input:\nt\n### Sentiment:", "positive"),
    "fticl-yelp": ({"text": "t", "label": 2}, "### Input:\nt\n### Sentiment:", "negative"),
    "fticl-paws": (TWO, "### Input_1:\nA.\n### Input_2:\nB.\n### Paraphrase Classification:", "yes"),
    "fticl-qqp": (
        {"question1": "A?", "question2": "B?", "label": 0},
        "### Input_1:\nA?\n### Input_2:\nB?\n### Paraphrase Classification:",
        "no",
    ),
    "fticl-stsb": (
        {**TWO, "label": 3.6},
        "### Input_1:\nA.\n### Input_2:\nB.\n### Paraphrase Classification:",
        "yes",
    ),
    "fticl-mnli": ({**PAIR, "label": 2}, "### Input_1:\nP.\n### Input_2:\nH.\n### Inference:", "contradiction"),
    "fticl-mnli-mm": (PAIR, "### Input_1:\nP.\n### Input_2:\nH.\n### Inference:", "entailment"),
    "fticl-rte": (TWO, "### Input_1:\nA.\n### Input_2:\nB.\n### Inference:", "neutral"),
    "fticl-gptnli": (
        {"text_a": "A.", "text_b": "B.", "label": 1},
        "### Input_1:\nA.\n### Input_2:\nB.\n### Inference:",
        "neutral",
    ),
}
ALTERNATIVE = {
    "fticl-xsum-p2": "Please read the following text:long\nProvide a summary:",
    "fticl-sciq-p2": "Given the context:c\nAnd the answer:a\nGenerate a suitable question:",
    "fticl-amazon-p2": "Analyze the sentiment of the following text:t\nSentiment:",
    "fticl-mnli-p2": "Consider the following texts: Text 1:P.\nText 2:H.\nThe relation is ",
    "fticl-paws-p2": "Let's compare the two sentences: Sentence_1:A.\nSentence_2:B.\nAre they paraphrasing?:",
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", True)


def load(name: str, folder: Path) -> Task:
    folder.mkdir(exist_ok=True)
    (folder / "test.jsonl").write_text(json.dumps(ROWS[name.removesuffix("-p2")][0]) + "\n", encoding="utf-8")
    return load_task(f"{name}@{folder}")


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_reads_its_columns_and_asks_as_its_paper_does(name: str, tmp_path: Path) -> None:
    row, prompt, target = ROWS[name.removesuffix("-p2")]
    task = load(name, tmp_path / "data")
    (example,) = task.splits["test"]
    rendered = render(task.template, example)
    assert rendered.target == target
    assert rendered.prompt == ALTERNATIVE.get(name, rendered.prompt if name.endswith("-p2") else prompt)
    assert set(ENTRIES[name].columns) == set(row)
    assert (task.name, task.metric) == (name, ENTRIES[name].settings.metric)
    assert (task.metric == "accuracy") == bool(example.choices)


def test_an_answer_ends_where_the_paper_cuts_it(tmp_path: Path) -> None:
    """ProMoT: the task's own prefix begins a next example. FTICL: an empty line."""
    for name in ENTRIES:
        template = load(name, tmp_path / name).template
        begins = ROWS[name.removesuffix("-p2")][1].split()[0]
        if begins in ("Q:", "Translate", "Article:"):
            assert begins in template.stop
        assert template.stop == ("\n\n",) if name.startswith("fticl") else template.stop[0].startswith("\n")


def test_every_entry_is_listed_with_its_paper_and_role() -> None:
    listed = {line["name"]: line["source"] for line in listing()}
    for name, entry in ENTRIES.items():
        assert listed[name].startswith(f"{entry.paper} ({entry.role}); ")
    assert sum(entry.role == "target" and entry.paper.endswith("2211.00635") for entry in ENTRIES.values()) == 4


def test_the_suites_are_eight_tasks_to_keep_and_five_to_tune_on(tmp_path: Path) -> None:
    assert [len(SUITES[suite]) for suite in ("promot-eight", "fticl-five")] == [8, 5]
    for name in SUITES["promot-eight"]:
        load(name, tmp_path / name)
    assert tuple(task.name for task in load_tasks(f"promot-eight@{tmp_path}")) == SUITES["promot-eight"]
    assert [task.name for task in load_tasks(f"promot-cb@{tmp_path / 'promot-cb'}")] == ["promot-cb"]
    with pytest.raises(ValueError, match="promot-eight is a suite of tasks, and one is needed here"):
        load_task("promot-eight")


def test_labels_may_be_numbers_or_the_names_of_a_class_label(tmp_path: Path) -> None:
    rows = Dataset.from_list([PAIR, {**PAIR, "label": -1}, {**PAIR, "label": 1}])
    named = rows.cast_column("label", ClassLabel(names=["entailment", "not_entailment"]))
    tasks = []
    for name, data in (("numbers", rows), ("names", named)):
        data.to_parquet(tmp_path / name / "test.parquet")
        tasks.append(load_task(f"promot-rte@{tmp_path / name}"))
    assert tasks[0].splits == tasks[1].splits
    assert [(e.target, e.choices) for e in tasks[0].splits["test"]] == [
        ("True", ("True", "False")),
        ("False", ("True", "False")),
    ]


def test_without_the_hub_a_name_says_which_columns_a_folder_needs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot be loaded.*without the hub, give a folder with the columns premise"):
        load_task("promot-rte")
    with pytest.raises(
        ValueError, match=r"no copy that loads without running.*columns Text, Score as fticl-amazonfood@"
    ):
        load_task("fticl-amazonfood")
    with pytest.raises(ValueError, match="there is no such folder"):
        load_task(f"promot-rte@{tmp_path / 'nowhere'}")
