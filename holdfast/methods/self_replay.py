"""Self-replay: texts of the starting model's making hold it where it was."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from accelerate import PartialState
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from holdfast.inference.language_model import LanguageModel
from holdfast.inference.sampling import Sampling
from holdfast.methods._divergence import divergence, frozen_copy, predictions
from holdfast.methods._written_texts import continuations
from holdfast.methods.base import Context, Method
from holdfast.prefix.model import PrefixModel
from holdfast.row import Row
from holdfast.tasks.task import Example, Template
from holdfast.tasks.templates import render
from holdfast.tasks.tokenization import encode_prompt

if TYPE_CHECKING:
    from holdfast.prefix.head import LabelLogits

MARK = "@@question@@"


@dataclass
class SelfReplay(Method):
    """Hold the model to its start on texts that it wrote itself: loss + coefficient * KL(base, model), the mean over these texts' tokens.

    For those who have no general data: the texts are drawn from the model before it moves, some from nothing but the beginning of a
    text and, where it has a chat template, some as a user's message and its answer. Beside a method that chooses the parameters, such
    as `Full`; the texts stand behind no soft prompt. Costs memory for one more model, a sampling before the first step (minutes on a
    CPU), and for each step `self_batch` texts through both models. A coefficient of 10 keeps more where the model can do the target
    already, and costs points of a target that it cannot do yet.

    Source: Marek et al. 2026, arXiv 2605.26097 (coefficients 1, 3 and 10; 32 texts beside 128 rows)
    """

    KIND: ClassVar[str] = "SelfReplay"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 1e-4, "steps": 200}

    coefficient: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="weight of the KL beside the loss; 0 is off"
    )
    self_texts: int = Field(default=128, ge=1, description="texts that are sampled before the first step")
    self_length: int = Field(default=128, ge=2, description="tokens of a text at most")
    self_batch: int = Field(default=8, ge=1, description="texts of a step")
    self_chat: float = Field(
        default=0.5, ge=0, le=1, description="share of the texts that are chats, where the model has a chat template"
    )
    seed: int = Field(default=0, description="seed of the texts and of their order")

    def __post_init__(self) -> None:
        self._step = 0
        self._texts: list[str] = []

    def prepare(self, context: Context) -> None:
        """Copy the model before it moves.

        Raises:
            ValueError: the model has an encoder.
        """
        self._step, self._texts, self._rows = 0, [], []
        if not self.coefficient:
            return
        if not context.pretrained.architecture.plain_texts:
            raise ValueError(
                "self_replay: a model with an encoder writes answers to inputs, and no texts of its own; use kl_base or l2_sp"
            )
        self._base = frozen_copy(context.model.model)

    def batch(self, rows: list[Row], context: Context) -> list[Row]:
        """Return the rows and drawn texts, which enter only `own_loss`; the first call samples the texts."""
        if not self.coefficient:
            return rows
        # Not in `prepare`: now the model is on its device, and a resumed run has the texts in its state.
        if not self._texts:
            self._texts = self._sampled(context.language_model())
        self._rows = self._rows or self._encoded(context)
        # A generator a step, from its number: step n draws the same texts after a resume.
        random = np.random.default_rng([self.seed, self._step])
        self._step += 1
        chosen = [self._rows[i] for i in random.integers(len(self._rows), size=self.self_batch)]
        weight = 1 / sum(len(row.tokens) - 1 for row in chosen)
        name = type(self).__name__
        return rows + [
            Row(row.tokens, (0.0, *[weight] * (len(row.tokens) - 1)), name=row.name, added_by=name) for row in chosen
        ]

    def own_loss(self, model: PrefixModel, rows: Sequence[Row], output: "LabelLogits") -> Tensor:
        """Return coefficient * the part of the step's mean divergence that these texts have, a scalar in nats."""
        base = predictions(self._base, model, rows, output.states.device)
        return self.coefficient * output.total(divergence, base)

    def state_dict(self) -> dict[str, Any]:
        """Return the texts, and the number of batches so far."""
        return {"step": self._step, "texts": self._texts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after that many batches, with these texts."""
        self._step = state["step"]
        # A state from before the first batch has none, and those that were sampled since stay.
        if state["texts"]:
            self._texts, self._rows = state["texts"], []

    def _sampled(self, model: LanguageModel) -> list[str]:
        """Return texts drawn from the model at temperature 1, by the seed alone."""
        began = time.perf_counter()
        chats = round(self.self_chat * self.self_texts) if getattr(model.tokenizer, "chat_template", None) else 0
        # At most half of the model's positions: the text of a chat's template needs some as well.
        new = max(2, min(self.self_length, model.room // 2))
        texts = continuations(model, "", self.self_texts - chats, new, self.seed)
        if chats:
            opening = _asked(model.tokenizer, MARK).prompt.partition(MARK)[0]
            begun = [
                _asked(model.tokenizer, text) for text in continuations(model, opening, chats, new // 2, self.seed)
            ]
            sampling = Sampling(new // 2, temperature=1.0, seed=self.seed)
            answers = model.generate([chat.prompt for chat in begun], sampling)
            texts += [chat.prompt + answer + chat.end for chat, answer in zip(begun, answers, strict=True)]
        if PartialState().is_main_process:
            seconds = time.perf_counter() - began
            print(f"self_replay: the model wrote {len(texts)} texts in {seconds:.0f} s", file=sys.stderr, flush=True)
        return texts

    def _encoded(self, context: Context) -> list[Row]:
        tokenizer, rows = context.pretrained.tokenizer, []
        start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        length = context.pretrained.max_length
        for number, text in enumerate(self._texts):
            tokens = encode_prompt(tokenizer, text, max_length=2**30)
            # The token that a text was drawn behind, which not every tokenizer writes.
            tokens = tokens if tokens[:1] == (start,) else (start, *tokens)
            if len(tokens) > 1:
                rows.append(Row(tokens[:length], (0.0,) * min(len(tokens), length), name=f"self_replay[{number}]"))
        if not rows:
            raise ValueError("self_replay: the model wrote nothing but empty texts; use replay with texts of yours")
        return rows


def _asked(tokenizer: Any, text: str) -> Any:
    """Return a user's message as the chat template writes it, up to the answer."""
    return render(Template(chat=True), Example({"messages": [{"role": "user", "content": text}]}, ""), (), tokenizer)
