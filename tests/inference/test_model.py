"""The three verbs over texts, and what they do at the edges of the model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from holdfast.inference.language_model import LanguageModel
from holdfast.inference.model import Model
from holdfast.inference.sampling import Sampling
from holdfast.models import loading
from holdfast.models.loading import Pretrained
from holdfast.row import Row
from tests.inference import small_models
from tests.inference.table import TableModel
from tests.training import tiny

NOISE = 5e-5  # As in test_scoring.py.
SHARED = Path(__file__).parents[3] / "shared" / "models"
CONTEXT = "Question: what is that?\nAnswer:"


def model(prompt: Tensor | None = None, **options: Any) -> Model:
    return Model(Pretrained(small_models.llama(**options), small_models.tokenizer(), "tiny", "0"), prompt)


def ids(text: str) -> list[int]:
    return small_models.tokenizer().encode(text, add_special_tokens=False)


def logprobs(of: Model, tokens: list[int]) -> Tensor:
    """Log-probability of each token from the second on, one plain forward."""
    logits = of.pretrained.model(torch.tensor([tokens])).logits[0, :-1]
    return logits.log_softmax(-1).gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]


def test_it_is_a_language_model_and_so_is_a_table() -> None:
    asked: list[LanguageModel] = [TableModel({"a hat": -1.0}), model()]
    assert [len(one.loglikelihood([(CONTEXT, " a hat")])) for one in asked] == [1, 1]
    assert [one.cuts([(CONTEXT, " a hat")], 4) for one in asked] == [[False], [False]]
    assert model(max_position_embeddings=32).cuts([(CONTEXT, " a hat"), (CONTEXT * 9, "")], 4) == [False, True]


def test_the_likelihood_of_a_continuation_is_the_sum_over_its_tokens() -> None:
    of = model()
    pairs = [(CONTEXT, " a hat"), (CONTEXT, " the cat sat on the mat"), ("the", " mat\n")]
    for (context, continuation), found in zip(pairs, of.loglikelihood(pairs), strict=True):
        tokens, count = ids(context + continuation), len(ids(continuation))
        assert ids(context) + ids(continuation) == tokens
        assert found.tokens == count
        assert found.value == pytest.approx(float(logprobs(of, tokens)[-count:].sum()), abs=NOISE)


def test_an_empty_context_is_the_beginning_of_a_text() -> None:
    of = model()
    (found,) = of.loglikelihood([("", "the cat")])
    expected = logprobs(of, [small_models.BOS, *ids("the cat")])
    assert found.tokens == len(expected)
    assert found.value == pytest.approx(float(expected.sum()), abs=NOISE)
    assert of.rolling(["the cat"]) == pytest.approx([found.value], abs=NOISE)


def test_the_soft_prompt_stands_before_every_verb() -> None:
    of = model()
    tokens = ids("the cat sat on")
    vectors = of.pretrained.model.get_input_embeddings().weight[tokens].detach()
    with_prompt = Model(of.pretrained, vectors)
    row = Row(
        (*tokens, *ids(CONTEXT), *ids(" a hat")), (*[0.0] * len(tokens + ids(CONTEXT)), *[1.0] * len(ids(" a hat")))
    )
    (same,) = of.score_rows([row])
    (found,) = with_prompt.loglikelihood([(CONTEXT, " a hat")])
    assert found.value == pytest.approx(same.value, abs=NOISE)
    assert abs(of.loglikelihood([(CONTEXT, " a hat")])[0].value - same.value) > 0.1
    same_text = of.generate_tokens([tokens + ids(CONTEXT)], Sampling(max_new_tokens=8))
    assert with_prompt.generate([CONTEXT], Sampling(max_new_tokens=8)) == same_text
    assert of.generate([CONTEXT], Sampling(max_new_tokens=8)) != same_text


def test_a_whole_text_longer_than_the_model_is_read_in_windows() -> None:
    of = model(max_position_embeddings=8)
    text = "the cat sat on the mat\nQuestion: what is that?\nAnswer: a hat"
    tokens = [small_models.BOS, *ids(text)]
    assert len(tokens) > 20
    # Windows of 8 tokens read and 8 predicted; the last one reads 8 tokens, and predicts those that are left.
    expected, done = 0.0, 1
    while done < len(tokens):
        end = min(done + 8, len(tokens))
        expected += float(logprobs(of, tokens[max(0, end - 9) : end])[done - end :].sum())
        done = end
    assert of.rolling([text, "", text]) == pytest.approx([expected, 0.0, expected], abs=NOISE)
    short = model()
    assert short.rolling([text])[0] == pytest.approx(float(logprobs(short, tokens).sum()), abs=NOISE)


def test_what_is_too_long_loses_its_beginning_and_is_counted() -> None:
    of = model(max_position_embeddings=32)
    long = "the cat sat on the mat\n" * 9 + CONTEXT
    room = ids(long)[-(32 - 4) :]
    assert of.generate([long, CONTEXT], Sampling(max_new_tokens=4)) == of.generate_tokens(
        [room, ids(CONTEXT)], Sampling(max_new_tokens=4)
    )
    assert of.truncated == 1
    of.loglikelihood([(long, " a hat"), (CONTEXT, " a hat")])
    assert of.truncated == 2
    with pytest.raises(ValueError, match="32 new tokens leave no room for a prompt in the 32 positions"):
        of.generate([CONTEXT], Sampling(max_new_tokens=32))
    with pytest.raises(ValueError, match=r"prompt 1 has .* shorten the prompt or lower max_new_tokens"):
        of.generate_tokens([ids(long)], Sampling(max_new_tokens=4))


def test_a_text_ends_before_the_stop_string_and_without_special_tokens() -> None:
    of = model()
    texts = [CONTEXT, "the cat", ""]
    free = of.generate(texts, Sampling(max_new_tokens=16))
    stop = [free[0][4:6], free[1][5:7]]
    ended = of.generate(texts, Sampling(max_new_tokens=16, stop=tuple(stop)))
    assert ended == [min((text.split(s)[0] for s in stop), key=len) for text in free]
    assert ended != free
    assert of.generate(texts, Sampling(max_new_tokens=16, num_beams=3)) != free


def test_every_end_of_sequence_token_of_the_model_ends_a_text() -> None:
    of = model()
    free = of.generate([CONTEXT], Sampling(max_new_tokens=8))[0]
    fourth = ids(free)
    settings = of.pretrained.model.generation_config
    plain = of.pretrained.model.generate(torch.tensor([ids(CONTEXT)]), do_sample=False, max_new_tokens=8)[0].tolist()
    new = plain[len(ids(CONTEXT)) :]
    settings.eos_token_id = [settings.eos_token_id, new[3]]
    assert of.generate([CONTEXT], Sampling(max_new_tokens=8))[0] == small_models.tokenizer().decode(
        new[: new.index(new[3])]
    )
    assert fourth


def test_an_encoder_model_answers_and_refuses_whole_texts() -> None:
    of = Model(Pretrained(small_models.t5(), small_models.tokenizer(), "tiny", "0"))
    assert len(of.generate([CONTEXT], Sampling(max_new_tokens=4))) == 1
    assert of.loglikelihood([(CONTEXT, " a hat")])[0].tokens == len(ids("a hat"))  # A decoder begins a text.
    with pytest.raises(ValueError, match="no texts of their own; leave documents out"):
        of.rolling(["the cat"])


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft reads an old name
def test_a_model_wrapped_by_adapters_shares_prefixes_too() -> None:
    from peft import LoraConfig, get_peft_model

    from holdfast.prefix.cache import shares

    plain = model()
    expected = (
        plain.generate([CONTEXT, "the cat"], Sampling(max_new_tokens=8)),
        plain.loglikelihood([(CONTEXT, " a hat")]),
    )
    wrapped = get_peft_model(plain.pretrained.model, LoraConfig(r=2, target_modules=["q_proj"]))  # starts as no change
    assert shares(wrapped)
    of = Model(Pretrained(wrapped, small_models.tokenizer(), "tiny", "0"))
    assert of.generate([CONTEXT, "the cat"], Sampling(max_new_tokens=8)) == expected[0]
    assert of.loglikelihood([(CONTEXT, " a hat")])[0].value == pytest.approx(expected[1][0].value, abs=NOISE)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared models are not beside this checkout")
def test_a_real_model_continues_a_story_and_prefers_sense() -> None:
    of = Model(loading.load(SHARED / "stories260k"))
    story = "Once upon a time, there was a little girl named"
    text = of.generate([story, "One day, a cat"], Sampling(max_new_tokens=24, stop=(".",)))[0]
    tokens = torch.tensor([of.pretrained.tokenizer(story)["input_ids"]])
    plain = of.pretrained.model.generate(tokens, do_sample=False, max_new_tokens=24)[0, tokens.shape[1] :]
    assert text == of.pretrained.tokenizer.decode(plain).split(".")[0]
    assert "Lily" in text
    likely, unlikely = of.loglikelihood([(story, " Lily"), (story, " upon")])
    assert likely.greedy
    assert likely.value > unlikely.value + 5
    assert of.rolling([story + " Lily."])[0] > of.rolling(["girl Once named there Lily upon."])[0]


def test_a_prompt_takes_its_places_from_the_text() -> None:
    """128 positions, 5 of them the prompt's: 122 words with the beginning fit, and one more is cut."""
    pretrained = tiny.pretrained()
    model = Model(pretrained, torch.zeros(5, 32))
    assert (Model(pretrained).room, model.room) == (128, 123)
    fitting = model.room - model.count_tokens(["w3 w4"])[0] + 1
    assert model.cuts([(" ".join(["w3"] * count), " w4") for count in (fitting, fitting + 1)], 0) == [False, True]


def test_one_text_in_the_place_of_several_is_refused_and_not_read_letter_by_letter() -> None:
    with pytest.raises(ValueError, match=r"one text in the place of several, 'w3 w4'; give a list: \[text\]"):
        Model(tiny.pretrained()).generate("w3 w4")
