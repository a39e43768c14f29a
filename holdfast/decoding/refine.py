"""Refinement: several drawn answers, and one that is written with all of them in view."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.decoding.base import Decoding
from holdfast.inference.language_model import Progress
from holdfast.inference.sampling import GREEDY, Sampling

ROLE = "(?:(?:system|user|assistant|model|tool)\n)?"


@dataclass(frozen=True)
class Refine(Decoding):
    """Draw several answers, then ask the model once for one better answer with all of them in view.

    For generated answers of a model that follows instructions; choices that are ranked stay as they are. With one candidate the model
    answers by itself. The paper's Chimera is a 7B model that was trained to refine translations: what is here is the form of its prompt, in
    words for any task, around whatever model is measured, and an untrained small one may copy or go astray. The draws are the paper's but
    for its repetition penalty of 1.05, which there is none of here. `ask` is filled with {prompt} and {candidates}; a prompt of a chat
    template is asked as a new turn. Costs `candidates` answers and one more behind a prompt that holds them all.

    Source: Zheng et al. 2025, "Hunyuan-MT technical report" (arXiv 2509.05209), Chimera
    """

    candidates: int = Field(default=6, ge=1, description="answers that are drawn; 1: no refinement")
    temperature: float = Field(default=0.7, gt=0, description="of the draws")
    top_k: int = Field(default=20, ge=0, description="likeliest tokens among which is drawn; 0: all")
    top_p: float = Field(
        default=0.6, gt=0, le=1, description="probability of the likeliest tokens among which is drawn"
    )
    seed: int = Field(default=0, description="of the draws")
    ask: str = Field(
        default="Several answers to the request in triple backticks follow.\n```{prompt}```\n{candidates}\n"
        "Write one better answer to the request, and nothing else.\nAnswer:",
        description="prompt of the refinement, with {prompt} and {candidates}",
    )

    def __post_init__(self) -> None:
        if missing := [name for name in ("{prompt}", "{candidates}") if name not in self.ask]:
            raise ValueError(f"ask: lacks {missing[0]}, so the model would not see it; write it where it belongs")

    def generate(
        self, texts: Sequence[str], sampling: Sampling = GREEDY, *, progress: Progress | None = None
    ) -> list[str]:
        """Return the refined answer to each text, by `sampling`."""
        if self.candidates == 1 or not texts:
            return self.model.generate(texts, sampling, progress=progress)
        drawn = replace(
            sampling, num_beams=1, temperature=self.temperature, top_k=self.top_k, top_p=self.top_p, seed=self.seed,
            samples=self.candidates,
        )  # fmt: skip
        answers = self.model.generate(texts, drawn)
        groups = [answers[i : i + self.candidates] for i in range(0, len(answers), self.candidates)]
        refining = [self.prompt(text, group) for text, group in zip(texts, groups, strict=True)]
        return self.model.generate(refining, sampling, progress=progress)

    def prompt(self, text: str, answers: Sequence[str]) -> str:
        """Return the prompt that shows the request and its candidates, numbered in their order."""
        tokenizer: Any = self.model.tokenizer
        special = getattr(tokenizer, "all_special_tokens", None) or ()
        marks = re.compile(f"(?:{'|'.join(map(re.escape, special))}){ROLE}") if special else None
        chats = bool(getattr(tokenizer, "chat_template", None) and marks and marks.search(text))
        # Of a chat, only what was said: turns inside a turn would end it.
        request = marks.sub("", text).strip() if chats and marks else text.strip()
        listed = "\n".join(f"{number}. ```{answer.strip()}```" for number, answer in enumerate(answers, 1))
        # `replace` and not `format`: a request may hold braces of its own. Candidates last, since the request may hold their name.
        before, _, after = self.ask.partition("{candidates}")
        written = before.replace("{prompt}", request) + listed + after.replace("{prompt}", request)
        if not chats:
            return written
        turn = [{"role": "user", "content": written}]
        return tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
