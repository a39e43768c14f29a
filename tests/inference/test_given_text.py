"""How probable a given text is, by plain transformers; as a task whose items are documents or right answers."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from holdfast.decoding.context_marker import ContextMarker
from holdfast.evaluation.matrix import LIKELIHOOD, Asking, evaluate
from holdfast.inference.given_text import log_likelihoods
from holdfast.inference.language_model import Progress
from holdfast.inference.model import Model
from holdfast.inference.scoring import LogLikelihood
from holdfast.models.loading import Pretrained
from holdfast.results.compute_scores import score
from holdfast.results.scores import Score
from holdfast.results.verdicts import margin_of
from holdfast.row import Row
from holdfast.tasks.task import DOCUMENT, Example, Task, Template
from holdfast.tasks.text.rendered import Rendered
from tests import encoder_decoder
from tests.inference import small_models as small
from tests.inference.table import TableModel
from tests.training import tiny


def words(count: int, first: int = 3) -> str:
    return " ".join(f"w{3 + (first * 5 + 7 * i) % (tiny.VOCABULARY - 3)}" for i in range(count))


def plainly(model: Model, text: str, read: int) -> float:
    """The log-likelihood of all words behind the first `read`, by one forward of plain transformers."""
    ids = torch.tensor([model.tokenizer(text)["input_ids"]])
    with torch.no_grad():
        logs = model.pretrained.model(ids).logits[0].log_softmax(-1)
    return sum(logs[i - 1, ids[0, i]].item() for i in range(read, ids.shape[1]))


@pytest.mark.parametrize(
    ("text", "first"),
    [("the dog", "the"), (" \n the dog", " \n the"), ("x" * 60, "x"), ("日本語の文章", "日"), ("one", "o")],
)
def test_a_document_is_its_first_word_and_what_is_predicted(text: str, first: str) -> None:
    (document,) = TableModel(loglik={text[len(first) :].strip(): -1.0}).documents([text])
    assert (document.read, document.read + document.predicted, document.value) == (first, text, -1.0)


@pytest.mark.parametrize("text", ["x", "日", "word ", "word\n\n", "\n\n"])
def test_of_a_document_that_is_its_beginning_nothing_is_predicted(text: str) -> None:
    (document,) = TableModel().documents([text])
    assert (document.read, document.predicted, document.value) == (text, "", 0.0)


@pytest.mark.parametrize("text", ["w3w4w5w6", "日本語の文章", "the cat sat"])
def test_the_same_tokens_are_predicted_behind_a_soft_prompt_and_without_one(text: str) -> None:
    """The bug: a word is split within its first token, which only a prompt makes predictable."""
    pretrained = Pretrained(small.gpt2(), small.tokenizer(), "gpt2", "0" * 16)
    assert pretrained.tokenizer.bos_token_id not in pretrained.tokenizer(text)["input_ids"]
    seen: list[tuple[int, ...]] = []

    class Spy(Model):
        def score_rows(self, rows: Sequence[Row], *, progress: Progress | None = None) -> list[LogLikelihood]:
            seen.append(
                tuple(token for row in rows for token, weight in zip(row.tokens, row.weights, strict=True) if weight)
            )
            return super().score_rows(rows, progress=progress)

    width = pretrained.model.get_input_embeddings().weight.shape[1]
    for prompt in (None, torch.zeros(2, width)):
        Spy(pretrained, prompt).documents([text])
    assert seen[0] == seen[1]


def test_a_documents_likelihood_is_that_of_plain_transformers() -> None:
    model = Model(tiny.pretrained())
    texts = [words(20), words(50, 2)]
    # 1e-5 is the noise of float32 sums of 50 logarithms near 4; a word too many or too few moves it by 1 and more.
    expected = [plainly(model, text, 1) for text in texts]
    assert [document.value for document in model.documents(texts)] == pytest.approx(expected, rel=1e-5)


def test_a_document_longer_than_the_model_is_predicted_in_pieces_each_behind_the_one_before() -> None:
    model = Model(tiny.pretrained())
    text = words(300)  # of 128 positions
    seen: list[tuple[str, str]] = []

    class Spy(Model):
        def loglikelihood(
            self, pairs: Sequence[tuple[str, str]], *, progress: Progress | None = None
        ) -> list[LogLikelihood]:
            seen.extend(pairs)
            return super().loglikelihood(pairs, progress=progress)

    (document,) = Spy(model.pretrained).documents([text])
    assert len(seen) > 4
    assert "".join(target for _, target in seen) == document.predicted
    assert [before for before, _ in seen] == [document.read, *[target for _, target in seen[:-1]]]
    assert all(len(model.tokenizer(target)["input_ids"]) <= model.room // 2 for _, target in seen)
    by_hand = sum(plainly(model, before + target, len(before.split())) for before, target in seen)
    assert document.value == pytest.approx(by_hand, rel=1e-5)


def test_the_answer_to_a_question_is_read_behind_it() -> None:
    model = Model(tiny.pretrained())
    prompt, answer = words(12), " w7 w8"
    expected = plainly(model, prompt + answer, 12)
    (found,) = log_likelihoods(model, [Rendered(prompt, answer)])
    assert (found.value, found.truncated) == (pytest.approx(expected, rel=1e-5), False)
    # 120 words and 20 do not fit into 128 positions; of an answer of 80 the second piece stands behind the first.
    cut, long = log_likelihoods(model, [Rendered(words(120), f" {words(20)}"), Rendered(prompt, f" {words(80)}")])
    assert cut.truncated
    assert long.truncated


def test_a_task_of_documents_is_marked_by_the_likelihood_of_a_byte() -> None:
    texts = ("A bb", "Ccc d ee")
    task = Task("docs", {"test": tuple(Example({}, text) for text in texts)}, DOCUMENT, "likelihood")
    model = TableModel(loglik={"bb": -2 * math.log(2), "d ee": -10 * math.log(2)})
    outputs = evaluate(model, task, Asking(role="target", generate_choices=True))
    assert [(o.input, o.target, o.output, o.generated) for o in outputs] == [
        ("A", " bb", "", None),
        ("Ccc", " d ee", "", None),
    ]
    assert {o.decoding for o in outputs} == {LIKELIHOOD}
    assert model.limits == [], "nothing is written"
    likelihood, bits = score(outputs, [task])
    # 2 bits for " bb" and 10 for " d ee", which are 3 and 5 bytes: each document counts as much in the one, and each byte in the other.
    assert (likelihood.metric, likelihood.value) == ("likelihood", pytest.approx((2 ** (-2 / 3) + 2 ** (-10 / 5)) / 2))
    assert [o.scores["likelihood"] for o in outputs] == pytest.approx([2 ** (-2 / 3), 2 ** (-10 / 5)])
    assert (bits.metric, bits.value, bits.p) == ("bits_per_byte", pytest.approx(12 / 8), None)


def test_bytes_and_not_letters_are_counted() -> None:
    task = Task("docs", {"test": (Example({}, "Ä öö"),)}, DOCUMENT, "likelihood")
    (output,) = evaluate(TableModel(loglik={"öö": -5 * math.log(2)}), task)
    assert score([output], [task])[1].value == pytest.approx(5 / 5), "a space and two letters of two bytes"


def test_a_change_is_tested_once_and_shown_in_both_units() -> None:
    task = Task("docs", {"test": tuple(Example({}, f"w3 {words(9, n)}") for n in range(12))}, DOCUMENT, "likelihood")
    base, tuned = Model(tiny.pretrained(0)), Model(tiny.pretrained(1))
    outputs = [
        *evaluate(base, task, Asking(role="target")),
        *evaluate(tuned, task, Asking(role="target", variant="tuned")),
    ]
    scores = {(s.variant, s.metric): s for s in score(outputs, [task])}
    likelihood, bits = scores["tuned", "likelihood"], scores["tuned", "bits_per_byte"]
    assert likelihood.p is not None
    assert bits.p is None
    assert bits.delta == pytest.approx(bits.value - scores["base", "bits_per_byte"].value)
    assert (likelihood.delta or 0) * (bits.delta or 0) < 0, "the more probable, the fewer bits"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_likelihood_is_refused(value: float) -> None:
    task = Task("docs", {"test": (Example({}, "a b"),)}, DOCUMENT, "likelihood")
    with pytest.raises(ValueError, match=r"docs\[0\]: `likelihood` needs the target's log-likelihood"):
        evaluate(TableModel(loglik={"b": value}), task)


def test_what_looks_like_thinking_is_part_of_a_text_that_is_read() -> None:
    """The bug: its bits are counted and its bytes are not."""
    text = "A <think> bb </think> c"
    task = Task("docs", {"test": (Example({}, text),)}, DOCUMENT, "likelihood")
    model = TableModel(loglik={text[2:]: -22 * math.log(2)})
    assert score(evaluate(model, task), [task])[1].value == pytest.approx(22 / 22)


def test_an_unmoved_model_has_moved_no_bits() -> None:
    """The bug: the range of bits and bytes together in the place of that of bits per byte, an interval of 50 around 0."""
    task = Task("docs", {"test": tuple(Example({}, f"w3 {words(9, n)}") for n in range(30))}, DOCUMENT, "likelihood")
    outputs = evaluate(Model(tiny.pretrained()), task, Asking(role="target"))
    outputs += [replace(output, variant="tuned") for output in outputs]
    bits = next(s for s in score(outputs, [task]) if (s.variant, s.metric) == ("tuned", "bits_per_byte"))
    assert bits.delta == 0
    assert bits.delta_high is not None
    assert 0 < bits.delta_high < 1


def test_both_units_have_one_verdict_though_many_tasks_are_tested() -> None:
    base, tuned = Model(tiny.pretrained(0)), Model(tiny.pretrained(1))
    tasks = [
        Task(f"d{t}", {"test": tuple(Example({}, words(8, 20 * t + n)) for n in range(12))}, DOCUMENT, "likelihood")
        for t in range(10)
    ]
    outputs = []
    for task in tasks:
        outputs += [*evaluate(base, task), *evaluate(tuned, task, Asking(variant="tuned"))]
    words_of: dict[str, set[str | None]] = {}
    for one in score(outputs, tasks):
        if one.variant == "tuned":
            words_of.setdefault(one.task, set()).add(one.verdict)
    assert all(len(found) == 1 and None not in found for found in words_of.values())


def test_choices_are_no_chance_where_the_answer_is_read() -> None:
    item = Example({"input": "q"}, "a", ("a", "b"))
    task = Task("qa", {"test": (item,) * 3}, Template(), "likelihood")
    for one in score(evaluate(TableModel(loglik={"a": -1.0}), task), [task]):
        assert (one.chance, one.decoding) == (0.0, LIKELIHOOD)


def test_a_likelihood_may_lose_a_fifth_of_what_shares_may() -> None:
    known = {
        "variant": "tuned",
        "prompt": None,
        "task": "t",
        "role": "general",
        "shots": 0,
        "low": 0.0,
        "high": 1.0,
        "n": 9,
    }
    margins = [margin_of(Score(metric=name, value=0.5, delta=0.0, **known)) for name in ("accuracy", "likelihood")]  # pyright: ignore[reportArgumentType]
    assert margins == pytest.approx([0.05, 0.01])


def test_prompts_of_a_decoding_do_not_stand_in_documents() -> None:
    model = Model(tiny.pretrained())
    wrapped = ContextMarker().wrap(model)
    assert wrapped.documents([words(20)]) == model.documents([words(20)])


def test_a_model_with_an_encoder_has_no_documents() -> None:
    with pytest.raises(ValueError, match="a model with an encoder predicts answers, and no texts of their own"):
        Model(encoder_decoder.pretrained("t5")).documents(["a b"])


def test_twenty_documents_show_a_gain_that_is_plain_on_each() -> None:
    """Where every document gains about as much, of any length. The bug: the longest one's part taken for what an unseen one could do."""
    lengths = [4 + 30 * (n == 7) + n % 5 for n in range(20)]
    task = Task(
        "docs", {"test": tuple(Example({}, words(size, n)) for n, size in enumerate(lengths))}, DOCUMENT, "likelihood"
    )
    outputs = evaluate(Model(tiny.pretrained()), task, Asking(role="target"))
    better = [replace(o, variant="tuned", logprobs=(0.5 * (o.logprobs or (0.0,))[0],)) for o in outputs]
    found = next(s for s in score([*outputs, *better], [task]) if (s.variant, s.metric) == ("tuned", "likelihood"))
    assert found.verdict == "gained"
    assert found.delta is not None
    assert found.delta_low is not None
    assert found.delta_low > 0.6 * found.delta
