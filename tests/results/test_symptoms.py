"""Format collapse on answers that a reader can count."""

from dataclasses import replace

import pytest

from holdfast.evaluation.matrix import Asking, Role, evaluate
from holdfast.results.compute_scores import score
from holdfast.results.scores import Output
from holdfast.results.statistics import tango
from holdfast.results.symptoms import answer_set, foreign_answers, in_format, mark, plain, symptoms
from holdfast.tasks.task import Example, Task
from tests.inference.table import TableModel


def task(name: str, targets: list[str], choices: tuple[str, ...] | None = None, metric: str = "exact_match") -> Task:
    examples = tuple(Example({"input": f"{name}{i}"}, t, choices) for i, t in enumerate(targets))
    return Task(name, {"train": examples, "test": examples}, metric=metric)


RTE = task("rte", ["True", "False"] * 5, ("True", "False"), "accuracy")
CB = task("cb", ["True", "Neither"] * 5, ("True", "False", "Neither"), "accuracy")
CAPITALS = task("capital", [f"Town {i}" for i in range(10)])


def outputs(texts: list[str], variant: str = "tuned", target: str = "Town") -> list[Output]:
    return [Output(variant, None, "capital", "general", 0, i, f"q{i}", target, text) for i, text in enumerate(texts)]


def test_a_closed_set_of_answers_is_found_from_choices_or_from_repeated_short_targets() -> None:
    assert answer_set(RTE) == {"true", "false"}
    assert answer_set(task("t", ["positive", "negative."] * 3)) == {"positive", "negative"}
    assert answer_set(CAPITALS) == frozenset(), "every answer is new"
    assert answer_set(task("t", ["one two three four five six", "no"] * 3)) == frozenset(), "too long for a label"
    assert answer_set(task("t", [str(i) for i in range(51)] * 4)) == frozenset(), "too many for labels"
    own = Task("t", {"train": tuple(Example({}, f"a{i}", (f"a{i}", f"b{i}")) for i in range(40))})
    assert answer_set(own) == frozenset(), "every item has choices of its own"


def test_an_answer_that_the_other_task_asks_for_is_not_foreign() -> None:
    assert foreign_answers(RTE, CAPITALS) == {"true", "false"}
    assert foreign_answers(RTE, CB) == frozenset()
    foreign = frozenset({"true", "false"})
    assert in_format(outputs([" TRUE. "])[0], foreign)
    assert not in_format(outputs(["true story"])[0], foreign)
    assert not in_format(outputs(["True"], target="true")[0], foreign)
    assert not in_format(replace(outputs(["True"])[0], choices=("True", "x")), foreign)


def test_plain_ignores_case_space_and_punctuation_at_the_ends() -> None:
    assert plain('  "It\'s   TRUE!" ') == "it's true"


def test_the_symptoms_of_ten_answers_by_hand() -> None:
    base = outputs([f"Town {i}" for i in range(10)], "base")
    tuned = outputs(["True"] * 5 + ["False", "", " . ", "word " * 20, "Town 9"])
    found = symptoms(base, tuned, frozenset({"true", "false"}))
    values = {name: value.value for name, (value, _) in found.items()}
    changes = {name: change.value for name, (_, change) in found.items() if change}
    words = 5 + 1 + 0 + 1 + 20 + 2  # True x 5, False, nothing, ".", word x 20, Town 9
    length = 5 * 4 + 5 + 0 + 3 + 100 + 6
    assert values == pytest.approx({
        "format_share": 0.6,
        "empty_share": 0.2,
        "run_on_share": 0.1,
        "collapse_share": 0.9,
        "modal_share": 0.5,
        "distinct_1": 6 / words,  # true, false, ".", word, town, 9
        "distinct_2": 2 / 20,  # "word word" 19 times, "town 9"
        "length_ratio": length / 60,
    })  # fmt: skip
    assert changes == pytest.approx({
        "format_share": 0.6,
        "empty_share": 0.2,
        "run_on_share": 0.1,
        "collapse_share": 0.9,
        "modal_share": 0.4,  # each of the base's answers is one of ten
        "distinct_1": 6 / words - 11 / 20,  # town, 0 to 9
        "distinct_2": 2 / 20 - 1,
        "length_ratio": length / 60 - 1,
    })  # fmt: skip
    change = found["format_share"][1]
    assert change is not None
    assert (change.low, change.high) == tango(6, 0, 10)
    for name, (value, change) in found.items():
        assert value.low <= value.value <= value.high, name
        assert change is not None
        assert change.low <= change.value <= change.high, name


def test_distinct_has_the_jackknifes_error() -> None:
    """Words a | b | b: 2/3 distinct; without each: 1/2, 1, 1. Mean 5/6, variance sum 1/6, error sqrt(2/3 * 1/6) = 1/3."""
    value, _ = symptoms(None, outputs(["a", "b", "b"]), frozenset())["distinct_1"]
    assert value.value == pytest.approx(2 / 3)
    assert value.stderr == pytest.approx(1 / 3)


def test_nothing_is_said_of_answers_that_were_only_ranked() -> None:
    ranked = [replace(o, choices=("True", "False"), logprobs=(-1.0, -2.0)) for o in outputs(["True", "True"])]
    assert symptoms(None, ranked, frozenset({"true"})) == {}
    asked = [replace(o, generated="false") for o in ranked]
    assert symptoms(None, asked, frozenset({"false"}))["format_share"][0].value == 0, "its own choices are not foreign"


def test_without_a_closed_set_the_format_share_is_left_out() -> None:
    found = symptoms(None, outputs(["a", ""]), frozenset())
    assert "format_share" not in found
    assert found["collapse_share"][0].value == 0.5


def collapsed() -> list[Output]:
    right = {f"capital{i}": f" Town {i}" for i in range(10)} | {f"rte{i}": "" for i in range(10)}
    asked: list[tuple[Task, Role]] = [(RTE, "target"), (CAPITALS, "general")]
    base, tuned = TableModel({"True": -1, "False": -2}, right), TableModel({"True": -1, "False": -2}, lambda _: "True")
    return [o for t, role in asked for o in evaluate(base, t, Asking(role=role))] + [
        o for t, role in asked for o in evaluate(tuned, t, Asking(role=role, variant="tuned"))
    ]


def test_scores_carry_the_symptoms_of_general_tasks_only_and_call_them_neither_gained_nor_lost() -> None:
    scores = score(collapsed(), [RTE, CAPITALS])
    share = {s.variant: s for s in scores if s.metric == "format_share"}
    assert (share["base"].value, share["tuned"].value, share["tuned"].delta) == (0, 1, 1)
    assert {s.task for s in scores if s.metric not in ("accuracy", "exact_match")} == {"capital"}
    assert {s.metric for s in scores if s.verdict} == {"accuracy", "exact_match"}
    assert {s.metric: s.verdict for s in scores if s.variant == "tuned" and s.task == "capital"}[
        "exact_match"
    ] == "lost"


def test_marks_say_of_each_answer_whether_it_is_in_the_format() -> None:
    marked = mark(collapsed(), [RTE, CAPITALS])
    assert {(o.variant, o.task): o.scores.get("format_share") for o in marked} == {
        ("base", "rte"): None,
        ("base", "capital"): 0,
        ("tuned", "rte"): None,
        ("tuned", "capital"): 1,
    }
    assert mark(outputs(["True"]), [CAPITALS]) == outputs(["True"]), "without a target there is no format to spread"
