"""The marker of `mark_context` at inference."""

from collections.abc import Sequence

from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.decoding.base import Decoding
from holdfast.inference.language_model import Progress
from holdfast.inference.sampling import GREEDY, Sampling
from holdfast.inference.scoring import LogLikelihood
from holdfast.tasks.markers import with_marker_in_prompt


@dataclass(frozen=True)
class ContextMarker(Decoding):
    """Put the marker behind every question: the answer shall come from the given context.

    For a model that was trained with `--curate mark_context`, on questions that hold what their answers need; without it the model
    answers as it always does. The text is that of training to the letter, also behind a chat template. `marker` is that of the curation.
    It costs the tokens of the marker.

    Source: Wang et al. 2024, "On the loss of context-awareness in general instruction fine-tuning" (arXiv 2411.02688)
    """

    marker: str = Field(default="[IND]", min_length=1, description="text behind the question, as in training")

    def loglikelihood(
        self, pairs: Sequence[tuple[str, str]], *, progress: Progress | None = None
    ) -> list[LogLikelihood]:
        """Return the log-likelihood of each continuation behind its marked context; an empty context stays empty."""
        marked = [(self._marked(context), continuation) for context, continuation in pairs]
        return self.model.loglikelihood(marked, progress=progress)

    def generate(
        self, texts: Sequence[str], sampling: Sampling = GREEDY, *, progress: Progress | None = None
    ) -> list[str]:
        """Return the continuations of each marked text."""
        return self.model.generate([self._marked(text) for text in texts], sampling, progress=progress)

    def first_token_mass(self, contexts: Sequence[str], answers: Sequence[Sequence[str]]) -> list[float]:
        """Return the probability that the first token behind a marked context begins one of its `answers`."""
        return self.model.first_token_mass([self._marked(context) for context in contexts], answers)

    def next_tokens(self, text: str, count: int = 5) -> list[tuple[str, float]]:
        """Return the likeliest tokens behind a marked text, each with its probability."""
        return self.model.next_tokens(self._marked(text), count)

    def cuts(self, pairs: Sequence[tuple[str, str]], new: int) -> list[bool]:
        """Return whether each marked context must lose its beginning to fit beside its continuation and `new` tokens."""
        return self.model.cuts([(self._marked(context), continuation) for context, continuation in pairs], new)

    def _marked(self, text: str) -> str:
        return with_marker_in_prompt(text, self.marker, self.tokenizer) if text else text
