"""An example through the tokenizer's chat template, and which characters of it are the assistant's."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.tasks.formats.conversation import REASONING, AssistantTurn, assistant_turn, call_id
from holdfast.tasks.task import Example, Template
from holdfast.tasks.text.rendered import Rendered, Span

GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
UNMASKED = (
    "this tokenizer's chat template writes answer {number} otherwise once the conversation goes on, so its tokens cannot be told from "
    "the rest; put {{% generation %}} before and {{% endgeneration %}} behind what it writes for the assistant, or say `loss: last` in "
    "task.yaml"
)
Message = dict[str, Any]


@dataclass
class ChatTemplate:
    """The chat template of a tokenizer, with the tools of one example.

    Raises:
        ValueError: it has no place for tools, and there are some.
    """

    tokenizer: Any
    tools: Sequence[Mapping[str, Any]] = ()
    source: str = field(init=False)

    def __post_init__(self) -> None:
        self.tools = list(self.tools)
        template = self.tokenizer.chat_template
        self.source = (
            template if isinstance(template, str) else self.tokenizer.get_chat_template(tools=self.tools or None)
        )
        if self.tools and "tools" not in self.source:
            raise ValueError(
                "this tokenizer's chat template writes no `tools`; describe them in the system message, or take a model that is made "
                "for them"
            )

    def write(self, messages: Sequence[Message], *, ask: bool) -> str:
        """Return the conversation as text; with `ask`, opened for the assistant's next message."""
        return self._apply(messages, tokenize=False, add_generation_prompt=ask)

    def marked(self, messages: Sequence[Message]) -> list[Span]:
        """Return the spans between the template's generation marks, of the conversation opened for the next message."""
        tokens = self._apply(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, add_generation_prompt=True,
            tokenizer_kwargs={"return_offsets_mapping": True},
        )  # fmt: skip
        spans: list[Span] = []
        before = 0
        for inside, (begin, end) in zip(tokens["assistant_masks"], tokens["offset_mapping"], strict=True):
            if inside and before:
                spans[-1] = (spans[-1][0], end)
            elif inside:
                spans.append((begin, end))
            before = inside
        return spans

    def message(self, turn: AssistantTurn, begin: int) -> Message:
        """Return an assistant's turn as this template takes it: calls and thinking of their own, or in the text. `begin` numbers calls."""
        separate = bool(turn.calls) and "tool_calls" in self.source
        # A template that looks for the block in the text finds it there; one that only knows a field for it gets the field.
        as_field = (
            turn.thinking is not None and "</think>" not in self.source and any(k in self.source for k in REASONING)
        )
        inline = AssistantTurn(turn.content, None if as_field else turn.thinking, () if separate else turn.calls)
        message: Message = {"role": "assistant", "content": inline.text}
        if as_field:
            message["reasoning_content"] = turn.thinking
        if separate:
            message["tool_calls"] = [
                {"type": "function", "id": call_id(number), "function": dict(call)}
                for number, call in enumerate(turn.calls, begin)
            ]
        return message

    def structured(self, turn: AssistantTurn) -> bool:
        """Return whether the template writes this turn by its parts, so that its text is not the turn's text between two marks."""
        return (bool(turn.calls) and "tool_calls" in self.source) or (
            turn.thinking is not None and "think" in self.source
        )

    def _apply(self, messages: Sequence[Message], **options: Any) -> Any:
        if self.tools:
            options["tools"] = self.tools
        try:
            return self.tokenizer.apply_chat_template(list(messages), **options)
        except Exception as error:  # whatever a template raises is the template's fault, or the data's
            raise ValueError(f"this tokenizer's chat template refuses the conversation: {_first_line(error)}") from None


def render_chat(
    template: Template,
    example: Example,
    demonstrations: Sequence[Example],
    tokenizer: Any,
    turns: Callable[[Example], list[Message]],
) -> Rendered:
    """Return the text of an example behind its demonstrations, which are turns before it.

    `turns` gives the conversation that asks for an example's target.

    Raises:
        ValueError: the template fails, cannot be masked, or leaves out what the target is made of; demonstrations have other tools.
    """
    chat = ChatTemplate(tokenizer, _tools(example))
    if any(_tools(shown) != _tools(example) for shown in demonstrations):
        raise ValueError(
            "demonstrations have other `tools` than the question, and a prompt has one list of them; ask with 0 shots"
        )
    talk = Talk(chat)
    for shown in demonstrations:
        # Templates accept one system message, in first place: it is the question's.
        talk.add(turn for turn in turns(shown) if turn["role"] != "system")
        talk.answer(shown.target)
    begin = len(talk.messages)
    question = turns(example)
    if question[0]["role"] == "system":  # templates accept a system message in first place only
        talk.open(question.pop(0))
        begin += 1
    talk.add(question)
    if template.instruction:
        first = next((turn for turn in talk.messages if turn["role"] == "user"), talk.messages[0])
        first["content"] = template.instruction + template.separator + first["content"]
    prompt = chat.write(talk.messages, ask=True)
    target, end = talk.target(prompt, example.target)
    text, answers, move = _fill(prompt, talk.targets)
    parts = assistant_turn(example.target)
    if template.loss == "last":
        turn_spans, skip = [], 0
    else:
        turn_spans = talk.spans(prompt, end, begin, calls=template.loss == "call")
        skip = call_begin(target + end, parts) if template.loss == "call" else 0
    shown_spans = talk.spans(prompt, end, 0, only=talk.structured_answers)
    moved = [(move(first), move(last)) for first, last in shown_spans]
    return Rendered(
        text,
        target,
        end,
        tuple(sorted([*answers, *moved])),
        tuple((move(first), move(last)) for first, last in turn_spans),
        skip,
    )


@dataclass
class Talk:
    """The messages of a prompt while they are put in order, with marks in the place of demonstrations' answers."""

    chat: ChatTemplate
    messages: list[Message] = field(default_factory=list)
    parts: dict[int, AssistantTurn] = field(default_factory=dict)  # of the assistant's messages, by their index
    targets: list[str] = field(default_factory=list)  # that stand behind marks
    structured_answers: list[int] = field(default_factory=list)  # demonstrations' answers that are no marks
    untrained: set[int] = field(default_factory=set)  # messages of the assistant's that have weight 0
    calls: int = 0

    def add(self, turns: Any) -> None:
        """Append messages as the template takes them."""
        for turn in turns:
            if turn["role"] == "assistant":
                self.untrained |= {len(self.messages)} if turn.get("weight") == "0" else set()
                self._assistant(turn["content"])
            else:
                self.messages.append(dict(turn))

    def open(self, message: Message) -> None:
        """Put a message in front."""
        self.messages.insert(0, message)
        self.parts = {index + 1: turn for index, turn in self.parts.items()}
        self.structured_answers = [index + 1 for index in self.structured_answers]
        self.untrained = {index + 1 for index in self.untrained}

    def answer(self, text: str) -> None:
        """Append a demonstration's answer."""
        turn = assistant_turn(text)
        if self.chat.structured(turn):
            self.structured_answers.append(len(self.messages))
            self._assistant(text)
            return
        # A mark stands for the answer while the template works, because that may strip a message's ends: answers stay what they are.
        self.messages.append({"role": "assistant", "content": mark(len(self.targets))})
        self.targets.append(text)

    def target(self, prompt: str, text: str) -> tuple[str, str]:
        """Return what the template writes behind the prompt for an answer, and what closes it.

        Raises:
            ValueError: the template does not go on from its own prompt, or leaves out thinking or calls.
        """
        last = mark(len(self.targets))
        whole = self.chat.write([*self.messages, {"role": "assistant", "content": last}], ask=False)
        before, middle, end = whole.removeprefix(prompt).partition(last)
        # Otherwise the tokens that are trained would not be those that the model is asked to continue with.
        if not whole.startswith(prompt) or not middle:
            raise ValueError(
                "this tokenizer's chat template does not continue its own generation prompt with the answer, so the two "
                "cannot be told apart; use chat=False"
            )
        # Behind the end token many templates write a newline, which a generated answer never gets to.
        end, turn = end.rstrip(), assistant_turn(text)
        if not self.chat.structured(turn):
            return before + text, end
        message = self.chat.message(turn, self.calls)
        written = self.chat.write([*self.messages, message], ask=False)
        answer = written.removeprefix(prompt).rstrip().removesuffix(end)
        if not written.startswith(prompt) or (turn.thinking and turn.thinking.strip() not in answer):
            raise ValueError(
                "this tokenizer's chat template leaves out the `<think>` block of an answer, or opens it itself, so that it cannot be "
                "trained; say `think: drop` in task.yaml"
            )
        if any(str(call["name"]) not in answer for call in turn.calls):
            raise ValueError(
                "this tokenizer's chat template leaves out tool calls; take a model whose template writes them"
            )
        return answer, end

    def spans(
        self, prompt: str, closing: str, begin: int, *, calls: bool = False, only: Sequence[int] | None = None
    ) -> list[Span]:
        """Return the spans of `prompt` that hold the assistant's messages from `begin` on: by the generation marks, else exactly.

        `closing` is what the template writes behind an answer. With `calls`, only the tool calls in them; `only` names certain messages.

        Raises:
            ValueError: a message is written otherwise once others follow it.
        """
        chosen = [index for index in sorted(self.parts) if index >= begin and (only is None or index in only)]
        marks = self._marks() if chosen and GENERATION.search(self.chat.source) else {}
        spans = []
        for number, index in enumerate(chosen, 1):
            first, last = marks[index] if marks else self._exact(prompt, closing, index, number)
            if index in self.untrained or (calls and not self.parts[index].calls):
                continue
            skip = call_begin(prompt[first:last], self.parts[index]) if calls else 0
            spans.append((first + skip, last))
        return spans

    def _marks(self) -> dict[int, Span]:
        """Return the marked span of each of the assistant's messages."""
        indices = [index for index, message in enumerate(self.messages) if message["role"] == "assistant"]
        spans = self.chat.marked(self.messages)
        if len(spans) != len(indices):
            raise ValueError(
                f"this tokenizer's chat template has {len(spans)} generation marks for {len(indices)} answers; put one pair around what "
                "it writes for each of the assistant's messages"
            )
        return dict(zip(indices, spans, strict=True))

    def _exact(self, prompt: str, closing: str, index: int, number: int) -> Span:
        """Return the span of a message: from where the conversation was opened for it to what closes an answer."""
        opened = self.chat.write(self.messages[:index], ask=True)
        closed = self.chat.write(self.messages[: index + 1], ask=False).rstrip()
        content = self.parts[index].content.strip()
        first, last = len(opened), -1
        if prompt.startswith(opened) and prompt.startswith(closed):
            last = len(closed)
        elif prompt.startswith(opened) and closing and closing not in self.parts[index].text:
            # A template that writes its last answer in another way (with an empty block of thinking, say) closes all of them alike.
            last = prompt.find(closing, first) + len(closing)
        if last <= first or content not in prompt[first:last]:
            raise ValueError(UNMASKED.format(number=number))
        return first, last

    def _assistant(self, text: str) -> None:
        turn = assistant_turn(text)
        self.parts[len(self.messages)] = turn
        structured = self.chat.structured(turn)
        self.messages.append(
            self.chat.message(turn, self.calls) if structured else {"role": "assistant", "content": text}
        )
        self.calls += len(turn.calls)


def call_begin(text: str, turn: AssistantTurn) -> int:
    """Return where the tool calls begin in an assistant's turn as it is written; its length where there are none."""
    if not turn.calls:
        return len(text)
    position = text.rfind("</think>") + len("</think>") if "</think>" in text else 0
    content = turn.content.strip()
    # Some templates leave the text beside a call out.
    start = text.find(content, position) if content else -1
    return position if start < 0 else start + len(content)


def mark(number: int) -> str:
    """Return the mark for answer `number` while a chat template writes around it, so that its span is known exactly."""
    return f"@@answer-{number}@@"


def _tools(example: Example) -> Sequence[Mapping[str, Any]]:
    tools = example.fields.get("tools") if "messages" in example.fields else None
    return tools if isinstance(tools, list | tuple) else ()


def _fill(text: str, targets: Sequence[str]) -> tuple[str, tuple[Span, ...], Callable[[int], int]]:
    """Return `text` with every mark replaced by its target, the spans at which the targets then stand, and where a position goes."""
    filled, spans, past = "", [], 0
    shifts: list[tuple[int, int]] = []
    for match in re.finditer(r"@@answer-(\d+)@@", text):
        filled += text[past : match.start()]
        target = targets[int(match[1])]
        spans.append((len(filled), len(filled) + len(target)))
        shifts.append((match.end(), len(target) - len(match[0])))
        filled, past = filled + target, match.end()
    return (
        filled + text[past:],
        tuple(spans),
        lambda position: position + sum(by for at, by in shifts if at <= position),
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
