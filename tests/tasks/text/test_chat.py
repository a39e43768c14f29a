"""Conversations through chat templates: which tokens are trained, tool calls, thinking, demonstrations, and what is refused."""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from holdfast.row import Row
from holdfast.tasks.formats.conversation import (
    AssistantTurn,
    assistant_turn,
    calls_in,
    read_conversation,
    without_thinking,
)
from holdfast.tasks.formats.record_formats import CONVERSATION
from holdfast.tasks.task import Example, Template
from holdfast.tasks.text.templates import render
from holdfast.tasks.text.tokenization import encode

MARKS = ("{% generation %}", "{% endgeneration %}")
# As of Qwen: tools in the system message, calls and their results as blocks, thinking before the text, a role for each turn.
QWEN = """{%- if tools %}{{ '<|im_start|>system\\n# Tools' }}
{%- for tool in tools %}{{ '\\n' + tool | tojson }}{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}
{%- for m in messages %}
{%- set content = m.content if m.content is string else '' %}
{%- if m.role == 'tool' %}{{ '<|im_start|>user\\n<tool_response>\\n' + content + '\\n</tool_response><|im_end|>\\n' }}
{%- elif m.role != 'assistant' %}{{ '<|im_start|>' + m.role + '\\n' + content + '<|im_end|>\\n' }}
{%- else %}
{%- set thinking = '' %}
{%- if '</think>' in content %}
{%- set thinking = content.split('</think>')[0].split('<think>')[-1].strip('\\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{{- '<|im_start|>assistant\\n' }}BEGIN
{%- if thinking or LATER %}{{ '<think>\\n' + thinking + '\\n</think>\\n\\n' }}{% endif %}
{{- content }}
{%- for call in m.tool_calls or [] %}
{%- if content or not loop.first %}{{ '\\n' }}{% endif %}
{{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}{{ call.function.arguments | tojson }}{{ '}\\n</tool_call>' }}
{%- endfor %}{{ '<|im_end|>' }}END{{ '\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
# As of Llama 3: the beginning token written out, contents stripped, nothing between turns.
LLAMA = """{{ bos_token }}{% for m in messages %}{{ '<|head|>' + m.role + '<|/head|>\\n\\n' }}
{%- if m.role == 'assistant' %}BEGIN{{ m.content | trim + '<|eot|>' }}END{% else %}{{ m.content | trim + '<|eot|>' }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}{{ '<|head|>assistant<|/head|>\\n\\n' }}{% endif %}"""

CALL = {"function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": "I look.", "tool_calls": [{"id": "x", **CALL}]},
    {"role": "tool", "content": '{"t": 12}', "tool_call_id": "x"},
    {"role": "assistant", "content": "12 degrees."},
    {"role": "user", "content": "Sure?"},
    {"role": "assistant", "content": "Yes."},
]
PLAIN = [TALK[0], TALK[1], TALK[4], TALK[5], TALK[6]]


def template(text: str, *, marked: bool, later: str = "false") -> str:
    begin, end = MARKS if marked else ("", "")
    return text.replace("BEGIN", begin).replace("END", end).replace("LATER", later)


@cache
def tokenizer(chat_template: str | None) -> Any:
    """Bytes, and the special tokens of both templates; `bos` is put in front of every text, as Llama does."""
    alphabet = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = Tokenizer(models.BPE(alphabet, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>", "<|head|>", "<|/head|>", "<|eot|>", "<s>"]
    inner.add_special_tokens(special)
    eos = "<|eot|>" if "<|eot|>" in (chat_template or "") else "<|im_end|>"
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token=eos)
    made.chat_template = chat_template
    return made


def example(messages: list[dict[str, Any]], tools: Any = None, **options: Any) -> Example:
    values = {"messages": messages, "tools": tools}
    return Example(*read_conversation(values, options.get("think"), options.get("loss")))


def trained(row: Row, made: Any) -> list[str]:
    """The runs of tokens that carry a weight, as text."""
    pieces: list[list[int]] = []
    before = False
    for token, weight in zip(row.tokens, row.weights, strict=True):
        if weight and not before:
            pieces.append([])
        if weight:
            pieces[-1].append(token)
        before = bool(weight)
    return [made.decode(piece) for piece in pieces]


def row(chat_template: str | None, item: Example, loss: Any = "all", **options: Any) -> Row:
    made = tokenizer(chat_template)
    rendered = render(Template(input=CONVERSATION, chat="auto", loss=loss), item, options.pop("shown", ()), made)
    return encode(made, rendered, max_length=options.pop("max_length", 5000), eos=True, **options)


EOT = {QWEN: "<|im_end|>", LLAMA: "<|eot|>"}


@pytest.mark.parametrize("marked", [True, False], ids=["marks", "offsets"])
@pytest.mark.parametrize("text", [QWEN, LLAMA], ids=["qwen", "llama"])
def test_every_answer_of_a_conversation_is_trained_with_its_end_in_one_row(text: str, marked: bool) -> None:
    made = template(text, marked=marked)
    end = EOT[text]
    result = row(made, example(PLAIN))
    assert trained(result, tokenizer(made)) == [f"12 degrees.{end}", f"Yes.{end}"]
    # The row is what the template writes, up to the end of the last answer; the beginning token stands once.
    whole = tokenizer(made).apply_chat_template(PLAIN, tokenize=False)
    assert tokenizer(made).decode(result.tokens) == whole.rstrip()
    assert trained(row(made, example(PLAIN), "last"), tokenizer(made)) == [f"Yes.{end}"]


@pytest.mark.parametrize("marked", [True, False], ids=["marks", "offsets"])
def test_tool_calls_are_written_by_the_template_and_can_be_trained_alone(marked: bool) -> None:
    made = template(QWEN, marked=marked)
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call><|im_end|>'
    item = example(TALK, TOOLS)
    assert trained(row(made, item), tokenizer(made)) == [f"I look.\n{call}", "12 degrees.<|im_end|>", "Yes.<|im_end|>"]
    assert trained(row(made, item, "call"), tokenizer(made)) == [f"\n{call}"]
    # A call that is the target, with no text beside it.
    last = example([*TALK[:2], {"role": "assistant", "content": None, "tool_calls": [CALL]}], TOOLS)
    assert trained(row(made, last, "call"), tokenizer(made)) == [call]
    assert json.dumps(TOOLS[0]) in tokenizer(made).decode(row(made, last).tokens)


def test_a_template_without_tool_calls_has_them_in_the_text() -> None:
    made = template(LLAMA, marked=True)
    call = '\n<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call><|eot|>'
    assert trained(row(made, example(TALK), "call"), tokenizer(made)) == [call]


def test_plain_text_trains_every_answer_too() -> None:
    result = row(None, example(TALK))
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
    expected = [f"I look.\n{call}", "12 degrees.", "Yes.<|im_end|>"]
    assert [text.strip() for text in trained(result, tokenizer(None))] == expected
    assert [text.strip() for text in trained(row(None, example(TALK), "call"), tokenizer(None))] == [call]


def test_a_template_that_writes_its_last_answer_otherwise_is_masked_by_what_closes_an_answer() -> None:
    """As of Qwen3, which puts an empty block before the last answer and none before earlier ones."""
    made = template(QWEN, marked=False, later="loop.last")
    result = trained(row(made, example(PLAIN)), tokenizer(made))
    assert result == ["12 degrees.<|im_end|>", "<think>\n\n</think>\n\nYes.<|im_end|>"]


@pytest.mark.parametrize(
    ("later", "messages"),
    [
        # An answer that holds the closing text itself.
        ("loop.last", [*PLAIN[:2], {"role": "assistant", "content": "a<|im_end|>b"}, *PLAIN[3:]]),
        # Earlier answers are left out.
        ("loop.last", None),
    ],
)
def test_a_template_that_cannot_be_masked_is_refused_with_the_line_to_add(later: str, messages: Any) -> None:
    made = template(QWEN, marked=False, later=later)
    if messages is None:
        made = made.replace("{{- content }}", "{{- content if loop.last else '...' }}")
    with pytest.raises(
        ValueError, match=r"talk/train\[3\]: .*put \{% generation %\} before and \{% endgeneration %\} behind"
    ):
        render(Template(chat=True, loss="all"), example(messages or PLAIN), (), tokenizer(made), name="talk/train[3]")


def test_marks_around_some_of_the_answers_are_refused() -> None:
    made = template(LLAMA, marked=True).replace(
        "m.role == 'assistant'", "m.role == 'assistant' and not loop.last and loop.index < 4"
    )
    with pytest.raises(ValueError, match="1 generation marks for 2 answers"):
        row(made, example([*PLAIN, *PLAIN[3:]]))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ messages[0].content + 1 }}", "refuses the conversation"),
        ("{{ raise_exception('no system') }}", "refuses the conversation: no system"),
        ("{% for m in messages %}{{ m.nothing.deeper }}{% endfor %}", "refuses the conversation"),
        (template(LLAMA, marked=False), "writes no `tools`; describe them in the system message"),
        (
            template(QWEN, marked=False).replace(
                "{%- for call in m.tool_calls or [] %}", "{%- for call in (m.tool_calls or [])[:0] %}"
            ),
            "leaves out tool calls",
        ),
    ],
)
def test_a_template_that_fails_or_leaves_something_out_is_one_line(source: str, said: str) -> None:
    item = example(
        [*TALK[:2], {"role": "assistant", "content": None, "tool_calls": [CALL]}], TOOLS if "tool" in said else None
    )
    with pytest.raises(ValueError, match=said) as caught:
        row(source, item)
    assert "\n" not in str(caught.value)


THINKING = [TALK[1], {"role": "assistant", "content": "Rain.", "reasoning_content": "Clouds are dark."}]
BLOCK = "<think>\nClouds are dark.\n</think>\n\n"


@pytest.mark.parametrize(("source", "end"), [(QWEN, "<|im_end|>"), (LLAMA, "<|eot|>")], ids=["parsed", "text"])
def test_a_block_of_thinking_is_kept_or_dropped(source: str, end: str) -> None:
    made = template(source, marked=True)
    assert trained(row(made, example(THINKING)), tokenizer(made)) == [f"{BLOCK}Rain.{end}"]
    assert trained(row(made, example(THINKING, think="drop")), tokenizer(made)) == [f"Rain.{end}"]
    assert example(THINKING, think="drop") == example([TALK[1], {"role": "assistant", "content": "Rain."}])
    # In the text or in a field of its own: the same.
    assert example([TALK[1], {"role": "assistant", "content": f"{BLOCK}Rain."}]) == example(THINKING)


def test_thinking_that_a_template_leaves_out_is_refused() -> None:
    made = template(QWEN, marked=False).replace("{%- if thinking or false %}", "{%- if false %}")
    with pytest.raises(ValueError, match=r"leaves out the `<think>` block.*`think: drop`"):
        row(made, example(THINKING))


def test_demonstrations_are_turns_and_those_with_calls_keep_them() -> None:
    made = template(QWEN, marked=False)
    asks = [TALK[1], {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    item = example(PLAIN, TOOLS)
    shown = (example(asks, TOOLS), example(PLAIN[1:3], TOOLS))
    rendered = render(Template(chat=True, loss="all"), item, shown, tokenizer(made))
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
    assert [rendered.prompt[slice(*span)] for span in rendered.answers] == [f"{call}<|im_end|>", "12 degrees."]
    assert [rendered.prompt[slice(*span)] for span in rendered.turns] == ["12 degrees.<|im_end|>"]
    # The system message is the question's, and stands first; the conversation's own first answer comes after both demonstrations.
    assert rendered.prompt.index("Be brief.") < rendered.answers[0][0] < rendered.answers[1][0] < rendered.turns[0][0]
    with pytest.raises(ValueError, match="demonstrations have other `tools`"):
        render(Template(chat=True), item, [example(PLAIN)], tokenizer(made))


def test_an_earlier_answer_that_is_cut_off_is_counted_and_the_target_stays() -> None:
    made = template(LLAMA, marked=True)
    whole = row(made, example(PLAIN))
    cut = row(made, example(PLAIN), max_length=40, prompt=0)
    assert len(cut.tokens) == 40
    assert cut.cut == len(whole.tokens) - 40
    assert cut.lost == len(whole.labels) - len(cut.labels) > 0
    assert trained(cut, tokenizer(made))[-1] == "Yes.<|eot|>"


def test_texts_that_are_scored_know_no_mask() -> None:
    """Likelihoods are of whole answers, whatever training would predict of them."""
    made = template(QWEN, marked=True)
    item = example([TALK[1], {"role": "assistant", "content": "I look.", "tool_calls": [CALL]}], TOOLS)
    rendered = render(Template(chat=True, loss="call"), item, (), tokenizer(made))
    scored = encode(tokenizer(made), rendered, max_length=5000, eos=False)
    assert trained(scored, tokenizer(made)) == [rendered.target]


def test_call_results_keep_their_order_by_ids_that_every_template_takes() -> None:
    calls = [{"id": name, **CALL} for name in ("call_b", "call_a")]
    talk = [
        TALK[1],
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "content": "1", "tool_call_id": "call_a", "name": "weather"},
        TALK[4],
    ]
    (_, _, result) = example(talk).fields["messages"]  # pyright: ignore[reportGeneralTypeIssues]
    assert result == {"role": "tool", "content": "1", "name": "weather", "tool_call_id": "000000001"}


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="<>\0"), max_size=12).map(str.strip)


@settings(max_examples=100, deadline=None)
@given(
    TEXTS,
    st.none() | TEXTS,
    st.lists(
        st.fixed_dictionaries({"name": TEXTS.filter(bool), "arguments": st.dictionaries(TEXTS, TEXTS | st.integers())}),
        max_size=3,
    ),
)
def test_the_text_of_a_turn_says_all_of_it(content: str, thinking: str | None, calls: list[dict[str, Any]]) -> None:
    turn = AssistantTurn(content, thinking, tuple(calls))
    assert assistant_turn(turn.text) == turn
    assert without_thinking(turn.text) == AssistantTurn(content, None, tuple(calls)).text.lstrip()
    assert calls_in(turn.text)[-len(calls) :] == [(c["name"], c["arguments"]) for c in calls] or not calls


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("yes", "yes"),
        ("<think>a</think>\n\nyes", "yes"),
        ("a</think> yes", "yes"),  # a prompt that opens the block itself
        ("<think>a, and b", ""),  # cut before it ended: nothing was answered
        ("we <think> so", "we <think> so"),
    ],
)
def test_thinking_is_no_part_of_an_answer(text: str, left: str) -> None:
    assert without_thinking(text) == left


SMOLLM = Path("~/.cache/holdfast-real/smollm2").expanduser()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", ["smollm2", "qwen", "qwen with tools", "llama"])
def test_the_tokens_that_are_trained_are_those_of_trl(name: str, tmp_path: Path) -> None:
    """TRL's `assistant_only_loss` over the same conversations. It goes on to the newline behind the last end token, which ours leaves
    out because no answer gets there."""
    datasets, trl = pytest.importorskip("datasets"), pytest.importorskip("trl")
    from transformers import LlamaConfig, LlamaForCausalLM

    if not (SMOLLM / "tokenizer.json").exists():
        pytest.skip("needs the tokenizer of SmolLM2-135M-Instruct")
    made = AutoTokenizer.from_pretrained(os.fspath(SMOLLM))
    own = made.chat_template
    # SmolLM2's own template has no marks: ours needs none, TRL's run gets them.
    answer = "{{message['content'] + '<|im_end|>'}}"
    smollm = own.replace(
        "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}",
        "{{'<|im_start|>' + message['role'] + '\n'}}{% if message['role'] == 'assistant' %}{% generation %}"
        + answer + "{% endgeneration %}{% else %}" + answer + "{% endif %}{{'\n'}}",
    )  # fmt: skip
    assert "generation" in smollm
    theirs = {"smollm2": smollm, "llama": template(LLAMA, marked=True)}.get(name, template(QWEN, marked=True))
    ours = {"smollm2": own}.get(name, theirs)
    talks = [PLAIN, [*PLAIN, *PLAIN[3:]], PLAIN[1:3]]
    if name == "qwen with tools":
        # Arrow has one form for all lines, so that arguments are an object here.
        call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
        talks = [[*TALK[:2], {**TALK[2], "tool_calls": [call]}, *TALK[3:]]]
    tools = TOOLS if name == "qwen with tools" else None
    lines = [{"messages": talk} | ({"tools": tools} if tools else {}) for talk in talks]
    if name == "llama":
        made.add_special_tokens({"bos_token": "<s>", "eos_token": "<|eot|>"})
    made.chat_template = theirs
    config = LlamaConfig(
        vocab_size=len(made),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
    )
    arguments = trl.SFTConfig(
        output_dir=str(tmp_path), assistant_only_loss=True, report_to=[], use_cpu=True, max_length=None
    )
    data = datasets.Dataset.from_list(lines)
    trainer = trl.SFTTrainer(LlamaForCausalLM(config), arguments, train_dataset=data, processing_class=made)
    for line, expected in zip(lines, trainer.train_dataset, strict=True):
        made.chat_template = ours
        rendered = render(Template(chat=True, loss="all"), example(line["messages"], tools), (), made)
        result = encode(made, rendered, max_length=5000, eos=True)
        length = len(result.tokens)
        assert list(result.tokens) == expected["input_ids"][:length]
        assert made.decode(expected["input_ids"][length:]).strip() == ""
        mask = [label != -100 for label in expected["labels"][:length]]
        assert [weight > 0 for weight in result.weights] == mask
        assert sum(mask) >= 5
