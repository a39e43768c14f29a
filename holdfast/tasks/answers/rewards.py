"""Rewards: a number for an answer that a model wrote, given the example that it answers. Rules, or functions of a user's file."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, cast

from holdfast.plugins import run_file, unknown
from holdfast.tasks.answers import judges
from holdfast.tasks.formats.conversation import calls_in
from holdfast.tasks.task import Example

Reward = Callable[[str, Example], float]
THOUGHT = re.compile(r"\s*<think>.*?</think>\s*<answer>(.*?)</answer>\s*", re.DOTALL)
ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def thinking_format(answer: str, example: Example) -> float:
    """Return 1 where the whole answer is `<think>...</think>` and then `<answer>...</answer>`, else 0.

    Source: Li et al. 2025, "Think or not think" (CLS-RL, NeurIPS), the format reward
    """
    return float(THOUGHT.fullmatch(answer) is not None)


def thinking_answer(answer: str, example: Example) -> float:
    """Return 1 where the content of `<answer>` is an accepted answer but for case, or the same number; else 0."""
    tagged = ANSWER.search(answer)
    if tagged is None:
        return 0.0
    content = tagged[1].strip()
    if any(content.casefold() == gold.strip().casefold() for gold in example.accepted):
        return 1.0
    value = _number(content)
    return float(value is not None and any(value == _number(gold) for gold in example.accepted))


def _number(text: str) -> float | None:
    """Return a text that is a number and nothing else as one."""
    try:
        value = float(text.strip().replace(",", "").lstrip("$"))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def tool_call(answer: str, example: Example) -> float:
    """Return the reward of a tool call by TL-Training's table, from -2 (no call that can be read, or an unknown tool) to 1 (right).

    The tools are those of the example's field `tools`. A parameter is hallucinated where the tool's schema has none of that name, and
    redundant where the schema has it and the target does not. Of several calls it is the mean over the target's, each held against the
    call at its place; a call too few or too many is -2. Where tools are there and the target calls none, an answer without a call has 1,
    which the table leaves open.

    Source: Ye et al. 2024, "TL-Training" (arXiv 2412.15495), the rule-based reward

    Raises:
        ValueError: the target calls no tool, and the example has none.
    """
    calls, gold = calls_in(answer), calls_in(example.target)
    if not gold and not example.fields.get("tools"):
        raise ValueError(
            f"the target {example.target!r:.60} calls no tool, and no `tools` are there; give another reward"
        )
    if not gold and not calls:
        return 1.0
    if len(calls) != len(gold):
        return -2.0
    schemas = {name: set(arguments) for name, arguments in gold} | _schemas(example)
    return sum(_call_reward(call, right, schemas) for call, right in zip(calls, gold, strict=True)) / len(gold)


def _call_reward(call: tuple[str, Any], gold: tuple[str, Any], schemas: Mapping[str, set[str]]) -> float:
    (name, written), (right_name, right) = call, gold
    if name not in schemas or not isinstance(written, Mapping):
        return -2.0
    if name != right_name:
        return -1.5
    more = written.keys() - right.keys()
    hallucinated, missing = bool(more - schemas[name]), bool(right.keys() - written.keys())
    redundant = bool(more & schemas[name])
    faults = redundant + missing
    if hallucinated:
        return (-0.8, -1.3, -1.8)[faults]
    if faults:
        return (-0.5, -1.0)[faults - 1]
    return 1.0 if written == right else -0.25


def _schemas(example: Example) -> dict[str, set[str]]:
    """Return the parameters of each tool that the example names."""
    tools = example.fields.get("tools")
    schemas: dict[str, set[str]] = {}
    for tool in tools if isinstance(tools, list | tuple) else ():
        function = tool.get("function", tool)
        schemas[str(function.get("name"))] = set((function.get("parameters") or {}).get("properties") or {})
    return schemas


def _judged(name: str) -> Reward:
    judge = judges.find_judge(name, threshold=1.0)
    return lambda answer, example: float(judge(answer, example))


def word_f1(answer: str, example: Example) -> float:
    """Return the largest F1 of words with an accepted answer, from 0 to 1."""
    return max(judges.f1(judges.words(answer), judges.words(gold)) for gold in example.accepted)


RULES: dict[str, Reward] = {
    "exact": _judged("exact"),
    "answer": _judged("answer"),
    "number": _judged("number"),
    "f1": word_f1,
    "thinking_format": thinking_format,
    "thinking_answer": thinking_answer,
    "tool_call": tool_call,
}
"""The rules by name; what `reward` fields name beside functions of a user's file."""


@dataclass(frozen=True)
class Rewards:
    """The sum of one or several rewards, by name."""

    rules: Mapping[str, Reward]

    @property
    def files(self) -> list[Path]:
        """Return the files of the user's functions among them."""
        return [Path(name.rpartition(":")[0]) for name in self.rules if name not in RULES]

    def __call__(self, answer: str, example: Example) -> float:
        """Return the reward of an answer, a finite number.

        Raises:
            ValueError: a reward raised, or returned what is no finite number.
        """
        total = 0.0
        for name, rule in self.rules.items():
            try:
                value = rule(answer, example)
            except Exception as error:
                if name in RULES:
                    raise ValueError(f"reward={name}: {error}") from error
                reason = f"raised {type(error).__name__}: {error}"
                raise ValueError(f"reward={name}: {reason}, of the answer {answer!r:.80}; mend the function") from error
            if not isinstance(value, Real) or not math.isfinite(value):
                raise ValueError(
                    f"reward={name}: returned {value!r} of the answer {answer!r:.80}; return a finite number for every answer"
                )
            total += float(value)
        return total


def find_rewards(names: str) -> Rewards:
    """Return the sum of the rewards that are named, by commas: rules, or functions of a user's file (`path/to/file.py:function`).

    A function gets the answer and the example (`holdfast.tasks.task.Example`), and returns a number.

    Raises:
        ValueError: there is no such rule, file or function, or the file fails.
    """
    rules: dict[str, Reward] = {}
    for name in filter(None, (part.strip() for part in names.split(","))):
        rules[name] = RULES[name] if name in RULES else _from_file(name)
    if not rules:
        raise ValueError(f"reward={names!r}: names none; give {', '.join(RULES)} or path/to/file.py:function")
    return Rewards(rules)


def _from_file(name: str) -> Reward:
    path, colon, symbol = name.rpartition(":")
    if not path.endswith(".py") or not colon:
        raise unknown("reward", name, [*RULES, "path/to/file.py:function"])
    if not Path(path).is_file():
        raise ValueError(f"reward={name}: there is no file {path}")
    function: Any = getattr(run_file(Path(path)), symbol, None)
    if not callable(function):
        raise ValueError(f"reward={name}: {path} defines no function {symbol}(answer, example)")
    return cast(Reward, function)
