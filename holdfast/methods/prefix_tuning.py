"""Prefix tuning: trained keys and values in every layer, the model frozen."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.methods.base import Context, ParameterGroup
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.prompts.deep_prefix import DeepPrefix, of_vectors, rms
from holdfast.prompts.load import check_length
from holdfast.prompts.soft_prompt import check_takes_vectors

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.model import PrefixModel


@dataclass
class PrefixTuning(PromptTuning):
    """Train a deep prefix, keys and values of `length` places in every layer, and freeze the model.

    Use it where a soft prompt has too little capacity for the task: it holds 2 L tensors in the place of one, comes off as well, and
    needs no forward of its own, so that a step costs what it costs without a prompt. It starts as the keys and values of the soft prompt
    that `init` says. The learning rate is in units of each tensor's root mean square. With `hidden` above 0 a network of that width makes
    the differences to the start (Li & Liang make the whole prefix by one); it is left behind in training, and `network_rate` multiplies
    the learning rate for it. Models without an encoder only.

    Source: Li and Liang 2021, "Prefix-tuning: optimizing continuous prompts for generation" (ACL)
    """

    KIND: ClassVar[str] = "PrefixTuning"
    defaults: ClassVar[dict[str, Any]] = {"learning_rate": 0.03, "steps": 400, "weight_decay": 0.0}

    hidden: int = Field(
        default=0, ge=0, description="width of a network that makes the prefix in training; 0: no network"
    )
    network_rate: float = Field(
        default=0.1, ge=0, description="the network's learning rate as a multiple of the stage's"
    )

    def prepare(self, context: Context) -> None:
        """Make the prefix, from tokens that the training rows really contain.

        Raises:
            ValueError: the model has an encoder, layers that keep no keys and values of one shape, or no room for text.
        """
        if not context.pretrained.architecture.deep_prefixes:
            raise ValueError("a deep prefix is for models without an encoder; use a soft prompt")
        check_takes_vectors(context.model.model)  # It starts from the keys and values of vectors.
        check_length(self.length, context.pretrained)
        model = context.model.model
        # Keys and values of real vectors are a start that every layer knows; random ones train slowly (Li & Liang, section 7.4).
        vectors = self.start(context).vectors.detach().to(model.device)
        self.prompt = of_vectors(model, vectors, self.hidden, self.seed)
        context.model.prompts.append(self.prompt)

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup]:
        """Return the network, or each layer's keys and each layer's values at a rate of their size."""
        prefix = self.prefix
        if prefix.encoder is not None:
            yield ParameterGroup(list(prefix.encoder.parameters()), self.network_rate, weight_decay=False)
            return
        for states in (*prefix.keys, *prefix.values):
            # Keys and values differ in size, and from layer to layer, so no single rate fits them all.
            yield ParameterGroup([states], float(rms(states)), weight_decay=False)

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write a PEFT prefix-tuning adapter into `prompt/`."""
        self.prefix.save(folder / "prompt", base=pretrained.source)

    @property
    def prefix(self) -> DeepPrefix:
        """Return the keys and values that are trained."""
        assert isinstance(self.prompt, DeepPrefix)
        return self.prompt
