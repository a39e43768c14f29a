"""Replay of general text."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.methods.base import Context, Method
from holdfast.row import Row


@dataclass
class Replay(Method):
    """General text is mixed into every step, and makes up `rate` of its loss, however long the texts and short the answers.

    Beside a method that chooses the parameters, such as `Full`. `texts` is a file: one text a line, or JSON lines with a
    `text`. A step gets rate / (1 - rate) times as many texts as rows, at least one; they stand behind no soft prompt,
    every token is predicted, and `text_length` tokens of a text are used.

    Source: Robins 1995, "Catastrophic forgetting, rehearsal and pseudorehearsal" (Connection Science 7)
    """

    KIND: ClassVar[str] = "Replay"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-4, "steps": 200}
    adds_rows: ClassVar[bool] = True

    texts: str = ""
    rate: float = Field(default=0.1, ge=0, lt=1)
    text_length: int = Field(default=256, ge=2)
    seed: int = 0

    def __post_init__(self) -> None:
        self._step = 0

    def prepare(self, context: Context) -> None:
        """Read and tokenize the texts.

        Raises:
            ValueError: no file, or nothing in it that has two tokens; or the model has an encoder.
        """
        self._step = 0
        self._rows: list[Row] = []
        if self.rate == 0:
            return
        if not context.pretrained.architecture.plain_texts:
            raise ValueError(
                "replay: a model with an encoder predicts answers to inputs, and plain texts are neither; tune on a general "
                "task beside the target (holdfast tune MODEL TARGET GENERAL), or use kl_base or l2_sp"
            )
        length = min(self.text_length, context.pretrained.max_length)
        for name, text in read(self.texts):
            tokens = tuple(context.pretrained.tokenizer(text)["input_ids"][:length])
            # The first token is predicted from nothing, so a text of one token has nothing to learn.
            if len(tokens) > 1:
                self._rows.append(Row(tokens, (0.0, *[1.0] * (len(tokens) - 1)), name=name))
        if not self._rows:
            raise ValueError(f"replay: {self.texts} holds no text of two tokens or more")

    def batch(self, rows: list[Row], context: Context) -> list[Row]:
        """Return the rows and drawn texts, which are weighted so that they are `rate` of the total weight."""
        if self.rate == 0:
            return rows
        # A generator a step, from its number: step n draws the same texts after a resume.
        random = np.random.default_rng([self.seed, self._step])
        self._step += 1
        many = max(1, round(self.rate / (1 - self.rate) * len(rows)))
        chosen = [self._rows[i] for i in random.integers(len(self._rows), size=many)]
        predicted = sum(sum(row.weights) for row in chosen)
        # By weight and not by number: a text has hundreds of tokens to predict and an answer one or two.
        weight = self.rate / (1 - self.rate) * sum(sum(row.weights) for row in rows) / predicted
        return rows + [Row(r.tokens, tuple(w * weight for w in r.weights), None, r.name) for r in chosen]

    def state_dict(self) -> dict[str, Any]:
        """Return the number of batches so far."""
        return {"step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after that many batches."""
        self._step = state["step"]


def read(path: str) -> Iterator[tuple[str, str]]:
    """Yield the texts of a file, each with its location (`path:line`).

    Raises:
        ValueError: there is no such file, or a line is no JSON object with a `text`.
    """
    if not Path(path).is_file():
        raise ValueError(
            f"replay.texts={path!r}: there is no such file; give one text a line, or JSON lines with a `text`"
        )
    with Path(path).open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            location = f"{path}:{number}"
            if not path.endswith(".jsonl"):
                yield location, line.rstrip("\n")
            elif line.strip():  # Editors like to end a file with an empty line.
                try:
                    yield location, str(json.loads(line)["text"])
                except (json.JSONDecodeError, KeyError, TypeError):
                    raise ValueError(f"{location}: is no JSON object with a `text`") from None
