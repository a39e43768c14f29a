"""The same model through lm-evaluation-harness's own Hugging Face backend: the same likelihoods, texts and choices."""

from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.inference.model import Model
from holdfast.inference.sampling import Sampling
from holdfast.models import loading

SHARED = Path(__file__).parents[3] / "shared" / "models" / "stories260k"
STORIES = ["Once upon a time, there was a little girl named Lily.", "One day, a big dog saw a red ball."]
ASKED = ["What did she do? She", "Who was happy? The", "Where did they go? They went to the", "He said:"]
ANSWERS = [" went home.", " dog", " park.", " Lily was sad"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.exists(), reason="the shared models are not beside this checkout"),
    pytest.mark.filterwarnings("ignore"),  # Whatever the harness and what it imports warn of.
]


@pytest.fixture(scope="module")
def both() -> tuple[Model, Any]:
    huggingface = pytest.importorskip("lm_eval.models.huggingface")
    pretrained = loading.load(SHARED)
    theirs = huggingface.HFLM(pretrained=pretrained.model, tokenizer=pretrained.tokenizer, batch_size=4, device="cpu")
    return Model(pretrained), theirs


def request(kind: Any, *arguments: Any) -> Any:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, argument, i) for i, argument in enumerate(arguments)]


@pytest.mark.parametrize("shots", [0, 2])
def test_choices_have_the_same_likelihoods_and_the_same_best(both: tuple[Model, Any], shots: int) -> None:
    ours, theirs = both
    shown = " ".join(STORIES[:shots])
    pairs = [(f"{shown} {question}".strip(), answer) for question in ASKED for answer in ANSWERS]
    mine = ours.loglikelihood(pairs)
    other = theirs.loglikelihood(request("loglikelihood", *pairs), disable_tqdm=True)
    assert [one.greedy for one in mine] == [greedy for _, greedy in other]
    # Sums of up to 10 float32 log-probabilities: 1e-5 is rounding; a token more or less is 0.1 and more.
    assert [one.value for one in mine] == pytest.approx([value for value, _ in other], abs=1e-4, rel=0)
    width = len(ANSWERS)
    best = torch.tensor([one.value for one in mine]).view(-1, width).argmax(1)
    assert torch.equal(best, torch.tensor([value for value, _ in other]).view(-1, width).argmax(1))


def test_whole_texts_have_the_same_likelihood_through_windows(
    both: tuple[Model, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = both
    # Otherwise the harness predicts the tokenizer's beginning-of-sequence token behind one of its own.
    monkeypatch.setattr(theirs, "add_bos_token", False)
    texts = [" ".join(STORIES), " ".join(STORIES * 60)]
    assert len(ours.pretrained.tokenizer(texts[1])["input_ids"]) > 2 * ours.pretrained.max_length
    other = theirs.loglikelihood_rolling(
        request("loglikelihood_rolling", *((text,) for text in texts)), disable_tqdm=True
    )
    # 1e-6 of the value: sums of up to 2,000 terms.
    assert ours.rolling(texts) == pytest.approx(other, rel=1e-6, abs=1e-3)


def test_the_same_texts_are_generated(both: tuple[Model, Any]) -> None:
    ours, theirs = both
    texts = [f"{story} {question}" for story in STORIES for question in ASKED]
    options = {"until": ["."], "max_gen_toks": 24, "do_sample": False}
    other = theirs.generate_until(request("generate_until", *((text, options) for text in texts)), disable_tqdm=True)
    assert ours.generate(texts, Sampling(max_new_tokens=24, stop=(".",))) == other
