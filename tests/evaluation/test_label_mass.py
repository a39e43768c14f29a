"""The probability of the tuned task's labels at the first token, and the noise floor: by hand, and each with its bug."""

import pytest
import torch

from holdfast.evaluation import label_mass
from holdfast.inference.model import Model
from holdfast.models.loading import Pretrained
from holdfast.results import symptoms
from holdfast.results.compute_scores import AGAIN, score
from holdfast.results.scores import Output
from holdfast.tasks.task import Example, Task
from tests.inference import small_models as small

TARGET = Task(
    "nli", {"train": tuple(Example({"input": "x"}, "True", ("True", "False")) for _ in range(4))}, metric="accuracy"
)
GENERAL = Task("sums", {"train": tuple(Example({"input": str(i)}, str(i)) for i in range(90))})


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(Pretrained(small.llama(), small.tokenizer(), "tiny", ""))


def test_the_mass_is_the_softmax_at_the_first_tokens(model: Model) -> None:
    """Against one plain forward; 1e-5 is float32 noise, and another token's or place's probability is 1e-3 away and more."""
    contexts, answers = ["Q: red blue\nA:", "Q: one two three\nA:"], [[" True", " Truth", " False"], [" no"]]
    found = model.first_token_mass(contexts, answers)
    tokenizer = model.pretrained.tokenizer
    for context, own, mass in zip(contexts, answers, found, strict=True):
        tokens = tokenizer(context, return_tensors="pt")["input_ids"]
        shares = model.pretrained.model(tokens).logits[0, -1].softmax(-1)
        length = tokens.shape[1]
        firsts = {tokenizer(context + answer)["input_ids"][length] for answer in own}
        assert mass == pytest.approx(float(sum(shares[token] for token in firsts)), abs=1e-5)


def test_the_likeliest_tokens_are_those_of_one_plain_forward(model: Model) -> None:
    tokens = model.pretrained.tokenizer("Q: red\nA:", return_tensors="pt")["input_ids"]
    best = torch.topk(model.pretrained.model(tokens).logits[0, -1].softmax(-1), 3)
    found = model.next_tokens("Q: red\nA:", 3)
    assert [share for _, share in found] == pytest.approx(best.values.tolist(), abs=1e-5)
    assert found[0][0] == model.pretrained.tokenizer.decode([int(best.indices[0])])
    prompted = Model(model.pretrained, small.prompt(4, model.pretrained.model))
    assert prompted.next_tokens("Q: red\nA:", 3) != found, "an attached prompt is seen"


def output(index: int, variant: str = "tuned", target: str = "7", **more) -> Output:
    return Output(
        variant, None, "sums", "general", 1, index, f"{index}\nA:", target, more.pop("answer", "True"), **more
    )


def test_labels_that_are_right_for_an_item_are_left_out(model: Model) -> None:
    assert symptoms.foreign_labels(TARGET, GENERAL) == ("True", "False")
    items = [output(0), output(1, target="True"), output(2, choices=("True", "False"))]
    marked = label_mass.with_mass(model, items, ["True", "False"], " ")
    masses = [o.scores["first_token_mass"] for o in marked]
    assert masses[0] > 0
    assert masses[1] == pytest.approx(model.first_token_mass([items[1].input], [[" False"]])[0], abs=1e-6)
    assert masses[2] == 0.0
    assert label_mass.with_mass(model, items, [], " ") == items


def test_a_cell_has_the_mean_mass_also_where_choices_were_only_ranked() -> None:
    base = [output(i, "base", logprobs=(-1.0,), scores={"first_token_mass": 0.1}) for i in range(4)]
    tuned = [output(i, logprobs=(-1.0,), scores={"first_token_mass": 0.2 * i}) for i in range(4)]
    (value, change) = symptoms.symptoms(base, tuned, frozenset({"true"}))["first_token_mass"]
    assert value.value == pytest.approx(0.3)
    assert change is not None
    assert change.value == pytest.approx(0.2)


def test_no_change_below_the_bases_own_movement_is_called_lost() -> None:
    n = 200
    right = {"base": 160, "tuned": 120, AGAIN: 110}
    outputs = [
        output(i, variant, answer="7" if i < count else "8") for variant, count in right.items() for i in range(n)
    ]
    for found, word in (
        (score(outputs, [GENERAL]), "unclear"),
        (score([o for o in outputs if o.variant != AGAIN], [GENERAL]), "lost"),
    ):
        base, tuned = (made for made in found if made.metric == "exact_match")
        assert (base.variant, tuned.variant) == ("base", "tuned"), "the second measurement has no line of its own"
        assert tuned.verdict == word
    again = score(outputs, [GENERAL])[0].again
    assert again == pytest.approx(0.55)
