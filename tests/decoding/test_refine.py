"""Refinement: the candidates in their order, one of them alone, braces and chats as they are, and the command."""

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.api.evaluate import evaluate
from holdfast.decoding.refine import Refine
from holdfast.inference.sampling import GREEDY, Sampling
from holdfast.plugins import DECODINGS, configure


class Speaker:
    """Gives numbered drafts, and of a prompt that shows drafts the last one."""

    def __init__(self, tokenizer: Any = None) -> None:
        self.tokenizer = tokenizer
        self.calls: list[tuple[list[str], Sampling]] = []

    def generate(self, texts: list[str], sampling: Sampling = GREEDY, *, progress: Any = None) -> list[str]:
        self.calls.append((list(texts), sampling))
        return [f" draft {text[-1]}{number}" for text in texts for number in range(sampling.samples)]


class Chat:
    chat_template = "x"
    all_special_tokens = ("<s>", "</s>")

    def apply_chat_template(self, turns: list[dict[str, str]], **_: Any) -> str:
        return "".join(f"<s>{turn['role']}\n{turn['content']}</s>" for turn in turns) + "<s>assistant\n"


def refined(model: Any, **settings: Any) -> Any:
    return Refine(**settings).wrap(model)


def test_the_candidates_stand_in_their_order_behind_the_request() -> None:
    model = Speaker()
    answers = refined(model, candidates=3).generate(["say {a}", "say {candidates} b"], Sampling(8, ("\n",)))
    (first, drawn), (second, last) = model.calls
    assert (first, drawn.samples, drawn.temperature, drawn.top_k, drawn.top_p, drawn.stop) == (
        ["say {a}", "say {candidates} b"], 3, 0.7, 20, 0.6, ("\n",),
    )  # fmt: skip
    assert second[0].splitlines()[1:5] == [
        "```say {a}```",
        "1. ```draft }0```",
        "2. ```draft }1```",
        "3. ```draft }2```",
    ]
    # The second request names the placeholder itself, and stays a request.
    assert second[1].splitlines()[1:3] == ["```say {candidates} b```", "1. ```draft b0```"]
    assert (last.samples, last.temperature, len(answers)) == (1, 0.0, 2)


def test_one_candidate_is_the_model_by_itself() -> None:
    model = Speaker()
    assert refined(model, candidates=1).generate(["x"]) == model.generate(["x"])
    assert [texts for texts, _ in model.calls] == [["x"], ["x"]]


def test_a_chat_is_asked_in_a_turn_of_its_own() -> None:
    prompt = refined(Speaker(Chat()), ask="{prompt}|{candidates}").prompt(
        "<s>user\nWhere?</s><s>assistant\n", ["here", "there"]
    )
    assert prompt == "<s>user\nWhere?|1. ```here```\n2. ```there```</s><s>assistant\n"


def test_a_prompt_that_hides_something_is_refused() -> None:
    with pytest.raises(ValueError, match=r"decode: ask: lacks \{candidates\}, so the model would not see it"):
        configure(DECODINGS, "refine", {"ask": "{prompt}"}, "decode")


def test_a_whole_evaluation_says_that_it_was_refined(tmp_path: Path) -> None:
    scores = evaluate("lab", "lab:to-zan", shots=(1,), limit=3, decode=Refine(candidates=2), out=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "outputs.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    assert all(score.decoding.startswith("refine: ") for score in scores if score.metric != "x")
