"""The items that moved are found by their own scores, in the prompt state that counts."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.results.compute_scores import score
from holdfast.results.flips import DIRECTIONS, Flips, StoredFlips, flips, of_folder
from holdfast.results.scores import Output, write_jsonl
from holdfast.results.summary import Summary
from holdfast.tasks.task import Example, Task

TASK = Task(
    "quiz", {"train": (), "test": tuple(Example({"input": "?"}, "yes") for _ in range(6))}, metric="exact_match"
)


def answers(variant: str, texts: list[str], prompt: str | None = None, task: str = "quiz") -> list[Output]:
    return [
        Output(
            variant, prompt, task, "general", 0, i, f"question {i}", "yes", text, scores={"exact_match": float(text == "yes")}
        )
        for i, text in enumerate(texts)
    ]  # fmt: skip


def moved(outputs: list[Output]) -> Flips:
    return flips(outputs, Summary.of(score(outputs, [TASK, replace(TASK, name="other")])))


def test_each_item_that_moved_is_named_with_its_direction_and_both_answers() -> None:
    base = answers("base", ["yes", "yes", "no", "no", "no", "yes"])
    tuned = answers("tuned", ["yes", "no", "yes", "maybe", "No.", "yes"])
    result = moved([*base, *tuned])
    assert [(f.index, f.direction, f.base, f.tuned) for f in result.items] == [
        (1, "lost", "yes", "no"),
        (2, "gained", "no", "yes"),
        (3, "both wrong", "no", "maybe"),  # and 4 is the same answer in other spelling
    ]
    assert result.counts == {"quiz": {"lost": 1, "gained": 1, "both wrong": 1}}
    assert result.compared == {"quiz": 6}


def test_a_general_item_is_read_with_the_prompt_removed() -> None:
    base, wrong = answers("base", ["yes"] * 6), ["no"] * 6
    off = answers("tuned", ["yes"] * 6, "off")
    assert not moved([*base, *off, *answers("tuned", wrong, "on")]).items
    assert moved([*base, *answers("tuned", wrong, "off"), *answers("tuned", ["yes"] * 6, "on")]).total["lost"] == 6


def test_answers_are_paired_by_their_item_and_not_by_their_place() -> None:
    base, tuned = answers("base", ["yes", "no", "no"]), answers("tuned", ["yes", "no", "no"])
    assert not moved([*base, *tuned[::-1]]).items


def test_lost_items_stand_first_and_the_task_that_lost_most_before_others() -> None:
    base = [*answers("base", ["yes", "no", "yes", "yes"]), *answers("base", ["no", "yes", "yes", "no"], task="other")]
    tuned = [
        *answers("tuned", ["no", "yes", "yes", "yes"]),
        *answers("tuned", ["maybe", "no", "no", "yes"], task="other"),
    ]
    result = moved([*base, *tuned])
    # Half of the items of `other` were lost and a quarter of those of `quiz`, which the file has first.
    assert [(f.task, f.index, f.direction) for f in result.items] == [
        ("other", 1, "lost"), ("other", 2, "lost"), ("quiz", 0, "lost"), ("other", 3, "gained"), ("quiz", 1, "gained"),
        ("other", 0, "both wrong"),
    ]  # fmt: skip
    assert list(result.counts) == list(result.compared) == ["other", "quiz"]
    assert result.first(2) == [result.items[0], result.items[2]]


def test_of_many_items_each_task_has_an_equal_part_and_losses_come_first() -> None:
    base = [*answers("base", ["yes", "no"] * 3), *answers("base", ["no"] * 2, task="other")]
    tuned = [*answers("tuned", ["no", "yes"] * 3), *answers("tuned", ["yes"] * 2, task="other")]
    chosen = moved([*base, *tuned]).first(5)
    assert [(f.task, f.direction) for f in chosen] == [("quiz", "lost")] * 3 + [("other", "gained")] * 2


def test_items_of_a_folder_that_stay_in_its_file_are_those_in_memory(tmp_path: Path) -> None:
    """Other lengths of lines, items in another order and twice, answers that count in no comparison: the bug is another item's answer."""
    texts = ["yes", "no", "né", "maybe", "", "yes"]
    lines, ordered = list[Output](), list[Output]()
    for task in ("quiz", "other"):
        base = answers("base", texts * 3, task=task)
        off = answers("tuned", [texts[i * 5 % 7 % 6] for i in range(18)], "off", task=task)
        on = answers("tuned", ["yes"] * 18, "on", task=task)
        ordered += [*base, *on, *off]
        lines += [*base, *on, *off[::-1], *off[:3]]
    scores = score(ordered, [TASK, replace(TASK, name="other")])
    held = flips(lines, Summary.of(scores))
    write_jsonl(tmp_path / "outputs.jsonl", lines)
    write_jsonl(tmp_path / "scores.jsonl", scores)
    stored = of_folder(tmp_path)
    assert isinstance(stored.items, StoredFlips)
    assert (tuple(stored.items), stored.counts, stored.compared) == (held.items, held.counts, held.compared)
    assert all(held.total.values())
    assert sum(held.compared.values()) == 36
    for index in (0, 1, len(held.items) // 2, -1):
        assert stored.items[index] == held.items[index]
    for word in DIRECTIONS:
        assert list(stored.of(word)) == [flip for flip in held.items if flip.direction == word]
    path = tmp_path / "outputs.jsonl"
    path.write_text("x" + path.read_text())
    with pytest.raises(ValueError, match=r"outputs\.jsonl:\d+: this line is not JSON"):
        tuple(stored.items)


def test_items_of_a_folder_take_no_memory_for_their_questions(tmp_path: Path) -> None:
    """Held, 4,000 answers of 2 kB take 8 MB and more; what is compared of them takes 32 bytes each, and some more for a moment."""
    base = [replace(o, input="word " * 400) for o in answers("base", ["yes", "no"] * 1000)]
    tuned = [replace(o, input="word " * 400) for o in answers("tuned", ["yes", "maybe", "yes", "yes"] * 500)]
    scores = score([*base, *tuned], [TASK])
    write_jsonl(tmp_path / "outputs.jsonl", [*base, *tuned])
    write_jsonl(tmp_path / "scores.jsonl", scores)
    del base, tuned
    of_folder(tmp_path)  # once, so that what is made a single time is not counted
    tracemalloc.start()
    try:
        stored = of_folder(tmp_path)
        assert sum(len(json.dumps(flip.input)) for flip in stored.items) > 2e6
        assert stored.total == {"lost": 0, "gained": 500, "both wrong": 500}
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2e6, peak
