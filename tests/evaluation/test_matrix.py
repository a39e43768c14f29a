"""From a model whose answers are known to scores that were worked out on paper."""

import random
from dataclasses import replace
from typing import Any

import pytest

from holdfast.evaluation.matrix import Asking, clean, evaluate, items, longest_answer
from holdfast.inference.model import Model
from holdfast.models.loading import Pretrained
from holdfast.results import units
from holdfast.results.compute_scores import score
from holdfast.results.metrics import METRICS, metric
from holdfast.results.scores import Circumstances, Output, Score, read_outputs, read_scores, write_jsonl
from holdfast.results.statistics import tango, wilson
from holdfast.tasks import task as tasks
from holdfast.tasks.task import Example, Task, Template
from tests.inference import small_models as small
from tests.inference.table import TableModel


def questions(n: int, split: str, **more) -> tuple[Example, ...]:
    return tuple(Example({"input": f"{split}{i}"}, **more) for i in range(n))


YES_NO = Task(
    "yesno",
    {
        "train": questions(8, "train", target="Yes", choices=("Yes", "No")),
        "test": tuple(Example({"input": f"q{i}"}, ("Yes", "No")[i % 2], ("Yes", "No")) for i in range(10)),
    },
    metric="accuracy",
    version="v1",
)
CAPITALS = Task(
    "capitals",
    {
        "train": tuple(Example({"input": f"t{i}"}, f"City{i}") for i in range(6)),
        "test": tuple(Example({"input": f"c{i}"}, f"Town{i}") for i in range(10)),
    },
)


def test_a_task_may_name_every_metric_that_exists_and_no_other() -> None:
    assert tuple(METRICS) == tasks.METRICS


def test_accuracy_ranks_the_choices_of_each_item() -> None:
    """A model that always prefers Yes is right on the five items whose answer it is."""
    model = TableModel(loglik={"Yes": -0.5, "No": -1.5})
    outputs = evaluate(model, YES_NO)
    assert [o.output for o in outputs] == ["Yes"] * 10
    assert {o.logprobs for o in outputs} == {(-0.5, -1.5)}
    assert [o.scores["accuracy"] for o in outputs] == [1, 0] * 5
    assert model.seen[0] == "q0\nAnswer:"
    assert model.limits == [], "nothing needed to be generated"
    (s,) = score(outputs, [YES_NO], circumstances=Circumstances(recipe="none"))
    assert (s.value, s.low, s.high, s.n, s.chance) == (0.5, *wilson(5, 10), 10, 0.5)
    assert (s.variant, s.prompt, s.task, s.role, s.shots, s.metric) == ("base", None, "yesno", "general", 0, "accuracy")
    assert (s.task_version, s.recipe, s.decoding, s.delta, s.verdict) == ("v1", "none", "ranked choices", None, None)


def test_choices_are_also_written_freely_when_asked() -> None:
    model = TableModel(loglik={"Yes": -0.5, "No": -1.5}, writes=lambda _: " maybe\nq: more")
    outputs = evaluate(model, YES_NO, Asking(generate_choices=True))
    assert {(o.output, o.generated) for o in outputs} == {("Yes", "maybe")}


def test_generated_answers_end_at_the_stop_and_are_stripped() -> None:
    outputs = evaluate(TableModel(writes=lambda q: f" Town{q[1:]} \nc9\nAnswer: Town"), CAPITALS)
    assert [o.output for o in outputs] == [f"Town{i}" for i in range(10)]
    assert [o.scores for o in outputs] == [{"exact_match": 1.0}] * 10
    assert clean("a###b\n", ("\n", "###")) == "a"
    assert clean(" a b ", ()) == "a b"


def test_demonstrations_stand_before_the_question_and_come_from_the_train_split() -> None:
    model = TableModel(writes=lambda _: "")
    evaluate(model, CAPITALS, Asking(shots=2))
    assert {text.partition("c")[0] for text in model.seen} == {"t0\nAnswer: City0\n\nt1\nAnswer: City1\n\n"}
    once, again, other = (
        TableModel(writes=lambda _: ""),
        TableModel(writes=lambda _: ""),
        TableModel(writes=lambda _: ""),
    )
    for model, seed in ((once, 3), (again, 3), (other, 4)):
        evaluate(model, CAPITALS, Asking(shots=2, demonstrations="sampled", demonstration_seed=seed))
    assert once.seen == again.seen != other.seen


def test_a_task_without_training_examples_shows_nothing_rather_than_test_items() -> None:
    with pytest.raises(ValueError, match="1 demonstrations are asked for, and the train split has 0"):
        evaluate(TableModel(writes=lambda _: ""), Task("t", {"test": CAPITALS.splits["test"]}), Asking(shots=1))


def test_the_items_follow_from_task_and_seed_alone() -> None:
    assert items(CAPITALS, None, 0) == items(CAPITALS, 10, 5) == list(range(10))
    chosen = items(CAPITALS, 4, 0)
    assert chosen == sorted(set(chosen)) == items(CAPITALS, 4, 0)
    assert len({tuple(items(CAPITALS, 4, seed)) for seed in range(8)}) > 1
    outputs = evaluate(TableModel(writes=lambda _: ""), CAPITALS, Asking(limit=4))
    assert [o.index for o in outputs] == chosen
    with pytest.raises(ValueError, match="nothing to ask"):
        items(Task("t", {"train": ()}), None, 0)
    with pytest.raises(ValueError, match="limit of 1 or more"):
        items(CAPITALS, 0, 0)


def test_the_longest_training_target_bounds_the_answer() -> None:
    long = Task("t", {"train": questions(3, "train", target="x" * 99), "test": questions(1, "q", target="x" * 999)})
    assert longest_answer(long, TableModel()) == 150  # 1.5 x (delimiter and 99 characters)
    assert longest_answer(CAPITALS, TableModel()) == 16
    model = TableModel(writes=lambda _: "")
    evaluate(model, long, Asking(max_new_tokens=7))
    assert model.limits == [7]


def test_accuracy_without_choices_names_the_item() -> None:
    with pytest.raises(ValueError, match=r"capitals/test\[0\] has no choices.*exact_match"):
        evaluate(TableModel(), replace(CAPITALS, metric="accuracy"))


def base_and_tuned(right_before: set[int], right_after: set[int]) -> list[Output]:
    def writes(right: set[int]):
        return lambda q: f"Town{q[1:]}" if int(q[1:]) in right else "nowhere"

    return evaluate(TableModel(writes=writes(right_before)), CAPITALS) + evaluate(
        TableModel(writes=writes(right_after)), CAPITALS, Asking(variant="tuned", prompt="off")
    )


def test_the_change_is_paired_item_by_item() -> None:
    """Right before on 0-7, after on 5-9: two items won, five lost, so -0.3 with Tango's interval and McNemar's test."""
    scores = score(base_and_tuned(set(range(8)), set(range(5, 10))), [CAPITALS])
    base, tuned = (made for made in scores if made.metric == CAPITALS.metric)
    assert (base.value, tuned.value) == (0.8, 0.5)
    assert (tuned.delta, tuned.delta_low, tuned.delta_high) == pytest.approx((-0.3, *tango(2, 5, 10)))
    assert tuned.p == pytest.approx(2 * (1 + 7 + 21) / 2**7)
    assert tuned.verdict == "unclear"
    assert tuned.needed is not None
    assert tuned.needed > 10
    assert (base.delta, base.verdict) == (None, None)


@pytest.mark.parametrize("name", ["exact_match", "rouge1", "bleu"])
def test_the_order_of_outputs_and_of_items_changes_nothing(name: str) -> None:
    task = replace(CAPITALS, metric=name)
    outputs = base_and_tuned({1, 2, 3}, {3, 4})
    first = score(outputs, [task], resamples=100)
    shuffled = score(random.Random(0).sample(outputs, len(outputs)), [task], resamples=100)
    assert {s.key: s for s in first} == {s.key: s for s in shuffled}


def test_prompt_on_and_off_are_both_measured_against_the_same_base() -> None:
    outputs = evaluate(TableModel(writes=lambda q: f"Town{q[1:]}"), CAPITALS, Asking(role="target"))
    for state in ("on", "off"):
        model = TableModel(writes=lambda q, state=state: f"Town{q[1:]}" if state == "on" else "")
        outputs += evaluate(model, CAPITALS, Asking(role="target", variant="tuned", prompt=state))
    found = {s.prompt: s.delta for s in score(outputs, [CAPITALS])}
    assert found == {None: None, "on": 0, "off": -1}


def test_backward_transfer_is_the_change_since_the_targets_own_stage() -> None:
    """Nothing right before, 0-7 right after its own stage, 5-9 at the end: +0.5 since the base, and -0.3 since its own stage."""

    def asked(right: set[int], **state: Any) -> list[Output]:
        model = TableModel(writes=lambda q: f"Town{q[1:]}" if int(q[1:]) in right else "nowhere")
        return evaluate(model, CAPITALS, Asking(role="target", **state))

    outputs = asked(set()) + asked(set(range(8)), variant="own-stage", prompt="on")
    outputs += asked(set(range(5, 10)), variant="tuned", prompt="on") + asked({1}, variant="tuned", prompt="off")
    base, on, off = score(outputs, [CAPITALS])
    assert (on.value, on.delta, on.transfer) == pytest.approx((0.5, 0.5, -0.3))
    assert (on.transfer_low, on.transfer_high) == pytest.approx(tango(2, 5, 10))
    assert base.transfer is off.transfer is None
    with pytest.raises(ValueError, match="own-stage and tuned were asked different items"):
        score([replace(o, input="?") if o.variant == "own-stage" else o for o in outputs], [CAPITALS])


def test_different_items_or_words_are_no_pair() -> None:
    outputs = base_and_tuned({1}, {2})
    with pytest.raises(ValueError, match="different items or in different words"):
        score(outputs[1:], [CAPITALS])
    with pytest.raises(ValueError, match="different items or in different words"):
        score([replace(outputs[0], input="?"), *outputs[1:]], [CAPITALS])
    with pytest.raises(ValueError, match="'capitals', which is not among those given: yesno"):
        score(outputs, [YES_NO])


def test_a_finished_run_can_be_marked_again_from_its_files(tmp_path) -> None:
    outputs = base_and_tuned({1, 2, 3}, {3, 4}) + evaluate(TableModel(loglik={"Yes": -0.5, "No": -1.5}), YES_NO)
    write_jsonl(tmp_path / "outputs.jsonl", outputs)
    assert read_outputs(tmp_path) == outputs
    made = Circumstances(model="m", versions={"numpy": "2"})
    scores = score(outputs, [CAPITALS, YES_NO], circumstances=made)
    write_jsonl(tmp_path / "scores.jsonl", scores)
    assert read_scores(tmp_path) == scores
    assert score(read_outputs(tmp_path), [CAPITALS, YES_NO], circumstances=made) == scores
    assert all(isinstance(s, Score) and (units.is_symptom(s.metric) or metric(s.metric)) for s in scores)


def test_items_that_do_not_fit_the_model_are_counted_and_answers_bound_in_tokens() -> None:
    """64 positions. The long item's 90 bytes of input do not fit; the middle one fits unless a soft prompt takes 20 places."""
    pretrained = Pretrained(small.llama(max_position_embeddings=64), small.tokenizer(), "tiny", "")
    plain, prompted = Model(pretrained), Model(pretrained, small.prompt(20, pretrained.model))
    count = [len(small.tokenizer()(text)["input_ids"]) for text in ("z" * 2, "z" * 25, "z" * 90)]
    assert count == [2, 25, 90], "the tokenizer no longer gives a token to each of these letters"
    examples = tuple(Example({"input": "z" * n}, "zz", ("zz", "zy")) for n in (2, 25, 90))
    ranked = Task("t", {"test": examples}, Template("{{ input }}", delimiter=""), "accuracy")
    assert [o.truncated for o in evaluate(plain, ranked)] == [False, False, True]
    assert [o.truncated for o in evaluate(prompted, ranked)] == [False, False, True]
    written = replace(ranked, metric="exact_match")  # 2 to 90 tokens of input, and 16 new ones
    assert [o.truncated for o in evaluate(plain, written)] == [False, False, True]
    assert [o.truncated for o in evaluate(prompted, written, Asking(max_new_tokens=22))] == [False, True, True]
    assert {s.truncated for s in score(evaluate(plain, written), [written])} == {1}
    long = Task("t", {"train": (Example({"input": "z"}, "z" * 14),), "test": examples}, ranked.template)
    assert longest_answer(long, plain) == 21
    assert longest_answer(replace(long, splits={"train": (Example({}, "z" * 60),)}), plain) == 32


def test_the_batch_and_the_order_of_the_items_change_no_answer() -> None:
    pretrained = Pretrained(small.llama(), small.tokenizer(), "tiny", "")
    shuffled = replace(YES_NO, splits={**YES_NO.splits, "test": YES_NO.splits["test"][::-1]})
    asked = [
        evaluate(Model(pretrained, batch_tokens=size), task, Asking(shots=1, generate_choices=True))
        for size, task in ((8192, YES_NO), (64, YES_NO), (8192, shuffled))
    ]
    first, *others = [{o.input: o for o in outputs} for outputs in asked]
    for other in others:
        for text, output in first.items():
            assert (other[text].output, other[text].generated) == (output.output, output.generated)
            # float32 summed in another order: 1e-5; a neighbour's token that is seen moves it by 0.1 and more.
            assert other[text].logprobs == pytest.approx(output.logprobs, abs=1e-4)


def test_a_choice_is_ranked_with_the_delimiter_before_it() -> None:
    """As it stands in training: a tokenizer reads "Yes" and " Yes" as different tokens."""
    ranked: list[str] = []

    class Recording(TableModel):
        def loglikelihood(self, pairs: Any, **options: Any) -> Any:
            ranked.extend(continuation for _, continuation in pairs)
            return super().loglikelihood(pairs, **options)

    evaluate(Recording({"Yes": -1, "No": -2}), YES_NO, Asking(limit=1))
    assert ranked == [" Yes", " No"]
