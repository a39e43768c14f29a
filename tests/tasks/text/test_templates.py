"""An example as text: separators, demonstrations, chat templates, and templates that do not fit."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from holdfast.tasks.formats.record_formats import CONVERSATION
from holdfast.tasks.task import Example, Template
from holdfast.tasks.text.templates import choose_demonstrations, question, render

CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def example(text: str, target: str) -> Example:
    return Example({"input": text}, target)


def chat_tokenizer(chat_template: str = CHATML) -> Any:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
    tokenizer.chat_template = chat_template
    return tokenizer


SUM, OTHER = example("1+1", "2"), example("2+2", "4")


def test_a_prompt_is_instruction_demonstrations_and_question_joined_by_separators() -> None:
    template = Template(input="Q: {{ input }}\nA:", instruction="Add.", delimiter=" ", separator="\n--\n")
    rendered = render(template, SUM, [OTHER])
    assert rendered.prompt == "Add.\n--\nQ: 2+2\nA: 4\n--\nQ: 1+1\nA:"
    assert rendered.target == " 2"
    assert [rendered.prompt[a:b] for a, b in rendered.answers] == [" 4"]


def test_the_default_template_has_no_instruction() -> None:
    assert render(Template(), SUM).prompt == "1+1\nAnswer:"


def test_text_is_rendered_verbatim() -> None:
    """Neither a trailing newline, nor markup, nor braces inside a field are touched."""
    template = Template(input="{{ input }}\n", delimiter="")
    rendered = render(template, example("<b>&amp;</b> {{ x }} \t", "{% if %}\n"))
    assert rendered.prompt + rendered.target == "<b>&amp;</b> {{ x }} \t\n{% if %}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ premiss }}", "uses `premiss`, which is not there; did you mean `premise`?"),
        ("{{ premise", "not valid Jinja"),
        ("{{ premise.nothing }}", "fails on this example.*nothing"),
        ("{{ 1 / 0 }}", "fails on this example"),
        ("{{ empty }}", "prints is null"),
        ("{{ premise.__class__.__mro__ }}", "fails on this example.*unsafe"),
    ],
)
def test_a_template_that_does_not_fit_says_why(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        question(Template(input=text), Example({"premise": "p", "hypothesis": "h", "empty": None}, "t"))


def test_a_chat_template_makes_turns_of_demonstrations_and_leaves_the_end_of_the_answer_apart() -> None:
    template = Template(input="{{ input }}?", instruction="Add.", chat=True)
    rendered = render(template, SUM, [OTHER], chat_tokenizer())
    assert rendered.prompt == "<|user|>Add.\n\n2+2?<|end|>\n<|assistant|>4<|end|>\n<|user|>1+1?<|end|>\n<|assistant|>"
    assert (rendered.target, rendered.end) == ("2", "<|end|>")
    assert [rendered.prompt[a:b] for a, b in rendered.answers] == ["4"]


def test_an_answer_that_the_chat_template_also_writes_is_found_in_its_own_place() -> None:
    rendered = render(Template(chat=True), example("user", "end"), [example("end", "assistant")], chat_tokenizer())
    assert (rendered.target, rendered.end) == ("end", "<|end|>")
    (start, end) = rendered.answers[0]
    assert rendered.prompt[:start].endswith("<|assistant|>")
    assert rendered.prompt[start:end] == "assistant"


def test_what_a_chat_template_writes_before_an_answer_is_part_of_the_target() -> None:
    thinking = CHATML.replace("{{ m.content | trim }}", "{{ '<think></think>' if loop.last else '' }}{{ m.content }}")
    thinking = thinking.replace("if loop.last", "if loop.last and m.role == 'assistant'")
    assert render(Template(chat=True), SUM, (), chat_tokenizer(thinking)).target == "<think></think>2"


def test_messages_keep_one_system_message_in_front_of_the_demonstrations() -> None:
    def talk(said: str, target: str) -> Example:
        turns = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": said})
        return Example({"messages": turns}, target)

    template = Template(input=CONVERSATION, chat="auto")
    rendered = render(template, talk("hi", "hello"), [talk("bye", "ciao")], chat_tokenizer())
    assert rendered.prompt == (
        "<|system|>Be brief.<|end|>\n<|user|>bye<|end|>\n<|assistant|>ciao<|end|>\n<|user|>hi<|end|>\n<|assistant|>"
    )


@pytest.mark.parametrize("tokenizer", [None, SimpleNamespace(chat_template=None)])
def test_messages_are_plain_lines_where_the_tokenizer_has_no_chat_template(tokenizer: Any) -> None:
    turns = tuple({"role": role, "content": role[0]} for role in ("system", "user", "assistant", "user"))
    rendered = render(Template(input=CONVERSATION, chat="auto"), Example({"messages": turns}, "yes"), (), tokenizer)
    assert rendered.prompt + rendered.target == "System: s\nUser: u\nAssistant: a\nUser: u\nAssistant: yes"


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [
        (None, "no chat template"),
        (chat_tokenizer("{{ raise_exception('roles must alternate') }}"), "refuses the conversation: roles must"),
        (chat_tokenizer("{% if add_generation_prompt %}ask{% else %}told{% endif %}"), "does not continue"),
    ],
)
def test_a_chat_template_that_cannot_serve_is_refused(tokenizer: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        render(Template(chat=True), SUM, (), tokenizer)


EXAMPLES = [example(str(i), str(i % 3)) for i in range(12)]


def choose(k: int, mode: Any = "sampled", seed: int = 0, index: int = 0, **other: Any) -> list[Example]:
    given = {"exclude": None, "examples": EXAMPLES, **other}
    return choose_demonstrations(Template(), given.pop("examples"), k, mode=mode, seed=seed, index=index, **given)


def test_first_demonstrations_are_the_first_and_the_next_stands_in_for_the_item_itself() -> None:
    assert choose(3, "first", index=7) == EXAMPLES[:3]
    assert choose(3, "first", exclude=example("1", "1")) == [EXAMPLES[0], EXAMPLES[2], EXAMPLES[3]]


@given(k=st.integers(0, 11), seed=st.integers(0, 99), index=st.integers(0, 99))
def test_sampled_demonstrations_are_distinct_repeatable_and_never_the_item_itself(
    k: int, seed: int, index: int
) -> None:
    item = example("5", "2")
    shown = choose(k, seed=seed, index=index, exclude=item)
    assert shown == choose(k, seed=seed, index=index, exclude=item)
    assert len({one.fields["input"] for one in shown}) == k
    assert item not in shown


def test_sampled_demonstrations_differ_by_item_and_seed_and_reach_every_example_equally() -> None:
    assert choose(4, index=1) != choose(4, index=2)
    assert choose(4, seed=1) != choose(4, seed=2)
    counts = [0] * len(EXAMPLES)
    for index in range(1200):
        for one in choose(3, index=index):
            counts[EXAMPLES.index(one)] += 1
    # 300 expected, standard deviation 15: five of them; a draw that skips or favours one is off by far more
    assert all(225 < count < 375 for count in counts)


def test_another_accepted_answer_to_the_same_question_gives_it_away_as_well() -> None:
    item = Example({"input": "capital?", "id": 1}, "Bern", answers=("Bern", "Berne"))
    other = Example({"input": "capital?", "id": 2}, "Berne")
    wrong = Example({"input": "capital?", "id": 3}, "Zurich")
    assert choose(1, "first", examples=[other, wrong], exclude=item) == [wrong]


def test_conversations_are_compared_by_their_turns() -> None:
    talks = [Example({"messages": [{"role": "user", "content": text}], "id": i}, "x") for i, text in enumerate("aab")]
    template = Template(chat=True)
    assert choose_demonstrations(template, talks, 1, mode="first", seed=0, index=0, exclude=talks[0]) == [talks[2]]


@pytest.mark.parametrize("mode", ["first", "sampled"])
def test_too_few_examples_to_show_is_one_clear_error(mode: str) -> None:
    with pytest.raises(ValueError, match="2 demonstrations are asked for, and the train split has 0"):
        choose(2, mode, examples=[])
    with pytest.raises(ValueError, match="2 demonstrations are asked for, and the train split has 1"):
        choose(2, mode, examples=[SUM, OTHER, SUM], exclude=SUM)
