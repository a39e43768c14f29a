"""Prompt tuning: a few trained vectors in front of the input, the model frozen."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import nn

from holdfast.methods.base import Context, Method, ParameterGroup
from holdfast.models.describe import embedding_rms
from holdfast.prompts.load import check_length
from holdfast.prompts.soft_prompt import SoftPrompt, check_init, check_takes_vectors, initial
from holdfast.row import Row

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.model import PrefixModel


@dataclass
class PromptTuning(Method):
    """Train a soft prompt [P, D] in front of the input embeddings, and freeze the model. Stage 1 of ProMoT.

    Use it where nothing may be forgotten: without the prompt the model is the base, to the bit. It takes more steps than training weights,
    each of them a forward and a backward pass over P positions more; its optimizer holds nothing but P x D numbers.
    `length` is P. `init` is `vocabulary` (embeddings of tokens that are frequent in the training text), `labels`
    (embeddings of the answers, then vocabulary), `text:...` (embeddings of that text) or `uniform`. The learning rate
    is in units of the word embeddings' root mean square, so that one default fits every width and initialisation.

    Source: Lester et al. 2021, "The power of scale for parameter-efficient prompt tuning" (EMNLP)
    """

    KIND: ClassVar[str] = "PromptTuning"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 0.1, "steps": 400, "weight_decay": 0.0}
    moves_the_model: ClassVar[bool] = False

    length: int = Field(
        default=50,
        ge=1,
        description="vectors of the prompt, each the place of a token",
        json_schema_extra={"usual": [1, 500]},
    )
    init: str = Field(
        default="vocabulary",
        description="what the vectors are at first: vocabulary, labels, uniform, or text:SOME TEXT",
    )
    seed: int = Field(default=0, description="seed of the initial values")

    def versions(self) -> Sequence[str]:
        """Refuse an `init` that is none; nothing else is named by the fields."""
        check_init(self.init)
        return super().versions()

    def prepare(self, context: Context) -> None:
        """Make the prompt, from tokens that the training rows really contain.

        Raises:
            ValueError: the model computes no vectors but those of words, or has no room for text behind so many.
        """
        # Before anything is made: such a model would fail only in the first forward, with an error about token ids.
        check_takes_vectors(context.model.model)
        check_length(self.length, context.pretrained)
        self.prompt = self.start(context)
        context.model.prompts.append(self.prompt)

    def start(self, context: Context) -> SoftPrompt:
        """Return the prompt before training."""
        tokenizer = context.pretrained.tokenizer
        special = set(tokenizer.all_special_ids)
        answers: set[tuple[int, ...]] = set()
        for row in context.rows:
            # Without special tokens: an end-of-sequence embedding in a prompt tells the model that the text is over.
            answers |= {tuple(token for token in answer if token not in special) for answer in _answers(row)}
        return initial(
            context.model.model,
            tokenizer,
            self.length,
            self.init,
            seed=self.seed,
            tokens=[row.tokens for row in context.rows],
            # Sorted, because the order of a set of tuples is no promise, and the prompt must be the same every time.
            labels=sorted(tokenizer.decode(answer) for answer in answers if answer),
        )

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return the prompt only, its learning rate scaled by the word embeddings' root mean square."""
        # Without decay: it pulls towards 0, and no word's embedding is there.
        yield ParameterGroup([self.vectors], embedding_rms(model.model), weight_decay=False)

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write a PEFT prompt-tuning adapter into `prompt/`."""
        assert isinstance(self.prompt, SoftPrompt)
        self.prompt.save(folder / "prompt", base=pretrained.source, task_type=pretrained.architecture.task_type)

    @property
    def vectors(self) -> nn.Parameter:
        """Return the vectors [P, D] that are trained."""
        assert isinstance(self.prompt, SoftPrompt)
        return self.prompt.vectors


def _answers(row: Row) -> list[list[int]]:
    """Return the tokens of each answer in a row: a run of positions that are all predicted."""
    answers: list[list[int]] = []
    for i in row.labels:
        # With `loss_on="all"` demonstrations' answers are predicted as well; what lies between two answers never is.
        if i and row.weights[i - 1] and answers:
            answers[-1].append(row.tokens[i])
        else:
            answers.append([row.tokens[i]])
    return answers
