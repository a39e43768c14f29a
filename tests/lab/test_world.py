"""The world's tasks: closed vocabulary, disjoint splits, the same for the same seed, and back through the tokenizer."""

import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from holdfast.lab import documents, replay_texts, targets, vocabulary, world
from holdfast.lab.curriculum import lesson
from holdfast.lab.sentences import story
from holdfast.lab.skills import SKILLS, Item, demonstrated, split_of
from holdfast.lab.tokenizer import build
from holdfast.tasks.task import Task
from holdfast.tasks.text.templates import render

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def tokenizer():
    return build()


def questions(task: Task, split: str) -> set[tuple[str, ...]]:
    return {tuple(str(value) for value in example.fields.values()) for example in task.splits[split]}


@pytest.mark.parametrize("name", world.names())
def test_every_task_renders_and_comes_back_from_the_tokenizer(name: str, tokenizer) -> None:
    """Four demonstrations, a question and a soft prompt of 100 vectors fit in 512 positions, and no word is unknown."""
    task = world.task(name)
    shown = task.splits["train"][:4]
    for example in task.splits["test"][:50]:
        rendered = render(task.template, example, shown)
        text = rendered.prompt + rendered.target
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
        assert len(ids) + 100 <= 512


@pytest.mark.parametrize("name", world.names())
def test_splits_share_no_question_and_targets_are_among_the_choices(name: str) -> None:
    task = world.task(name)
    train, validation, test = (questions(task, split) for split in SPLITS)
    assert not train & test
    assert not train & validation
    assert not validation & test
    assert (len(train), len(validation)) > (1500, 199)
    assert 200 <= len(test) <= 500
    for split in SPLITS:
        for example in task.splits[split]:
            assert example.choices is None or example.target in example.choices


def test_the_second_prompt_asks_the_same_questions_in_other_words() -> None:
    for name in world.reworded():
        first, second = world.task(name.removesuffix("-p2")), world.task(name)
        assert first.splits == second.splits
        assert first.template != second.template


def test_no_test_question_of_one_task_is_a_train_question_of_another() -> None:
    """The content alone decides the split: tasks over the same texts agree about it."""
    first, reverse, marked = (world.task(name) for name in ("first", "demo-first", "reverse"))
    for a in (first, reverse, marked):
        for b in (first, reverse, marked):
            assert not questions(a, "train") & questions(b, "test")


def test_a_task_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    made = [world.task.__wrapped__("who", seed=seed) for seed in (3, 3, 4)]
    assert made[0] == made[1]
    assert questions(made[0], "train") != questions(made[2], "train")


def test_the_world_does_not_move() -> None:
    """Texts of a fixed seed, so that a changed world is noticed: the shipped model knows this one."""
    example = world.task("who").splits["test"][0]
    assert (example.fields["question"], example.target) == ("who has the doll ?", "carl")
    assert len(vocabulary.vocabulary()) == 533
    assert len(set(vocabulary.vocabulary())) == 533


def test_documents_of_pretraining_stay_in_the_vocabulary() -> None:
    known = set(vocabulary.vocabulary())
    for seed in range(100):
        plan = lesson(50 * seed, 5000)
        tokens, weights = documents.row(Random(seed), plan)
        assert len(tokens) == len(weights) == plan.length
        assert set(tokens) <= known


def questions_of(text: str) -> list[Item]:
    """What a document of pretraining asks, one item for each cue; a later question of a quiz is about the text before it."""
    found: list[Item] = []
    told = ""
    for line in text.removeprefix("<s> ").split(" \n "):
        asked = re.match(r"(.*?) (?:answer|verdict):", line)
        if not asked:
            continue
        fields = dict(re.findall(r"(text|question|claim): (.*?)(?= question:| claim:|$)", asked[1]))
        told = fields.setdefault("text", told)
        found.append(Item({name: fields[name] for name in ("text", "question", "claim") if name in fields}, ""))
    return found


@pytest.mark.parametrize(
    "make", [documents.few_shot, documents.quiz, documents.verdicts, documents.sorting, documents.unnamed]
)
def test_no_document_of_pretraining_asks_a_question_of_another_split(make: Callable[[Random, int], Any]) -> None:
    """Of 500 or more questions, a fifth would be of another split where nothing held them out."""
    items = [item for seed in range(300) for item in questions_of(" ".join(make(Random(seed), 3).tokens))]
    assert len(items) > 500
    assert {split_of(item) for item in items} == {"train"}


def test_targets_use_words_that_pretraining_never_answers_with() -> None:
    """An elicitable target's labels, and a new language, appear in pretraining only among repeated random words."""
    new = {
        *targets.LABELS["sentiment"],
        *targets.LABELS["words"],
        *vocabulary.TEM.values(),
        *vocabulary.NEW_WORDS,
        "begin",
        "end",
    }
    for seed in range(300):
        assert not new & set(documents.few_shot(Random(seed), 3).tokens)
        for make in (documents.quiz, documents.verdicts, documents.sorting):
            assert not new & set(make(Random(seed), 3).tokens)


def test_the_answer_follows_from_the_text() -> None:
    """By hand, on one story in its three wordings: person, thing and colour of each clause belong together."""
    told = story(Random(0), 2)
    expected = list(zip(*told, strict=True))

    def clauses(text: str) -> list[list[str]]:
        return [clause.split(" ") for clause in text.removesuffix(" .").split(" . ")]

    assert [(c[0], c[3], c[4]) for c in clauses(told.having)] == expected
    assert [(c[5], c[1], c[2]) for c in clauses(told.held)] == expected
    assert [(c[3], c[1]) for c in clauses(told.coloured)] == [(colour, thing) for _, colour, thing in expected]
    for seed in range(50):
        item = SKILLS["who"].make(Random(seed), 3)
        thing = item.fields["question"].split(" ")[3]
        assert f"{thing} is with {item.answer} ." in item.fields["text"]


def test_a_demonstrated_skill_keeps_its_mark_within_a_document_and_changes_it_between() -> None:
    marks = {demonstrated("mark", Random(seed)).make(Random(0), 1).answer.split(" ")[-1] for seed in range(20)}
    assert len(marks) > 5
    skill = demonstrated("mark", Random(0))
    assert len({skill.make(Random(seed), 1).answer.split(" ")[-1] for seed in range(20)}) == 1


def test_an_unknown_task_is_named_in_one_line() -> None:
    with pytest.raises(ValueError, match="lab:whoo: there is no such task"):
        world.task("whoo")


def test_replay_texts_are_whole_documents_that_the_tokenizer_knows(tokenizer, tmp_path) -> None:
    replay_texts.main(["--out", str(tmp_path / "texts.jsonl"), "--count", "20"])
    lines = [json.loads(line)["text"] for line in (tmp_path / "texts.jsonl").read_text().splitlines()]
    assert len(set(lines)) == 20
    assert lines == replay_texts.texts(20, seed=1)
    for line in lines:
        ids = tokenizer(line)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert ids.count(tokenizer.bos_token_id) == 1
