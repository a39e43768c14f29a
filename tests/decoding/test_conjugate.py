"""Conjugate prompting: the model sees the disguise alone, and whoever asks sees none of it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from holdfast.cli.output import decoding
from holdfast.decoding.base import Decoding
from holdfast.decoding.conjugate import Conjugate
from holdfast.inference.model import Model
from holdfast.inference.sampling import Sampling
from holdfast.models.loading import Pretrained
from holdfast.tasks.loaders.transforms import leetspeak, pig_latin
from tests.inference import small_models

words = st.lists(st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8), min_size=1, max_size=6).map(" ".join)
OWN = """
class Loud:
    def apply(self, text): return text.upper()
    def undo(self, text): return text.lower()
loud = Loud()
mute = 3
"""


class Echo(Decoding):
    """A model that answers with what it was asked, and notes it."""

    def __init__(self, tokenizer: Any = None) -> None:
        self.seen: list[Any] = []
        self._tokenizer = tokenizer

    @property
    def tokenizer(self) -> Any:
        return self._tokenizer

    def generate(self, texts: Any, sampling: Any = None, *, progress: Any = None) -> list[str]:
        self.seen.append((list(texts), sampling))
        return list(texts)

    def loglikelihood(self, pairs: Any, *, progress: Any = None) -> Any:
        self.seen.append(list(pairs))
        return []


def test_no_spelling_is_what_the_command_line_makes_of_none() -> None:
    made = decoding("conjugate", ["decode.transform=none"])
    assert made == Conjugate(transform=None)
    model = Echo()
    assert made.wrap(model).generate(["the cat"]) == ["the cat"]
    assert model.seen[0][0] == ["the cat"]


@settings(max_examples=40, deadline=None)
@given(text=words, transform=st.sampled_from(["leetspeak", "pig-latin", "none"]))
def test_the_answer_of_an_echo_is_the_question(text: str, transform: str) -> None:
    model = Echo()
    assert Conjugate(transform=transform).wrap(model).generate([text]) == [text]
    expected = {"leetspeak": leetspeak, "pig-latin": pig_latin, "none": str}[transform](text)
    assert model.seen[0][0] == [expected]


def test_prompt_and_answer_are_respelled_and_a_wrapper_stays_as_it_is() -> None:
    model = Echo()
    technique = Conjugate(before="a note: ", after=" please").wrap(model)
    technique.loglikelihood([("to it", " ate")])
    assert model.seen == [[("a note: 70 17 please", " 473")]]
    technique.generate(["to"], Sampling(3, stop=("it",)))
    assert model.seen[1][1].stop == ("it", "17"), "a model that falls out of the disguise stops too"


def test_text_around_a_question_does_not_make_its_answers_longer() -> None:
    """Room for an answer is asked for by the tokens of answers: text before a question, counted too, would let every answer run on."""
    model = Model(Pretrained(small_models.llama(), small_models.tokenizer(), "small", ""))
    counts = Conjugate(before="the cat sat on a mat " * 9).wrap(model).count_tokens(["a hat", "it"])
    assert counts == model.count_tokens([leetspeak("a hat"), leetspeak("it")])


def test_special_tokens_and_roles_of_a_chat_stay() -> None:
    class Tokenizer:
        all_special_tokens = ("<|im_start|>", "<|im_end|>")

    model = Echo(Tokenizer())
    Conjugate().wrap(model).generate(["<|im_start|>user\nis it<|im_end|>\n<|im_start|>assistant\n"])
    assert model.seen[0][0] == ["<|im_start|>user\n15 17<|im_end|>\n<|im_start|>assistant\n"]


def test_a_users_own_transformation_serves_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    model = Echo()
    assert Conjugate(transform=f"{tmp_path}/own.py:loud").wrap(model).generate(["What"]) == ["what"]
    assert model.seen[0][0] == ["WHAT"]


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ("leetspaek", "did you mean 'leetspeak'"),
        ("{}/none.py:x", "there is no file"),
        ("{}/own.py:mute", r"must be an object with apply\(text\) and undo\(text\)"),
    ],
)
def test_what_is_no_transformation_is_refused_before_a_model_is_loaded(
    transform: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    with pytest.raises((ValidationError, ValueError), match=message):
        Conjugate(transform=transform.format(tmp_path))


def test_likelihoods_are_those_of_the_model_on_the_respelled_texts() -> None:
    model = Model(Pretrained(small_models.llama(), small_models.tokenizer(), "small", ""))
    pairs = [("the cat sat", " on a mat"), ("what is that", " a hat")]
    spelled = [(leetspeak(context), leetspeak(answer)) for context, answer in pairs]
    ours, theirs = Conjugate().wrap(model).loglikelihood(pairs), model.loglikelihood(spelled)
    assert [x.value for x in ours] == [x.value for x in theirs]
    plain = Conjugate(transform="none").wrap(model)
    assert plain.generate(["the cat"], Sampling(5)) == model.generate(["the cat"], Sampling(5))
    assert plain.rolling(["the cat"]) == model.rolling(["the cat"])
