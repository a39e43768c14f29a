"""Mixtures: rates and exact quotas, each set by its own template, what is measured left out, and whole runs by them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.api.load import load
from holdfast.api.tune import tune
from holdfast.curation._mixing import quotas, rates, total_size
from holdfast.curation.base import CurationContext
from holdfast.curation.cocktail import Cocktail
from holdfast.curation.mix import Mix
from holdfast.plugins import CURATIONS, configure
from holdfast.prefix.model import PrefixModel
from holdfast.prompts.soft_prompt import SoftPrompt
from holdfast.recipes.assignments import nested
from holdfast.recipes.find import find_recipe
from holdfast.recipes.pipeline import compose
from holdfast.recipes.plan import RecipePlan
from holdfast.recipes.techniques import Techniques
from holdfast.stages.curate import Curate
from holdfast.stages.stage import Finished, digest
from holdfast.stages.train import Train
from holdfast.tasks.task import Example, Task, Template
from holdfast.tasks.task_set import TaskRef
from holdfast.tasks.text.templates import choose_demonstrations, render
from tests.recipes.worlds import QUICK, write_world


def task(name: str, count: int, **template: Any) -> Task:
    train = tuple(Example({"input": f"{name} {i}"}, f"answer {i}") for i in range(count))
    test = tuple(Example({"input": f"{name} {i}"}, f"answer {i}") for i in range(count, count + 3))
    return Task(name, {"train": train, "test": test}, Template(**template))


def mixed(curation: Any, target: Task, general: tuple[Task, ...] = (), others: tuple[Task, ...] = (), seed: int = 0):
    return curation(target.splits["train"], CurationContext(target, seed, None, general, others))


def shares(rows: Any) -> dict[str, float]:
    counts = Counter(row.task for row in rows)
    return {name: count / len(rows) for name, count in counts.items()}


def test_the_worked_case_and_the_ends_of_cap_and_temperature() -> None:
    assert rates([1000, 3000, 30000], 3000) == pytest.approx([1 / 7, 3 / 7, 3 / 7])
    assert rates([10, 30, 60]) == pytest.approx([0.1, 0.3, 0.6])
    assert rates([10, 30, 60], 1) == pytest.approx([1 / 3] * 3)
    assert rates([10, 0, 60], None, 1e9) == pytest.approx([0.5, 0, 0.5])


sizes = st.lists(st.integers(1, 100_000), min_size=1, max_size=8)


@settings(max_examples=80, deadline=None)
@given(sizes, st.integers(1, 100_000), st.floats(0.5, 10), st.integers(0, 10_000))
def test_rates_sum_to_one_and_quotas_to_the_total_each_less_than_one_off(
    e: list[int], cap: int, temperature: float, total: int
) -> None:
    parts = rates(e, cap, temperature)
    assert sum(parts) == pytest.approx(1)
    counts = quotas(parts, total)
    assert sum(counts) == total
    # 1e-6: rounding of floats; a quota that is cut and not rounded would leave the total short.
    assert all(abs(count - part * total) < 1 + 1e-6 for count, part in zip(counts, parts, strict=True))
    largest = e.index(max(e))
    assert rates(e, 2 * cap, temperature)[largest] >= parts[largest] - 1e-12


@settings(max_examples=80, deadline=None)
@given(sizes, st.integers(1, 100_000))
def test_the_sizes_of_the_three_policies(e: list[int], cap: int) -> None:
    parts = rates(e, cap)
    first, every = total_size(e, parts, "first", 0), total_size(e, parts, "all", 0)
    assert all(count <= size + 1 for count, size in zip(quotas(parts, first), e, strict=True))
    assert all(count >= size - 1 for count, size in zip(quotas(parts, every), e, strict=True))
    assert first <= every
    assert total_size(e, parts, "first", 1) == min(1, first)
    assert total_size(e, parts, "cycle", 17) == 17


def test_mixed_in_examples_keep_their_template_and_say_where_they_are_from() -> None:
    target, other = task("t", 6), task("o", 6, input="Q: {{ input }}\nA:", chat=True)
    rows = mixed(Mix(), target, (other,))
    assert len(rows) == 12
    own = [row for row in rows if not row.task]
    # Each of the target's once, the same object and in its order: first demonstrations are the target's first.
    assert all(row is example for row, example in zip(own, target.splits["train"], strict=True))
    added = next(row for row in rows if row.fields["input"] == "o 3")
    assert (added.task, added.origin) == ("o", "mixed in: o/train[3]")
    rendered = render(target.template, added)
    assert (rendered.prompt, rendered.target) == ("Q: o 3\nA:", " answer 3")  # no chat: the target is asked without
    for example in (own[2], added):
        shown = choose_demonstrations(target.template, rows, 2, mode="first", seed=0, index=0, exclude=example)
        assert {row.task for row in shown} == {example.task}
        assert [row.fields["input"] for row in shown] == [f"{example.task or 't'} {i}" for i in (0, 1)]


def test_examples_that_the_run_is_measured_on_are_left_out() -> None:
    target = task("t", 4)
    leaked = Example({"input": "t 5"}, "answer 5")  # a test question of the target
    other = Task("o", {"train": (leaked, Example({"input": "o 1"}, "x"))}, Template())
    assert [row.fields["input"] for row in mixed(Mix(), target, (other,)) if row.task] == ["o 1"]
    # The same row in another task, which calls its field by another name and asks in other words.
    renamed = Task(
        "o", {"train": (Example({"text": "t 5"}, "answer 5"), Example({"text": "t 5"}, "x"))}, Template("{{ text }}?")
    )
    assert [row.target for row in mixed(Mix(), target, (renamed,)) if row.task] == ["x"]


def test_a_mixture_is_the_same_by_seed_and_other_by_another() -> None:
    target, other = task("t", 40), task("o", 90)
    first, again, third = (mixed(Mix(size=50), target, (other,), seed=seed) for seed in (3, 3, 4))
    assert first == again != third
    assert shares(first) == shares(third)


def test_shares_are_fixed_first_and_the_rest_goes_by_size() -> None:
    target, big, small, suite = task("t", 100), task("big", 300), task("small", 100), task("s", 50)
    curation = Mix(others="big,small,s", shares="target=0.5,s=0.1", size=1000)
    rows = mixed(curation, target, others=(big, small, suite))
    assert shares(rows) == {"": 0.5, "big": 0.3, "small": 0.1, "s": 0.1}
    assert Counter(row.fields["input"] for row in rows if row.task == "s") == {f"s {i}": 2 for i in range(50)}


def test_first_ends_before_anything_comes_twice_and_all_once_everything_came() -> None:
    target, other = task("t", 10), task("o", 40)
    first = mixed(Mix(shares="target=0.5", exhausted="first"), target, (other,))
    assert (len(first), max(Counter(row.fields["input"] for row in first).values())) == (20, 1)
    every = mixed(Mix(shares="target=0.5", exhausted="all"), target, (other,))
    assert (len(every), len({row.fields["input"] for row in every})) == (80, 50)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shares": "target"}, r"curate: shares='target': write NAME=SHARE"),
        ({"shares": "target=2"}, r"shares='target=2': write NAME=SHARE with a share from 0 to 1"),
        ({"exhausted": "all", "size": 5}, "exhausted=all goes on until every example was taken"),
        ({"temperature": 0}, r"curate.temperature=0: "),
    ],
)
def test_wrong_fields_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        configure(CURATIONS, "mix", fields, "curate")


def test_what_cannot_be_mixed_is_refused() -> None:
    target, empty = task("t", 4), Task("e", {"test": task("e", 1).splits["test"]}, Template())
    with pytest.raises(ValueError, match="there is nothing to mix in"):
        mixed(Mix(), target)
    with pytest.raises(ValueError, match="shares: x is no part of the mixture; there are target, o"):
        mixed(Mix(shares="x=0.1"), target, (task("o", 4),))
    with pytest.raises(ValueError, match=r"sum to 0.9; they must sum to 1"):
        mixed(Mix(shares="target=0.5,o=0.4"), target, (task("o", 4),))
    with pytest.raises(ValueError, match="e: has a share of the mixture and no training examples"):
        mixed(Mix(shares="e=0.4"), target, (empty,))


def test_a_cocktail_has_its_shares_and_without_any_is_the_plain_run() -> None:
    target, related, general, maths = task("t", 60), task("r", 50), task("g", 500), task("m", 20)
    curation = Cocktail(related="r", maths="m", related_share=0.2, maths_share=0.1)
    rows = mixed(curation, target, (general,), (related, maths))
    assert len(rows) == 100
    assert shares(rows) == {"": 0.6, "r": 0.2, "g": 0.1, "m": 0.1}
    plain = target.splits["train"]
    assert mixed(Cocktail(general_share=0), target, (general,)) is plain


def test_a_cocktail_by_words_gives_short_examples_more_places() -> None:
    target = task("t", 60)
    long = Task("g", {"train": tuple(Example({"input": "word " * 19}, f"{i}") for i in range(90))}, Template())
    rows = mixed(Cocktail(general_share=0.5, unit="words"), target, (long,))
    words = dict.fromkeys(("", "g"), 0)
    for row in rows:
        words[row.task] += len(str(row.fields["input"]).split()) + len(row.target.split())
    assert words["g"] / sum(words.values()) == pytest.approx(
        0.5, abs=0.05
    )  # whole examples; by examples it would be 0.83


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"related_share": 0.5, "general_share": 0.6}, "the shares of the pools sum to 1.1, which leaves nothing"),
        ({"maths_share": 0.1}, "maths_share=0.1: maths names no tasks"),
    ],
)
def test_a_cocktail_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        configure(CURATIONS, "cocktail", fields, "curate")


def test_a_mixed_run_of_promot_trains_its_prompt_on_the_target_alone(tmp_path: Path) -> None:
    world = write_world(tmp_path, pick=["w3", "w4"], copy=None)
    run = tune(
        world / "model", world / "copy", "promot", world / "pick", curate="mix", out=tmp_path / "run", shots=(0,), limit=4,
        **QUICK, **{"curate.shares": "target=0.5", "model.loss_per": "target", "model.demonstrations": 1},
    )  # fmt: skip
    rows = [json.loads(line) for line in (run.folder / "data" / "train.jsonl").read_text().splitlines()]
    # The column has a mark at its end, because these examples have a field `choices`, which is also a column.
    assert Counter(row.get("mixed_from_", "") for row in rows) == {"": 24, "pick": 24}
    assert run.config["stages"]["model"]["loss_per"] == "target"

    ref = TaskRef.read(str(world / "copy"))
    stages = find_recipe("promot")(RecipePlan(str(world / "model"), (Curate("c", ref, Mix()),), nested(QUICK)))
    prompt, model = stages
    assert isinstance(prompt, Train)
    assert isinstance(model, Train)
    curated = Curate("c", ref, Mix()).read  # the rows that a stage wrote, read back

    again = curated(Finished(Curate("c", ref, Mix()), _stage_folder(run.folder)))
    assert Counter(example.task for example in again.splits["train"]) == {"": 24, "pick": 24}
    loaded = load(world / "model")

    behind = PrefixModel(loaded.pretrained.model, [SoftPrompt(torch.zeros(2, 32))])
    assert {row.prompt for row in prompt.sample([again], loaded.pretrained, behind, 48)} == {0}
    assert len(prompt.sample([again], loaded.pretrained, behind, 48)) == 24
    assert Counter(row.prompt for row in model.sample([again], loaded.pretrained, behind, 48)) == {0: 24, None: 24}


def _stage_folder(run: Path) -> Path:
    (folder,) = [path.parent for path in run.rglob("data") if path.is_dir() and (path.parent / "done.json").exists()]
    return folder


def test_the_content_of_mixed_in_tasks_counts_in_the_hash_and_a_missing_task_is_refused_first(tmp_path: Path) -> None:

    world = write_world(tmp_path, pick=["w3", "w4"], copy=None)
    digests = []
    for line in ("w9", "w10"):
        with (world / "pick" / "train.jsonl").open("a") as file:
            file.write(json.dumps({"input": line, "target": "w3", "choices": ["w3", "w4"]}) + "\n")
        plan = RecipePlan("m", (TaskRef.read(str(world / "copy")),), {"curate": {"others": str(world / "pick")}})
        digests.append(digest(compose(Techniques("full", "mix"), plan).stages[0].tasks[0]))  # pyright: ignore[reportAttributeAccessIssue]
    assert digests[0] != digests[1]
    plan = RecipePlan("m", (TaskRef("t"),), {"curate": {"others": str(world / "pik")}})
    with pytest.raises(ValueError, match="no such folder, file or task"):
        compose(Techniques("full", "mix"), plan)
