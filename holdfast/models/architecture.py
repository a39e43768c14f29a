"""Decisions that follow from a model's architecture: rows of text, room, arguments of a forward, capabilities.

The only file that looks at a model's configuration for it. Everybody else asks the `Architecture` for a capability or lets it
decide, never for its name: another architecture is another class here.
"""

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from holdfast.row import Row
from holdfast.tasks.text.tokenization import ONE_SEQUENCE, TextLayout
from holdfast.tasks.text.two_sequences import TWO_SEQUENCES

# torch is imported where it is needed alone: cards ask for an architecture too, and are written without it.
if TYPE_CHECKING:
    from torch import Tensor


class Architecture(ABC):
    """Decisions and capabilities that follow from a model's construction.

    Attributes:
        description: For people to read.
        auto_class: The name of the class in transformers that loads the model.
        task_type: PEFT's name for the task of an adapter.
        layout: The rule by which a prompt and its target become the tokens of a row.
        one_sequence: Prompt and target stand in one sequence, in which each token sees those before it. What rows begin with is
            then the same in all of them, and can be computed once for all.
        plain_texts: Any text can be predicted, and not only an answer to an input.
        deep_prefixes: Keys and values of a prompt can stand before a row in every layer.
        needs_beginning: The first token of a text is predicted from one before it. Otherwise the model begins with one of its own.
        left_padding: Rows of different lengths are padded before their first token where they are continued.
    """

    description: ClassVar[str]
    auto_class: ClassVar[str]
    task_type: ClassVar[str]
    layout: ClassVar[TextLayout]
    one_sequence: ClassVar[bool]
    plain_texts: ClassVar[bool]
    deep_prefixes: ClassVar[bool]
    needs_beginning: ClassVar[bool]
    left_padding: ClassVar[bool]

    @abstractmethod
    def encoded(self, row: Row) -> int:
        """Return the number of a row's first tokens that an encoder reads."""

    @abstractmethod
    def positions(self, read: int, written: int) -> int:
        """Return the positions that a prompt of `read` tokens and `written` tokens behind it take of those that the model has."""

    def row_positions(self, row: Row) -> int:
        """Return the positions that a row takes."""
        return self.positions(row.boundary, len(row.tokens) - row.boundary)

    @abstractmethod
    def before_new(self, read: int) -> int:
        """Return the number of tokens that stand before the new ones in what transformers generates behind a prompt of `read` tokens."""

    @abstractmethod
    def decoder_inputs(self, tokens: "Tensor") -> dict[str, "Tensor"]:
        """Return what a forward needs beside its inputs to predict what follows tokens [B, T]."""

    @abstractmethod
    def head_inputs(self, states: "Tensor") -> dict[str, Any]:
        """Return a forward's arguments [1, N, D] in which nothing is left to do but what stands behind the body."""

    @abstractmethod
    def sentinels(self, tokenizer: Any) -> tuple[int, int] | None:
        """Return the tokens that open and close an answer, or None where an answer stands alone."""

    @abstractmethod
    def check(self, model: Any) -> None:
        """Refuse a model whose configuration lacks what this architecture needs.

        Raises:
            ValueError: it does.
        """


class DecoderOnly(Architecture):
    """The model continues one sequence."""

    description = "decoder-only"
    auto_class = "AutoModelForCausalLM"
    task_type = "CAUSAL_LM"
    layout = ONE_SEQUENCE
    one_sequence = True
    plain_texts = True
    deep_prefixes = True
    needs_beginning = True
    left_padding = True

    def encoded(self, row: Row) -> int:
        """Return 0."""
        return 0

    def positions(self, read: int, written: int) -> int:
        """Return the sum: both stand in one sequence."""
        return read + written

    def before_new(self, read: int) -> int:
        """Return the length of the prompt, which is part of the sequence."""
        return read

    def decoder_inputs(self, tokens: "Tensor") -> dict[str, "Tensor"]:
        """Return nothing: the inputs themselves are continued."""
        return {}

    def head_inputs(self, states: "Tensor") -> dict[str, Any]:
        """Return the states in the place of embeddings."""
        return {"inputs_embeds": states}

    def sentinels(self, tokenizer: Any) -> tuple[int, int] | None:
        """Return None."""
        return None

    def check(self, model: Any) -> None:
        """Refuse nothing."""


class EncoderDecoder(Architecture):
    """An encoder reads the prompt, both ways at once, and a decoder writes the target."""

    description = "encoder-decoder"
    auto_class = "AutoModelForSeq2SeqLM"
    task_type = "SEQ_2_SEQ_LM"
    layout = TWO_SEQUENCES
    one_sequence = False
    plain_texts = False
    deep_prefixes = False
    needs_beginning = False
    left_padding = False

    def encoded(self, row: Row) -> int:
        """Return the length of the prompt."""
        return row.boundary

    def positions(self, read: int, written: int) -> int:
        """Return those of the encoder: the target has positions of its own, and is bounded when it is tokenised."""
        return read

    def before_new(self, read: int) -> int:
        """Return 1: the token that the decoder begins with."""
        return 1

    def decoder_inputs(self, tokens: "Tensor") -> dict[str, "Tensor"]:
        """Return the tokens as what the decoder has written so far."""
        return {"decoder_input_ids": tokens}

    def head_inputs(self, states: "Tensor") -> dict[str, Any]:
        """Return the states in the place of the decoder's embeddings and of the encoder's states."""
        from transformers.modeling_outputs import BaseModelOutput

        outputs = BaseModelOutput(last_hidden_state=states)  # pyright: ignore[reportArgumentType]
        # The encoder's states only have to be there: the decoder that would read them is replaced while the head runs.
        return {"decoder_inputs_embeds": states, "encoder_outputs": outputs}

    def sentinels(self, tokenizer: Any) -> tuple[int, int] | None:
        """Return those of a model that was pretrained to fill gaps, where its tokenizer has them."""
        from holdfast.models.describe import sentinels

        return sentinels(tokenizer)

    def check(self, model: Any) -> None:
        """Refuse a model that does not say what its decoder begins with."""
        from holdfast.models.describe import decoder_start

        decoder_start(model)


DECODER_ONLY, ENCODER_DECODER = DecoderOnly(), EncoderDecoder()


def of_config(config: Any) -> Architecture:
    """Return the architecture that a transformers configuration describes."""
    return ENCODER_DECODER if config.is_encoder_decoder else DECODER_ONLY


def architecture_of(model: Any) -> Architecture:
    """Return the architecture of a loaded transformers model, also of one that PEFT has wrapped."""
    return of_config(model.config)


def of_run(folder: str | Path) -> Architecture:
    """Return the architecture of the model in a run's folder, as its own configuration or its adapter's or prompt's says.

    Where none of them is there it is decoder-only, as most models are.
    """
    folder = Path(folder)
    prompts = sorted((folder / "prompt").glob("**/adapter_config.json"))
    for path in (folder / "model/config.json", folder / "adapter/adapter_config.json", *prompts):
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        # A run that trained an adapter or a prompt alone holds no model configuration; PEFT's names the task.
        if config.get("is_encoder_decoder") or config.get("task_type") == ENCODER_DECODER.task_type:
            return ENCODER_DECODER
    return DECODER_ONLY
