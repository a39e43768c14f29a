"""Calibrated choices against the papers' own formulas, on a model whose preferences are written down."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from holdfast.evaluation.calibration import prior_of
from holdfast.evaluation.matrix import Asking, evaluate
from holdfast.inference.language_model import Progress
from holdfast.inference.scoring import LogLikelihood
from holdfast.results.metrics import metric
from holdfast.tasks.answers.choice_rules import CONTENT_FREE, marked_by
from holdfast.tasks.task import Example, Task, Template
from tests.inference.table import TableModel

WORDS = ("good", "bad")
TASK = Task(
    "reviews",
    {
        "train": (Example({"text": "shown"}, "bad", WORDS),),
        "test": tuple(Example({"text": f"{WORDS[i % 2]} {i}"}, WORDS[i % 2], WORDS) for i in range(10)),
    },
    Template("Review: {{ text }}\nIt is:"),
    "accuracy",
)


@dataclass
class Partial(TableModel):
    """A model that says `bias(continuation)` whatever is asked, and `hint` more for a continuation that the last question holds."""

    bias: Callable[[str], float] = len
    hint: float = 1.0
    pairs: list[tuple[str, str]] = field(default_factory=list)

    def loglikelihood(
        self, pairs: Sequence[tuple[str, str]], *, progress: Progress | None = None
    ) -> list[LogLikelihood]:
        self.pairs += pairs
        return [LogLikelihood(self._value(*pair), False, 1) for pair in pairs]

    def _value(self, context: str, text: str) -> float:
        word, question = text.strip(), context.rpartition("\n\n")[2]
        return self.bias(word) + self.hint * (f"{word} " in question)


def biased(word: str) -> float:
    return {"good": -1.0, "bad": -5.0}[word]


def test_a_model_that_prefers_a_word_is_right_once_that_is_taken_off() -> None:
    """The hint of 1 does not outweigh a preference of 4: without calibration every answer is `good`."""
    model = Partial(bias=biased)
    assert metric("accuracy").value(evaluate(model, TASK)) == 0.5
    outputs = evaluate(model, marked_by(TASK, "accuracy_calibrated"))
    assert metric("accuracy_calibrated").value(outputs) == 1
    assert [o.scores for o in outputs] == [{"accuracy_calibrated": 1.0}] * 10
    # One content-free text says what three do here: softmax of the bias over the two words.
    assert outputs[0].prior == pytest.approx((-math.log1p(math.exp(-4)), -4 - math.log1p(math.exp(-4))))
    assert "less that without the question's content" in metric("accuracy_calibrated").signature(outputs)


@pytest.mark.parametrize("seed", range(5))
def test_the_pick_is_that_of_contextual_calibration_and_of_mutual_information(seed: int) -> None:
    """Zhao et al. 2021: argmax of diag(p_cf)^-1 p, p and p_cf normalised over the labels, p_cf the mean over content-free texts.
    Holtzman et al. 2021: argmax of log p(y | x) - log p(y | domain), one content-free text."""
    rng = np.random.default_rng(seed)
    asked, free = rng.normal(-3, 2, 4), rng.normal(-3, 2, (3, 4))
    shares = np.exp(free) / np.exp(free).sum(1, keepdims=True)
    scaled = np.diag(1 / shares.mean(0)) @ (np.exp(asked) / np.exp(asked).sum())
    example = Example({"text": "x"}, "0", tuple("0123"))
    (output,) = evaluate(Partial(bias=lambda word: asked[int(word)]), replace(TASK, splits={"test": (example,)}))
    calibrated = metric("accuracy_calibrated").pick
    assert calibrated is not None
    assert calibrated(replace(output, prior=prior_of(free.tolist()))) == str(scaled.argmax())
    assert calibrated(replace(output, prior=prior_of(free[:1].tolist()))) == str((asked - free[0]).argmax())
    np.testing.assert_allclose(np.exp(prior_of(free.tolist())), shares.mean(0), rtol=1e-12)


@pytest.mark.parametrize("shots", [0, 1])
def test_items_share_the_questions_without_content(shots: int) -> None:
    model = Partial(bias=biased)
    evaluate(model, marked_by(TASK, "accuracy_calibrated"), Asking(shots=shots))
    before = "Review: shown\nIt is: bad\n\n" * shots
    prompts = [f"{before}Review: {word}\nIt is:" for word in CONTENT_FREE]
    counts = Counter(model.pairs)
    assert [counts[(prompt, f" {word}")] for prompt in prompts for word in WORDS] == [1] * 6
    assert len(model.pairs) == 2 * 10 + 6, "of ten items nothing else is asked"
    plain = Partial(bias=biased)
    evaluate(plain, TASK, Asking(shots=shots))
    assert len(plain.pairs) == 2 * 10, "plain accuracy costs what it did"


def test_letters_are_calibrated_with_their_choices_listed_where_all_items_list_the_same() -> None:
    same = Partial(bias=lambda letter: -float(letter == "B"))
    evaluate(same, marked_by(TASK, "accuracy_letter_calibrated"))
    assert ("Review: N/A\nA. good\nB. bad\nIt is:", " A") in same.pairs
    tests = [Example({"text": "x"}, "hot", ("hot", "dry")), Example({"text": "y"}, "wet", ("cold", "wet", "red"))]
    other = Partial(bias=lambda letter: -float(letter == "B"))
    outputs = evaluate(other, marked_by(replace(TASK, splits={"test": tuple(tests)}), "accuracy_letter_calibrated"))
    assert ("Review: N/A\nA. N/A\nB. N/A\nIt is:", " B") in other.pairs
    assert ("Review: N/A\nA. N/A\nB. N/A\nC. N/A\nIt is:", " C") in other.pairs
    assert [len(output.prior or ()) for output in outputs] == [2, 3]


def test_a_model_that_always_says_the_right_letter_is_always_right() -> None:
    tests = tuple(Example({"text": str(i)}, "yes", ("no",) * (i % 3) + ("yes", "no")) for i in range(9))
    task = marked_by(replace(TASK, splits={"test": tests}), "accuracy_letter")

    class Oracle(Partial):
        def _value(self, context: str, text: str) -> float:
            return -float(f"{text.strip()}. yes" not in context)

    assert metric("accuracy_letter").value(evaluate(Oracle(), task)) == 1


def test_answers_that_were_never_calibrated_are_not_marked_so() -> None:
    with pytest.raises(ValueError, match=r"reviews\[0\]: .* without the question was not asked; measure it again"):
        metric("accuracy_calibrated").value(evaluate(Partial(bias=biased), TASK))


def test_a_template_that_needs_its_content_is_refused() -> None:
    task = replace(TASK, template=Template("{{ text.split()[1] }}:"))
    with pytest.raises(ValueError, match="reviews: calibration asks its template without content, and that fails"):
        evaluate(Partial(bias=biased), marked_by(task, "accuracy_calibrated"))
