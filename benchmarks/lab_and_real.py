"""Does the lab predict a real model? Rank correlations between two studies over the arms that both have.

    python -m benchmarks.lab_and_real docs/studies/techniques docs/studies/real-first

Arms are paired by what they do and not by their settings: an arm that has several learning rates in both studies is paired from the
lowest to the highest, because the scale of a good rate is the model's own. Printed are Spearman's correlations over arms of what is
kept, of what is kept at the matched target score, and of the target score, each with the two-sided p of all arms exchanged and with an
interval from arms drawn anew; and the arms whose ranks differ most.
"""

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from holdfast.results.study import Cell, read

MEASURES = ("kept", "matched", "target")
DRAWS = 10_000
# The same technique under the names that two plans give it.
ALIASES = {"10 % replay of tasks": "10 % replay"}
RATE = "model.learning_rate"


@dataclass(frozen=True)
class Pair:
    """An arm of both studies with its means over targets; None where it was not measured in one of them."""

    name: str
    first: dict[str, float | None]
    second: dict[str, float | None]


def pairs(first: Path, second: Path, target: str = "") -> list[Pair]:
    """Return the arms that the studies in two folders share; of the first on all of its targets, or on one."""
    cells = [cell for cell in read(first).cells if target in ("", cell.task)]
    one, two = _arms(cells), _arms(read(second).cells)
    shared = []
    for family in one.keys() & two.keys():
        rates = zip(sorted(one[family]), sorted(two[family]), strict=False)
        many = min(len(one[family]), len(two[family])) > 1
        for number, (a, b) in enumerate(rates, 1):
            name = f"{family}, rate {number}" if many else family
            shared.append(Pair(name, one[family][a], two[family][b]))
    return sorted(shared, key=lambda pair: pair.name)


def _arms(cells: list[Cell]) -> dict[str, dict[float, dict[str, float | None]]]:
    """Return the means over targets of each arm, by its name without settings and its learning rate."""
    grouped: dict[tuple[str, float], list[Cell]] = {}
    for cell in cells:
        family = cell.arm.partition("@")[0].rpartition(", learning_rate")[0] or cell.arm.partition("@")[0]
        key = (ALIASES.get(family, family), float(cell.settings.get(RATE, 0.0)))
        grouped.setdefault(key, []).append(cell)
    arms: dict[str, dict[float, dict[str, float | None]]] = {}
    for (family, rate), members in grouped.items():
        means = {}
        for measure in MEASURES:
            spreads = [getattr(cell, measure) for cell in members]
            values = [spread.mean for spread in spreads if spread is not None]
            means[measure] = statistics.fmean(values) if len(values) == len(members) else None
        arms.setdefault(family, {})[rate] = means
    return arms


def _spearman(columns: NDArray[np.float64]) -> float:
    return float(stats.spearmanr(columns[:, 0], columns[:, 1]).statistic)  # pyright: ignore[reportAttributeAccessIssue]


def correlation(values: list[tuple[float, float]]) -> tuple[float, float, float, float]:
    """Return Spearman's correlation over arms, its interval from arms drawn anew, and the two-sided p of arms exchanged."""
    columns = np.array(values)
    rng = np.random.default_rng(0)
    observed = _spearman(columns)
    drawn, exchanged = [], []
    for _ in range(DRAWS):
        sample = columns[rng.integers(len(columns), size=len(columns))]
        # A draw of one arm alone has no ranks.
        if np.ptp(sample[:, 0]) and np.ptp(sample[:, 1]):
            drawn.append(_spearman(sample))
        exchanged.append(_spearman(np.column_stack([columns[:, 0], rng.permutation(columns[:, 1])])))
    low, high = np.quantile(drawn, (0.025, 0.975))
    # + 1: the observed order is one of those that could have come.
    p = (1 + sum(abs(value) >= abs(observed) - 1e-12 for value in exchanged)) / (DRAWS + 1)
    return observed, float(low), float(high), p


def main() -> None:
    """Print the correlations and the arms, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path, help="folder of a study, as of the lab")
    parser.add_argument("second", type=Path, help="folder of a study of another model")
    parser.add_argument(
        "--target", default="", help="of the first study this target alone, in the place of the mean over all"
    )
    arguments = parser.parse_args()
    shared = pairs(arguments.first, arguments.second, arguments.target)
    if len(shared) < 4:
        raise SystemExit(f"the studies share {len(shared)} arms; a rank correlation needs four")
    print("| measure | arms | Spearman | 95 % | p |\n| --- | ---: | ---: | --- | ---: |")
    for measure in MEASURES:
        values = [
            (a, b)
            for pair in shared
            if (a := pair.first[measure]) is not None and (b := pair.second[measure]) is not None
        ]
        if len(values) < 4:
            print(f"| {measure} | {len(values)} | - | - | - |")
            continue
        rho, low, high, p = correlation(values)
        print(f"| {measure} | {len(values)} | {rho:.2f} | {low:.2f} to {high:.2f} | {p:.3f} |")
    print(
        f"\n| arm | kept, % ({arguments.first.name}) | kept, % ({arguments.second.name}) | ranks |\n| --- | ---: | ---: | --- |"
    )
    kept = [(pair.name, pair.first["kept"], pair.second["kept"]) for pair in shared]
    complete = [(name, a, b) for name, a, b in kept if a is not None and b is not None]
    ranks = [
        stats.rankdata([-value for value in values]) for values in zip(*(row[1:] for row in complete), strict=True)
    ]
    for (name, a, b), x, y in sorted(zip(complete, *ranks, strict=True), key=lambda row: -abs(row[1] - row[2])):
        print(f"| {name} | {a:.1f} | {b:.1f} | {x:g} / {y:g} |")


if __name__ == "__main__":
    main()
