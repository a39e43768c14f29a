"""Drawing tokens: the frequencies and the supports that were asked for, and a text that depends on its prompt and seed alone."""

import math
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from holdfast.inference import generation
from holdfast.inference.engine import CombinedEngine, PromptBatch
from holdfast.inference.model import Model
from holdfast.inference.sampling import GREEDY, Sampler, Sampling, probabilities
from holdfast.inference.stopping import Stops
from holdfast.inference.transformers_engine import TransformersEngine
from holdfast.models.loading import Pretrained
from tests.inference import small_models
from tests.inference.engines import generate
from tests.inference.small_models import EOS, sequences

NEW = 10
PROMPTS = [*sequences([14, 11, 17, 12, 11, 23], common=9), *sequences([5, 2, 1], seed=1)]
LOGITS = torch.tensor([[2.0, 1.0, 0.0, 1.0, -1.0, -torch.inf]])
MODELS: dict[str, Any] = {
    "llama": small_models.llama,
    "gemma3 beyond its window": lambda: small_models.gemma3(9),
    "mamba": small_models.mamba,
    "t5": lambda: small_models.t5(2.0),
}


def stops() -> Stops:
    return Stops(small_models.tokenizer(), eos=[EOS])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_softmax_says(temperature: float) -> None:
    """Chi-square over 20,000 draws with fixed seeds; a wrong temperature gives p below 1e-50."""
    count = 20_000
    shares = (LOGITS[0, :5] / temperature).softmax(-1).double()
    sampler = Sampler([(place,) for place in range(count)], Sampling(temperature=temperature))
    found = torch.bincount(sampler(LOGITS.expand(count, -1), range(count)), minlength=6)
    assert found[5] == 0, "a token without probability is never drawn"
    assert stats.chisquare(found[:5].numpy(), (shares / shares.sum() * count).numpy()).pvalue > 0.001
    wrong = (LOGITS[0, :5] / temperature / 1.3).softmax(-1).double()
    assert stats.chisquare(found[:5].numpy(), (wrong / wrong.sum() * count).numpy()).pvalue < 1e-20


def test_top_k_and_top_p_leave_exactly_their_tokens() -> None:
    def support(**fields: Any) -> list[int]:
        return probabilities(LOGITS, Sampling(temperature=1.0, **fields))[0].nonzero()[:, 0].tolist()

    shares = LOGITS[0].softmax(-1)  # .50 .18 .07 .18 .02 0
    assert support() == [0, 1, 2, 3, 4]
    assert support(top_k=1) == [0]
    assert len(support(top_k=2)) == 2, "of two equal tokens one stays: top-k is exactly k"
    assert support(top_k=3) == [0, 1, 3]
    assert support(top_k=99) == [0, 1, 2, 3, 4]
    assert support(top_p=float(shares[0]) - 0.01) == [0]
    assert support(top_p=float(shares[0]) + 0.01) == [0, 1], "the smallest set that reaches p; of equal ones the first"
    assert support(top_p=float(shares[:2].sum() + shares[3]) + 0.01) == [0, 1, 2, 3]
    assert support(top_k=3, top_p=0.999) == [0, 1, 3]
    assert probabilities(LOGITS, Sampling(temperature=1.0, top_p=0.7, top_k=4)).sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("kind", MODELS)
def test_temperature_to_zero_is_greedy(kind: str) -> None:
    model = MODELS[kind]()
    cold = generate(model, PROMPTS, stops(), max_new_tokens=NEW, temperature=1e-6)
    assert cold == generate(model, PROMPTS, stops(), max_new_tokens=NEW)


@pytest.mark.parametrize("kind", MODELS)
def test_a_text_depends_on_its_prompt_and_seed_alone(kind: str) -> None:
    """Not on the batch, the order or the company; another seed gives other texts."""
    model = MODELS[kind]()
    fields: dict[str, Any] = {"max_new_tokens": NEW, "temperature": 1.0, "top_p": 0.95, "seed": 3}
    if kind == "llama":
        fields |= {"prompt": small_models.prompt(5, model)}
    together = generate(model, PROMPTS, stops(), **fields)
    assert generate(model, PROMPTS[::-1], stops(), **fields) == together[::-1]
    assert generate(model, PROMPTS, stops(), **fields, batch_tokens=60) == together
    assert [generate(model, [tokens], stops(), **fields)[0] for tokens in PROMPTS] == together
    assert generate(model, PROMPTS, stops(), **{**fields, "seed": 4}) != together
    assert together != generate(model, PROMPTS, stops(), max_new_tokens=NEW)


@pytest.mark.parametrize("kind", MODELS)
def test_n_samples_equal_n_single_calls(kind: str) -> None:
    model = MODELS[kind]()
    fields: dict[str, Any] = {"max_new_tokens": NEW, "temperature": 1.0, "top_k": 50}
    several = generate(model, PROMPTS, stops(), **fields, samples=3, seed=7)
    single = [generate(model, PROMPTS, stops(), **fields, seed=7 + number) for number in range(3)]
    assert len(several) == 3 * len(PROMPTS)
    assert [several[number::3] for number in range(3)] == single
    assert single[0] != single[1]


def test_the_samples_of_a_prompt_read_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = small_models.llama(), []
    real = TransformersEngine.start

    def start(engine: TransformersEngine, batch: PromptBatch, room: int) -> Any:
        rows.append(len(batch.prompts))
        return real(engine, batch, room)

    monkeypatch.setattr(TransformersEngine, "start", start)
    generate(model, PROMPTS, stops(), max_new_tokens=2, temperature=1.0, samples=4)
    assert sum(rows) == len(PROMPTS)


def test_samples_are_texts_side_by_side() -> None:
    model = Model(Pretrained(small_models.llama(), small_models.tokenizer(), "tiny", "0"))
    sampling = Sampling(max_new_tokens=8, temperature=1.0, samples=2, stop=("a",))
    texts = model.generate(["the cat", "Question:"], sampling)
    assert len(texts) == 4
    assert texts[2:] == model.generate(["Question:"], sampling)
    assert not any("a" in text for text in texts)


def test_the_sampled_tokens_of_a_real_chain_follow_the_model() -> None:
    """The first token of many samples against the softmax of one plain forward; chi-square over the cells that expect 5 or more."""
    model, count = small_models.llama(), 4000
    tokens = PROMPTS[0]
    shares = model(torch.tensor([tokens])).logits[0, -1].double().softmax(-1)
    found = generate(model, [tokens], Stops(small_models.tokenizer()), max_new_tokens=1, temperature=1.0, samples=count)
    counts = torch.bincount(torch.tensor([new[0] for new in found]), minlength=len(shares)).double()
    often = shares * count >= 5
    cells = torch.cat([counts[often], counts[~often].sum()[None]])
    expected = torch.cat([shares[often], shares[~often].sum()[None]]) * count
    assert stats.chisquare(cells.numpy(), expected.numpy()).pvalue > 0.001


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"temperature": -1.0}, "temperature=-1.0: it must be 0"),
        ({"temperature": math.inf}, "temperature=inf"),
        ({"temperature": 1.0, "top_p": 0.0}, "top_p=0.0: it must lie above 0"),
        ({"samples": 2}, "need a temperature above 0"),
        ({"top_k": 5}, "need a temperature above 0"),
        ({"temperature": 1.0, "num_beams": 2}, "beam search draws nothing"),
        ({"max_new_tokens": 0}, "max_new_tokens=0: it must be 1 or more"),
        ({"stop": "x"}, "give several strings"),
    ],
)
def test_settings_that_contradict_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Sampling(**fields)


class Sum(CombinedEngine):
    """The mean of the engines' logits."""

    def combine(self, logits: Any) -> Tensor:
        return torch.stack(list(logits)).mean(0)


@pytest.mark.parametrize("kind", MODELS)
def test_an_engine_made_of_two_equal_ones_changes_nothing(kind: str) -> None:
    """Greedy, beams and samples, also of a model without keys and values: it is computed anew at each token, and in batches of its own."""
    model = MODELS[kind]()
    own = Sum((TransformersEngine(model, None, 120), TransformersEngine(MODELS[kind](), None, 200)))
    for sampling in (
        Sampling(max_new_tokens=NEW),
        Sampling(max_new_tokens=NEW, num_beams=3),
        Sampling(max_new_tokens=NEW, temperature=1.0, samples=2),
    ):
        expected = generation.generate(TransformersEngine(model), PROMPTS, stops(), sampling)
        assert generation.generate(own, PROMPTS, stops(), sampling) == expected


def test_a_model_behind_a_combined_engine_scores_and_writes_as_before() -> None:
    pretrained = Pretrained(small_models.llama(), small_models.tokenizer(), "tiny", "0")
    plain = Model(pretrained, small_models.prompt(4, pretrained.model))
    wrapped = Model(pretrained, plain.prompt, decode=lambda engine: Sum((engine,)))
    texts = ["the cat sat", "Question: what is that?\nAnswer:", "the"]
    pairs = [(text, answer) for text in texts for answer in (" a hat", " the mat", " it")]
    assert wrapped.generate(texts, Sampling(max_new_tokens=8)) == plain.generate(texts, Sampling(max_new_tokens=8))
    found, expected = wrapped.loglikelihood(pairs), plain.loglikelihood(pairs)
    # Noise 5e-5, as in test_scoring.py; the logits of a neighbouring label move a value by more than 0.1.
    assert [x.value for x in found] == pytest.approx([x.value for x in expected], abs=5e-5)
    assert [(x.greedy, x.tokens) for x in found] == [(x.greedy, x.tokens) for x in expected]
    assert wrapped.rolling(texts) == pytest.approx(plain.rolling(texts), abs=5e-5)
    masses = [one.first_token_mass(texts, [[" a", " the"]] * 3) for one in (wrapped, plain)]
    assert masses[0] == pytest.approx(masses[1], abs=1e-5)
    assert Sampling() == GREEDY


def test_a_token_without_probability_is_not_drawn_even_by_a_zero() -> None:
    """Of a uniform number in [0, 1) the least is 0 itself, and it belongs to the first token that has a share."""
    sampler = Sampler([(1,)], Sampling(temperature=1.0))
    sampler.generators[0].random = lambda: 0.0
    assert sampler(torch.tensor([[-torch.inf, 0.0, 1.0]]), [0]).tolist() == [1]
