"""Marked questions: the score is an attention, the rest stays as it is, and inference asks in the very words of training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.api.tune import tune
from holdfast.curation.base import CurationContext
from holdfast.curation.mark_context import MarkContext, eager, with_mark
from holdfast.decoding.context_marker import ContextMarker
from holdfast.inference.model import Model
from holdfast.plugins import CURATIONS, configure
from holdfast.tasks.task import Example, Task, Template
from holdfast.tasks.text.markers import with_marker_in_prompt
from holdfast.tasks.text.templates import question, render
from tests.recipes.worlds import QUICK, write_world
from tests.training import tiny

CHAT = (
    "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} </s> {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)
STRIPPED = CHAT.replace("m['content']", "m['content'] | trim")
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


def attention_to(given: Model, text: str, answer: str, users: tuple[str, ...]) -> float:
    """The strongest head's attention of a last word to the words of the user in a text, by its position in it."""
    encoded = given.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    words = [text[start:end].strip() for start, end in encoded["offset_mapping"]]
    assert words[-1] == answer
    given.pretrained.model.set_attn_implementation("eager")
    with torch.no_grad():
        tokens = torch.tensor([encoded["input_ids"]])
        attention = given.pretrained.model(tokens, output_attentions=True).attentions[1][0]
    return float(attention[:, -1, [i for i, word in enumerate(words) if word in users]].sum(-1).amax())


def test_a_question_that_the_chat_template_strips_has_the_score_of_its_words() -> None:
    """The bug: a text that was not to be found as it is counted as standing at the prompt's beginning, role and all."""
    given, template = model(chat=True), Template("{{ input }}", chat=True)
    given.tokenizer.chat_template = CHAT.replace("m['content']", "m['content'] | trim")
    plain, spaced = (Example({"input": text}, "w9") for text in ("w3 w4", " w3 w4 \n"))
    text = render(template, plain, (), given.tokenizer).prompt + "w9"
    expected = attention_to(given, text, "w9", ("w3", "w4"))
    for example in (plain, spaced):
        with eager(given.pretrained.model):
            assert MarkContext().score(given, template, example) == pytest.approx(expected, abs=1e-6)


def test_of_a_conversation_all_user_turns_count() -> None:
    """Of the last alone the score would be smaller; and the first user's word is found where the user says it, not in the answer."""
    turns = [
        {"role": "user", "content": "w3"},
        {"role": "assistant", "content": "w3 w4"},
        {"role": "user", "content": "w5"},
    ]
    given, template = model(chat=True), Template(chat=True)
    example = Example({"messages": turns}, "w6")
    text = render(template, example, (), given.tokenizer).prompt + "w6"
    both = attention_to(given, text, "w6", ("w3", "w5"))
    with eager(given.pretrained.model):
        score = MarkContext().score(given, template, example)
    assert score is not None
    assert attention_to(given, text, "w6", ("w5",)) < score < both  # `both` has the assistant's w3 as well


def test_an_example_without_a_score_is_never_marked() -> None:
    """One that is longer than the model has positions; a share of all would mark it, with a score of 0 that nobody measured."""
    given = model()
    long = Example({"input": " ".join(["w3"] * (given.room + 1))}, "w9")
    asked = Task("t", {"train": (*EXAMPLES, long)}, task().template)
    rows = list(MarkContext(share=1.0)(asked.splits["train"], CurationContext(asked, model=given)))
    assert [row.template is not None for row in rows] == [True] * 6 + [False]
    assert rows[-1] is long


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


@pytest.mark.parametrize("chat", ["", CHAT, STRIPPED], ids=["plain", "chat", "chat that strips"])
@pytest.mark.parametrize("end", ["w8", "?", "\nAnswer:", " ", " w8\n", "\nAssistant:", "\n\n### Response:\n"])
def test_inference_asks_in_the_words_of_training(chat: str, end: str) -> None:
    """The bug: a template that strips made `w8.[IND]` of what was trained as `w8` over `[IND]`."""
    given, asked = model(), task(input="{{ input }} " + end, chat=bool(chat), instruction="w7")
    given.tokenizer.chat_template = chat
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


@pytest.mark.parametrize(
    "input", ["{% for m in messages %}{{ m.content }}\n{% endfor %}Assistant:", "{{ messages[-1].content }}"]
)
def test_a_conversation_without_a_chat_template_is_marked_before_the_answer_begins(input: str) -> None:
    """The bug: at inference the marker stood behind `Assistant:`, and in training before it."""
    example = Example({"messages": [{"role": "user", "content": "w5"}]}, "w6")
    asked = Task("t", {"train": (example,)}, Template(input=input, chat="auto"))
    (row,) = marked(MarkContext(threshold=-1), asked)
    plain, trained = (render(asked.template, e, (), None).prompt for e in (example, row))
    assert trained == plain.replace("w5", "w5. [IND]")
    assert with_marker_in_prompt(plain, "[IND]", None) == trained


def test_a_prompt_that_the_decoding_could_not_mark_so_is_refused() -> None:
    example = Example({"messages": [{"role": "user", "content": "w5"}]}, "w6")
    asked = Task("t", {"train": (example,)}, Template(input="{{ messages[0].content }} w7", chat="auto"))
    with pytest.raises(ValueError, match=r"mark_context: t/train\[0\]: its prompt goes on behind the user's last turn"):
        marked(MarkContext(threshold=-1), asked)


class Heard:
    """A language model that says what it was asked."""

    tokenizer = None

    def generate(self, texts: Any, sampling: Any, *, progress: Any = None) -> list[str]:
        return list(texts)

    def loglikelihood(self, pairs: Any, *, progress: Any = None) -> Any:
        return pairs

    def rolling(self, texts: Any, *, progress: Any = None) -> Any:
        return texts

    def first_token_mass(self, contexts: Any, answers: Any) -> Any:
        return contexts, answers

    def next_tokens(self, text: Any, count: int) -> Any:
        return text

    def cuts(self, pairs: Any, new: int) -> Any:
        return pairs

    def count_tokens(self, texts: Any) -> Any:
        return texts


def test_the_decoding_marks_questions_and_no_whole_texts() -> None:
    asked: Any = ContextMarker(marker="!!").wrap(Heard())  # pyright: ignore[reportArgumentType]
    assert asked.generate(["a?", "b"]) == ["a? !!", "b. !!"]
    assert asked.loglikelihood([("a?", " x"), ("", "y")]) == [("a? !!", " x"), ("", "y")]
    assert asked.rolling(["a"]) == ["a"]
    assert asked.first_token_mass(["a?"], [["x"]]) == (["a? !!"], [["x"]])
    assert (asked.next_tokens("a?"), asked.cuts([("a?", "x")], 3)) == ("a? !!", [("a? !!", "x")])
    assert asked.count_tokens(["x"]) == ["x"], "answers are counted, and have no marker"


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
