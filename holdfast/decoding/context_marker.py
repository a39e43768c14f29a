"""The marker of `mark_context` at inference."""

from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.decoding.base import PromptDecoding
from holdfast.tasks.text.markers import with_marker_in_prompt


@dataclass(frozen=True)
class ContextMarker(PromptDecoding):
    """Put the marker behind every question: the answer shall come from the given context.

    For a model that was trained with `--curate mark_context`, on questions that hold what their answers need; without it the model
    answers as it always does. The text is that of training to the letter, also behind a chat template: the curation refuses a prompt of
    which this would not hold. `marker` is that of the curation. It costs the tokens of the marker.

    Source: Wang et al. 2024, "On the loss of context-awareness in general instruction fine-tuning" (arXiv 2411.02688)
    """

    marker: str = Field(default="[IND]", min_length=1, description="text behind the question, as in training")

    def prompt(self, text: str) -> str:
        """Return a question with the marker behind it; the context of a whole text, which is empty, stays empty."""
        return with_marker_in_prompt(text, self.marker, self.tokenizer) if text else text
