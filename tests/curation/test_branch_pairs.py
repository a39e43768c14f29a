"""iTool's data: the hardest questions of each class, and pairs that are alike up to their branch."""

from typing import Any

import pytest

from holdfast.curation.base import CurationContext
from holdfast.curation.branch_pairs import BranchPairs, first_step, hardest
from holdfast.inference.sampling import Sampling
from holdfast.inference.scoring import LogLikelihood
from holdfast.tasks.task import Example, Task, Template


class Writer:
    """A model that is less sure of each question than of the one before, and goes on from what is held."""

    tokenizer = None

    def __init__(self, *levels: list[str]) -> None:
        self.levels, self.prompts = list(levels), []

    def loglikelihood(self, pairs: list[tuple[str, str]]) -> list[LogLikelihood]:
        return [LogLikelihood(-float(number), False, 1) for number in range(len(pairs))]

    def count_tokens(self, texts: list[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def generate(self, texts: list[str], sampling: Sampling) -> list[str]:
        self.prompts.append(list(texts))
        answers = self.levels.pop(0)
        assert len(answers) == sampling.samples
        return answers * len(texts)


def pairs(model: Writer, examples: list[Example], **fields: Any) -> list[Example]:
    fields = {"reward": "f1", "samples": 2, "depth": len(model.levels)} | fields
    task = Task("birds", {"train": tuple(examples)}, Template(delimiter=" "))
    return list(BranchPairs(**fields)(examples, CurationContext(task, 0, model)))  # pyright: ignore[reportArgumentType]


def birds(count: int) -> list[Example]:
    return [Example({"input": f"q{i}"}, "a robin, a wren, an owl") for i in range(count)]


def test_the_hardest_share_of_each_class_is_selected() -> None:
    surprise = [0.1, 0.9, 0.5, 0.2, 0.8, 0.3, 0.7, 0.6, 0.4, 1.0]
    assert hardest(surprise, [True] * 10, 0.3) == [1, 4, 9]
    # Three of ten, and none of the four that call no tool at a fifth: floor within each class.
    classes = [True] * 6 + [False] * 4
    assert hardest(surprise, classes, 0.5) == [1, 2, 4, 6, 9]
    assert hardest(surprise, classes, 0.2) == [1]


def test_pairs_share_what_stands_before_their_branch() -> None:
    model = Writer([" robin, a hawk", " hawk"], [" wren, a hawk", " hawk, a crow"])
    made = pairs(model, birds(2), share=0.5)
    assert [(pair.target, pair.rejected) for pair in made] == [
        ("robin, a hawk", "hawk"),
        ("robin,  wren, a hawk", "robin,  hawk, a crow"),
    ]
    # The harder question alone is asked; its second branch begins behind the first step of the better answer.
    assert [len(prompts) for prompts in model.prompts] == [1, 1]
    assert model.prompts[1][0] == model.prompts[0][0] + " robin, "
    assert [pair.origin.split(", ")[:2] for pair in made] == [["branch: birds/train[1]", f"level {n}"] for n in (0, 1)]


@pytest.mark.parametrize("fields", [{"gap": 0.9}, {"overlap": 0.2}, {"least": 0.9}], ids=["gap", "overlap", "least"])
def test_a_pair_that_fails_a_filter_is_left_out(fields: dict[str, float]) -> None:
    answers = [" a robin, a wren", " a robin"]
    assert len(pairs(Writer(answers), birds(1), share=1.0)) == 1
    with pytest.raises(ValueError, match="branch_pairs: no answers to 1 hard questions of birds pass the filters"):
        pairs(Writer(answers), birds(1), share=1.0, **fields)


def test_of_calls_only_a_right_one_is_preferred_unless_least_allows_less() -> None:
    """Wrong values have -0.25 in TL-Training's table: above the script's -0.3, which is of another judge's scale."""
    right, wrong, other = (
        f'<tool_call>{{"name": "{name}", "arguments": {{"town": "{town}"}}}}</tool_call>'
        for name, town in (("rain", "Rome"), ("rain", "Bern"), ("snow", "Rome"))
    )
    tools = [{"function": {"name": name, "parameters": {"properties": {"town": {}}}}} for name in ("rain", "snow")]
    example = Example({"input": "q", "tools": tools}, right)
    more = {"share": 1.0, "reward": "tool_call"}
    assert [pair.target for pair in pairs(Writer([right, wrong]), [example], **more)] == [right]
    with pytest.raises(ValueError, match="pass the filters"):
        pairs(Writer([wrong, other]), [example], **more)
    assert [pair.target for pair in pairs(Writer([wrong, other]), [example], least=-0.3, **more)] == [wrong]


def test_a_step_ends_at_a_full_stop_a_comma_an_equals_sign_or_a_bracket() -> None:
    assert first_step("weather(city=Rome, day=1)", 0) == "weather("
    assert first_step("weather(city=Rome, day=1)", 8) == "weather(city="
    assert first_step("Rome", 0) == ""


def test_a_share_that_selects_nothing_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"branch_pairs: 0\.3 of 2 examples of birds are none; raise curate\.share"):
        pairs(Writer([" a", " b"]), birds(2), share=0.3)


def test_answers_that_no_draw_could_finish_are_refused() -> None:
    """The script's 50 tokens cut a call of 90, and a beginning of the right answer would then be the one to unlearn."""
    with pytest.raises(
        ValueError, match=r"max_new_tokens=5 cuts every right answer, .* 6 tokens.*raise curate\.max_new_tokens"
    ):
        pairs(Writer([" a", " b"]), birds(4), max_new_tokens=5)
    assert pairs(Writer([" a robin, a wren", " a robin"]), birds(1), share=1.0, max_new_tokens=6)
