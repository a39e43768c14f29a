"""Marked questions: the score is an attention, the rest stays as it is, and inference asks in the very words of training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.api.tune import tune
from holdfast.curation.base import CurationContext
from holdfast.curation.mark_context import MarkContext, with_mark
from holdfast.decoding.context_marker import ContextMarker
from holdfast.inference.model import Model
from holdfast.plugins import CURATIONS, configure
from holdfast.tasks.markers import with_marker_in_prompt
from holdfast.tasks.task import Example, Task, Template
from holdfast.tasks.templates import question, render
from tests.recipes.worlds import QUICK, write_world
from tests.training import tiny

CHAT = (
    "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} </s> {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)
EXAMPLES = tuple(Example({"input": f"w{3 + i} w{9 + i} w{20 - i}"}, f"w{9 + i}") for i in range(6))


def model(chat: bool = False) -> Model:
    loaded = tiny.pretrained()
    if chat:
        loaded.tokenizer.chat_template = CHAT
    return Model(loaded)


def task(**template: Any) -> Task:
    return Task("t", {"train": EXAMPLES}, Template(**{"input": "{{ input }} w8", **template}))


def marked(curation: MarkContext, asked: Task, given: Model | None = None) -> list[Example]:
    return list(curation(asked.splits["train"], CurationContext(asked, model=given or model())))


def test_the_score_is_the_strongest_heads_attention_to_the_question_in_the_layer() -> None:
    given, template = model(), task().template
    expected = []
    given.pretrained.model.set_attn_implementation("eager")
    for example in EXAMPLES:
        tokens = given.tokenizer(f"{example.fields['input']} w8 {example.target}")["input_ids"]
        with torch.no_grad():
            attention = given.pretrained.model(torch.tensor([tokens]), output_attentions=True).attentions[1][0]
        expected.append(float(attention[:, 4, :4].sum(-1).amax()))
    scores = [MarkContext().score(given, template, example) for example in EXAMPLES]
    assert scores == pytest.approx(expected, abs=1e-6)
    assert all(0 <= score <= 1 for score in expected)


def test_the_model_keeps_its_attention_and_says_the_same_afterwards() -> None:
    given = model()
    before = given.pretrained.model.config._attn_implementation
    first = given.loglikelihood([("w3 w4", " w5")])
    marked(MarkContext(), task(), given)
    assert given.pretrained.model.config._attn_implementation == before != "eager"
    assert given.loglikelihood([("w3 w4", " w5")]) == first


def test_thresholds_and_shares_mark_none_all_and_the_highest() -> None:
    none, every = marked(MarkContext(threshold=1.01), task()), marked(MarkContext(threshold=-1), task())
    assert all(row is example for row, example in zip(none, EXAMPLES, strict=True))
    assert all(row.template is not None and row.template.input == "{{ input }} w8. [IND]" for row in every)
    scores = [float(row.origin.rpartition(" ")[2]) for row in every]
    some = marked(MarkContext(share=0.5), task())
    highest = sorted(range(6), key=lambda number: -scores[number])[:3]
    assert [number for number, row in enumerate(some) if row.template] == sorted(highest)
    assert [row for row in some if not row.template] == [EXAMPLES[i] for i in range(6) if i not in highest]


def test_without_the_marker_the_data_is_the_original() -> None:
    template = task().template
    for row, example in zip(marked(MarkContext(threshold=-1, marker="look above"), task()), EXAMPLES, strict=True):
        assert question(template, row).removesuffix(". look above") == question(template, example)
        assert replace(row, template=None) == example


@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
@pytest.mark.parametrize("end", ["w8", "?", "\nAnswer:"])
def test_inference_asks_in_the_words_of_training(chat: bool, end: str) -> None:
    given, asked = model(chat), task(input="{{ input }} " + end, chat=chat, instruction="w7")
    for row, example in zip(marked(MarkContext(threshold=-1), asked, given), EXAMPLES, strict=True):
        plain, trained = (render(asked.template, e, (), given.tokenizer).prompt for e in (example, row))
        assert "[IND]" in trained
        assert with_marker_in_prompt(plain, "[IND]", given.tokenizer) == trained


def test_a_conversation_is_marked_in_its_last_user_turn() -> None:
    turns = [
        {"role": "user", "content": "w3"},
        {"role": "assistant", "content": "w4"},
        {"role": "user", "content": "w5?"},
    ]
    example = Example({"messages": turns}, "w6")
    given, template = model(chat=True), Template(chat=True)
    row = with_mark(example, template, "[IND]")
    assert [turn["content"] for turn in row.fields["messages"]] == ["w3", "w4", "w5? [IND]"]  # pyright: ignore[reportGeneralTypeIssues]
    assert turns[2]["content"] == "w5?"
    plain, trained = (render(template, e, (), given.tokenizer).prompt for e in (example, row))
    assert with_marker_in_prompt(plain, "[IND]", given.tokenizer) == trained


class Heard:
    """A language model that says what it was asked."""

    tokenizer = None

    def generate(self, texts: Any, sampling: Any, *, progress: Any = None) -> list[str]:
        return list(texts)

    def loglikelihood(self, pairs: Any, *, progress: Any = None) -> Any:
        return pairs

    def rolling(self, texts: Any, *, progress: Any = None) -> Any:
        return texts


def test_the_decoding_marks_questions_and_no_whole_texts() -> None:
    asked: Any = ContextMarker(marker="!!").wrap(Heard())  # pyright: ignore[reportArgumentType]
    assert asked.generate(["a?", "b"]) == ["a? !!", "b. !!"]
    assert asked.loglikelihood([("a?", " x"), ("", "y")]) == [("a? !!", " x"), ("", "y")]
    assert asked.rolling(["a"]) == ["a"]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="would be read as a template"):
        configure(CURATIONS, "mark_context", {"marker": "{{ x }}"}, "curate")
    with pytest.raises(ValueError, match="reads the attention of a decoder-only transformers model"):
        MarkContext()(EXAMPLES, CurationContext(task(), model=Heard()))  # pyright: ignore[reportArgumentType]


def test_a_run_of_promot_trains_on_marked_questions_and_is_asked_with_the_marker(tmp_path: Path) -> None:
    world = write_world(tmp_path, copy=None)
    fields: dict[str, Any] = {**QUICK, "curate.share": 0.5, "curate.marker": "w30", "decode.marker": "w30"}
    run = tune(
        world / "model", world / "copy", "promot", curate="mark_context", decode="context_marker", out=tmp_path / "run",
        shots=(0,), limit=4, **fields,
    )  # fmt: skip
    rows = (run.folder / "data" / "train.jsonl").read_text()
    assert (rows.count("marked: copy/train"), rows.count("as it was")) == (12, 12)
    assert {score.variant for score in run.scores} >= {"base", "tuned"}
