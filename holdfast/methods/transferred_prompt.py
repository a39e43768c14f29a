"""A soft prompt that goes on from one that other tasks have trained."""

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from holdfast.methods.base import Context
from holdfast.methods.prompt_tuning import PromptTuning
from holdfast.prompts.load import load_prompt
from holdfast.prompts.soft_prompt import SoftPrompt


@dataclass
class TransferredPrompt(PromptTuning):
    """Train a soft prompt from the values that one prompt has learned on several source tasks together; the model stays frozen.

    The second phase of the recipes `mvlpt` and `promot_mvlpt`. Use it where the target has few examples. `length` and `init` are those
    of the phase before (`--set source.length=16`). It costs prompt tuning twice: on the sources once, and on each target.

    Source: Shen et al. 2024, "Multitask vision-language prompt tuning" (WACV), section 3.2, of which this is the part for text
    """

    KIND: ClassVar[str] = "TransferredPrompt"
    stages: ClassVar[tuple[str, ...]] = ("source",)

    source: Any = None

    def versions(self) -> Sequence[str]:
        """Refuse a length or initial values that the phase before does not have, and which this one cannot change."""
        before = next((m for m in getattr(self.source, "methods", ()) if isinstance(m, PromptTuning)), PromptTuning())
        for name in ("length", "init"):
            value = getattr(self, name)
            if value not in (getattr(before, name), getattr(PromptTuning(), name)):
                raise ValueError(
                    f"prompt.{name}={value!r}: the prompt goes on from that of the phase before; set source.{name}"
                )
        return super().versions()

    def start(self, context: Context) -> SoftPrompt:
        """Return the prompt of the phase before.

        Raises:
            ValueError: there is none.
        """
        if "source" not in context.inputs:
            raise ValueError("transferred_prompt: there is no prompt to start from; use --method mvlpt or promot_mvlpt")
        prompt = load_prompt(context.inputs["source"] / "prompt", context.pretrained)
        assert isinstance(prompt, SoftPrompt)
        return prompt
