"""How probable a given text is, by plain transformers; as a task whose items are documents or right answers."""

import math
from collections.abc import Sequence

import pytest
import torch

from holdfast.evaluation.given_text import behind_its_beginning, log_likelihoods
from holdfast.evaluation.matrix import LIKELIHOOD, Asking, evaluate
from holdfast.inference.language_model import Progress
from holdfast.inference.model import Model
from holdfast.inference.scoring import LogLikelihood
from holdfast.results.compute_scores import score
from holdfast.tasks.task import Example, Task, Template
from holdfast.tasks.text.rendered import Rendered
from tests.inference.table import TableModel
from tests.training import tiny

DOCUMENTS = Template(input="", delimiter="", stop=())


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
    [
        ("the dog", "the"),
        (" \n the dog", " \n the"),
        ("x" * 60, "x"),
        ("日本語の文章", "日"),
        ("one", "o"),
        ("\n\n", "\n"),
    ],
)
def test_a_document_is_its_first_word_and_what_is_predicted(text: str, first: str) -> None:
    found = behind_its_beginning(text)
    assert found.prompt == first
    assert found.prompt + found.target == text


def test_a_documents_likelihood_is_that_of_plain_transformers() -> None:
    model = Model(tiny.pretrained())
    texts = [words(20), words(50, 2)]
    # 1e-5 is the noise of float32 sums of 50 logarithms near 4; a word too many or too few moves it by 1 and more.
    expected = [plainly(model, text, 1) for text in texts]
    assert log_likelihoods(model, [behind_its_beginning(text) for text in texts]) == pytest.approx(expected, rel=1e-5)


def test_a_document_longer_than_the_model_is_predicted_in_pieces_each_behind_the_one_before() -> None:
    model = Model(tiny.pretrained())
    text = words(300)  # of 128 positions
    beginning = behind_its_beginning(text)
    seen: list[tuple[str, str]] = []

    class Spy(Model):
        def loglikelihood(
            self, pairs: Sequence[tuple[str, str]], *, progress: Progress | None = None
        ) -> list[LogLikelihood]:
            seen.extend(pairs)
            return super().loglikelihood(pairs, progress=progress)

    (value,) = log_likelihoods(Spy(model.pretrained), [beginning])
    assert len(seen) > 4
    assert "".join(target for _, target in seen) == beginning.target
    assert [before for before, _ in seen] == [beginning.prompt, *[target for _, target in seen[:-1]]]
    assert all(len(model.tokenizer(target)["input_ids"]) <= model.room // 2 for _, target in seen)
    by_hand = sum(plainly(model, before + target, len(before.split())) for before, target in seen)
    assert value == pytest.approx(by_hand, rel=1e-5)


def test_the_answer_to_a_question_is_read_behind_it() -> None:
    model = Model(tiny.pretrained())
    prompt, answer = words(12), " w7 w8"
    expected = plainly(model, prompt + answer, 12)
    assert log_likelihoods(model, [Rendered(prompt, answer)]) == pytest.approx([expected], rel=1e-5)


def test_a_task_of_documents_is_marked_by_the_likelihood_of_a_byte() -> None:
    texts = ("A bb", "Ccc d ee")
    task = Task("docs", {"test": tuple(Example({}, text) for text in texts)}, DOCUMENTS, "likelihood")
    model = TableModel(loglik={"bb": -2 * math.log(2), "d ee": -10 * math.log(2)})
    outputs = evaluate(model, task, Asking(role="target", generate_choices=True))
    assert [(o.input, o.target, o.output, o.generated) for o in outputs] == [
        ("A", " bb", "", None),
        ("Ccc", " d ee", "", None),
    ]
    assert {o.decoding for o in outputs} == {LIKELIHOOD}
    assert model.limits == [], "nothing is written"
    likelihood, bits = score(outputs, [task])
    # 12 bits for " bb" and " d ee", which are 3 and 5 bytes.
    assert (likelihood.metric, likelihood.value) == ("likelihood", pytest.approx(2 ** (-12 / 8)))
    assert (bits.metric, bits.value, bits.p) == ("bits_per_byte", pytest.approx(12 / 8), None)


def test_bytes_and_not_letters_are_counted() -> None:
    task = Task("docs", {"test": (Example({}, "Ä öö"),)}, DOCUMENTS, "likelihood")
    (output,) = evaluate(TableModel(loglik={"öö": -5 * math.log(2)}), task)
    assert score([output], [task])[1].value == pytest.approx(5 / 5), "a space and two letters of two bytes"


def test_a_change_is_tested_once_and_shown_in_both_units() -> None:
    task = Task("docs", {"test": tuple(Example({}, f"w3 {words(9, n)}") for n in range(12))}, DOCUMENTS, "likelihood")
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
    assert likelihood.value == pytest.approx(2**-bits.value)
    assert (likelihood.delta or 0) * (bits.delta or 0) < 0, "the more probable, the fewer bits"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_likelihood_is_refused(value: float) -> None:
    task = Task("docs", {"test": (Example({}, "a b"),)}, DOCUMENTS, "likelihood")
    outputs = evaluate(TableModel(loglik={"b": value}), task)
    with pytest.raises(ValueError, match=r"docs\[0\]: `likelihood` needs the target's log-likelihood"):
        score(outputs, [task])
