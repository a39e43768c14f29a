"""GOT-D: the potential is the gradient of the transport cost, order and calibration, which candidates come first, and a run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ot", reason="GOT-D needs POT")
pytest.importorskip("sklearn", reason="vectors of words need scikit-learn")

from holdfast.api.tune import tune
from holdfast.curation.base import CurationContext
from holdfast.curation.got_d import GotD, calibrated, cost, extended, transport
from holdfast.plugins import CURATIONS, configure
from holdfast.tasks.formats.write import read_rows
from holdfast.tasks.task import Example, Task, Template
from tests.recipes.worlds import QUICK, write_world

EPS = 0.1
PLACES = ("river", "lake", "shore", "harbour", "island", "bridge")
FOODS = ("bread", "cheese", "soup", "apple", "honey", "rice")


def sentences(words: tuple[str, ...], verb: str, count: int, start: int = 0) -> tuple[Example, ...]:
    texts = [
        f"we {verb} the {words[i % 6]} and the {words[(i // 6 + 1 + i) % 6]} {i}" for i in range(start, start + count)
    ]
    return tuple(Example({"input": text}, "yes") for text in texts)


TARGET = Task(
    "places",
    {"train": sentences(PLACES, "cross", 12), "test": sentences(PLACES, "cross", 3, 100)},
    Template("{{ input }}"),
)
NEAR = Task(
    "near", {"train": (*sentences(PLACES, "crossed", 40, 200), *TARGET.splits["test"])}, Template("{{ input }}")
)
FAR = Task("far", {"train": sentences(FOODS, "eat", 40)}, Template("{{ input }}"))


def selected(tasks: tuple[Task, ...] = (NEAR, FAR), seed: int = 0, **settings: Any) -> list[Example]:
    context = CurationContext(TARGET, seed=seed, general=tasks)
    return list(GotD(**{"target": False, "count": 20, **settings})(TARGET.splits["train"], context))


def points(n: int, m: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(n, 8)), rng.normal(size=(m, 8)) + 0.3
    return cost(a / np.linalg.norm(a, axis=1, keepdims=True), b / np.linalg.norm(b, axis=1, keepdims=True))


def value(scaled: np.ndarray, weights: np.ndarray) -> float:
    """The minimum of <P, C> + eps KL(P | a b'), by another solver than the one that is tested: plain Sinkhorn in float64."""
    a, kernel = np.full(len(scaled), 1 / len(scaled)), np.exp(-scaled / EPS)
    u, v = a, np.ones(scaled.shape[1])
    for _ in range(3000):
        u = 1 / (kernel @ (weights * v))
        v = 1 / (kernel.T @ (a * u))
    plan = (a * u)[:, None] * kernel * (weights * v)[None, :]
    product = a[:, None] * weights[None, :]
    return float((plan * scaled).sum() + EPS * (plan * np.log(plan / product) - plan + product).sum())


def test_differences_of_potentials_are_finite_differences_of_the_cost() -> None:
    """The paper's theorem 1, and what the whole selection stands on. A plain cosine to the target, or f for g, is off by tenths."""
    costs = points(12, 9)
    scaled = costs / costs.max()
    _, g, _ = transport(costs, EPS)
    weights, step = np.full(9, 1 / 9), 1e-5
    for i, j in ((0, 1), (2, 7), (8, 3)):
        moved = np.zeros(9)
        moved[i], moved[j] = step, -step
        difference = (value(scaled, weights + moved) - value(scaled, weights - moved)) / (2 * step)
        assert difference == pytest.approx(g[i] - g[j], abs=1e-4)


def test_a_candidate_outside_the_problem_has_the_potential_that_it_has_inside() -> None:
    costs = points(12, 9)
    f, g, _ = transport(costs, EPS)
    assert extended(f, costs / costs.max(), EPS) == pytest.approx(g, abs=1e-6)


def test_the_cost_is_in_its_own_unit_and_a_permutation_permutes() -> None:
    costs, order = points(12, 9), [3, 1, 4, 0, 8, 5, 7, 2, 6]
    _, g, distance = transport(costs, EPS)
    _, permuted, same = transport(costs[:, order], EPS)
    assert permuted == pytest.approx(g[order], abs=1e-6)
    assert transport(3 * costs, EPS)[2] == pytest.approx(3 * distance)
    assert same == pytest.approx(distance)


def test_calibration_keeps_the_order_and_sums_to_zero() -> None:
    _, g, _ = transport(points(12, 9), EPS)
    assert list(np.argsort(calibrated(g))) == list(np.argsort(g))
    assert calibrated(g).sum() == pytest.approx(0)
    # The paper's equation: the gradient of adding to j what is taken from the others in equal parts.
    assert calibrated(g)[0] == pytest.approx(g[0] - np.delete(g, 0).mean())


def test_the_near_cluster_comes_first_and_what_is_measured_never() -> None:
    rows = selected()
    assert sum(row.task == "near" for row in rows) >= 18
    texts = {row.target for row in rows}
    assert not texts & {str(e.fields["input"]) + " yes" for e in TARGET.splits["test"]}
    gradients = [float(row.origin.rpartition(" ")[2]) for row in rows]
    assert gradients == sorted(gradients)
    assert rows == selected()
    # At random half of them are from either task: 20 of 80 within four standard deviations.
    assert 2 <= sum(row.task == "near" for row in selected(by="random")) <= 18
    assert len(selected(count=80)) == 80
    assert {row.task for row in selected(domains=1, count=30)} == {"near"}


def test_a_small_problem_ranks_all_candidates() -> None:
    """The potential is solved on ten texts of each side and extended to the other seventy."""
    assert sum(row.task == "near" for row in selected(sample=10)) >= 16


def test_rows_are_texts_or_asked_as_their_task_asks() -> None:
    (text, *_), (row, *_) = selected(), selected(form="task")
    assert (text.fields, text.choices, text.demonstrations) == ({}, None, ())
    assert text.target == f"{row.fields['input']} {row.target}"
    assert len(selected(target=True)) == 32


def test_a_long_text_is_a_candidate_for_each_thousand_characters() -> None:
    """The bug: what stood behind the first thousand was never compared, and came along with it."""
    places, foods = (" ".join(str(e.fields["input"]) for e in t.splits["train"][:40])[:1000] for t in (NEAR, FAR))
    assert len(places) == len(foods) == 1000
    long = Task("long", {"train": (Example({"input": foods + places + foods[:500]}, "yes"),)}, FAR.template)
    (row,) = selected((long,), count=1)
    assert row.target == places
    assert row.origin.startswith("selected: long/train[0], piece 2 of 3, gradient ")
    assert len(selected((long,), count=3)) == 3
    assert [row.target for row in selected((long,), count=1, form="task")] == ["yes"]


def test_too_few_candidates_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got_d: 81 candidates are to be selected, and there are 80"):
        selected(count=81)
    with pytest.raises(ValueError, match=r"got_d: 20 .* there are 0; name tasks in candidates"):
        selected(())
    with pytest.raises(ValueError, match=r"the nearest 1 tasks \(near\) have 40; raise domains"):
        selected(domains=1, count=50)
    with pytest.raises(ValueError, match=r"curate\.regularisation=0\.0: Input should be greater than 0"):
        configure(CURATIONS, "got_d", {"regularisation": 0.0}, "curate")
    doubles = Task("doubles", {"train": (*FAR.splits["train"][:3], *FAR.splits["train"][:3])}, FAR.template)
    with pytest.raises(ValueError, match="there are 3; name"):
        selected((doubles,))


def test_a_warm_up_trains_the_selection_first_and_then_the_target_alone(tmp_path: Path) -> None:
    world = write_world(tmp_path, goal=None, other=["w20", "w21"])
    settings = {
        "curate.candidates": str(world / "other"),
        "curate.count": 6,
        "curate.target": False,
        "warm.steps": 4,
        "warm.learning_rate": 1e-2,
    }
    settings |= {key: value for key, value in QUICK.items() if key.startswith("model.")}
    run = tune(
        str(world / "model"),
        str(world / "goal"),
        "warm_up",
        "none",
        curate="got_d",
        shots=(0,),
        out=tmp_path / "run",
        **settings,
    )
    rows = read_rows(run.folder / "data", "train")
    assert len(rows) == 6
    assert all(row.origin.startswith("selected: other/train[") for row in rows)
    log = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(line["stage"] for line in log)) == ["warm", "model"]
    # Rows of the second phase: all 24 of the target.
    assert next(line["rows"] for line in log if line["stage"] == "model" and "rows" in line) == 24
