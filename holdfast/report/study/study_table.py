"""The content of a study's tables, and the texts that they share: in a terminal, on its page and in Markdown."""

from dataclasses import dataclass

from holdfast.results import units
from holdfast.results.study import FEWEST_SEEDS, FEWEST_TARGETS, Cell, Comparison, Prediction, Spread, Study, TaskScore

MEASURED = ("target", "kept", "matched", "area", "format_share", "stage_one", "drift", "transfer")


@dataclass(frozen=True)
class StudyTable:
    """The content of every table of one target: arms by measures, the tests against the first arm, and each task's scores."""

    cells: list[Cell]
    columns: dict[str, list[Spread | None]]  # a measure that any arm has: an entry for each arm
    measures: list[str]  # of the comparisons
    tests: list[tuple[str, list[Comparison | None]]]  # an arm with its comparison by each measure
    against: str
    answered: list[tuple[str, int, list[TaskScore]]]  # (task, shots, an entry for each arm that was asked)

    @classmethod
    def of(cls, study: Study, task: str) -> "StudyTable":
        """Return the table of one target."""
        cells = [cell for cell in study.cells if cell.task == task]
        columns = {name: [getattr(cell, name) for cell in cells] for name in MEASURED}
        compared = {(test.arm, test.measure): test for test in study.comparisons if test.task == task}
        measures = list(dict.fromkeys(measure for _, measure in compared))
        arms = dict.fromkeys(arm for arm, _ in compared)
        # A dict keeps the order of the file, which is that of the tasks in the study.
        answered: dict[tuple[str, int], list[TaskScore]] = {}
        for score in study.answered:
            if score.task == task:
                answered.setdefault((score.asked, score.shots), []).append(score)
        return cls(
            cells,
            # Only measures that an arm has: a column of dashes says nothing, and 80 columns are few.
            {name: column for name, column in columns.items() if any(column)},
            measures,
            [(arm, [compared.get((arm, measure)) for measure in measures]) for arm in arms],
            next((test.against for test in compared.values()), ""),
            [(name, shots, scores) for (name, shots), scores in answered.items()],
        )

    def entry(self, name: str, arm: int) -> str:
        """Return an arm's measure as text, with the number of seeds that count where not all do."""
        return shown(self.columns[name][arm], self.cells[arm].seeds if name == "matched" else 0)


NOTE = (
    "Means and standard deviations over n seeds. target: points. kept: % of the base's mean on the general tasks. matched: the "
    "same where the target score first reaches the level. area: mean of matched over all target scores. form: general answers in "
    "the target's format, %. stage 1: the prompt's own target score. BWT: earlier targets of a sequence, at its end against right "
    f"after their own stages. unclear: with fewer than {FEWEST_SEEDS} seeds, or equal ones, there is no interval and no p over seeds."
)


def unresolved(test: Comparison) -> str:
    """Return the words that stand where a comparison has no interval over seeds."""
    return f"unclear over {test.n_seeds} seed{'' if test.n_seeds == 1 else 's'}"


def prediction_text(result: Prediction) -> str:
    """Return a prediction in words."""
    if not result.targets:
        return (
            f"Stage-1 score and {result.measure}: rank correlation {result.correlation:+.2f} over {result.n} runs (an older version, whose "
            "p took runs of one target for independent; it is left out)."
        )
    counted = f"over {result.targets} target{'' if result.targets == 1 else 's'}, {result.n} runs"
    if result.p is None:
        return (
            f"Stage-1 score and {result.measure}: unclear {counted}; runs of one target resemble each other, and it takes at least "
            f"{FEWEST_TARGETS} targets to tell."
        )
    p = f"{result.p:.2g}" if result.p >= 0.0001 else "<0.0001"
    return f"Stage-1 score and {result.measure}: rank correlation {result.correlation:+.2f} {counted} (p {p}, of whole targets exchanged)."


def shown(spread: Spread | None, seeds: int = 0, plus: bool = False) -> str:
    """Return `91.0 ± 2.0`, with the number of seeds (`(2/3)`) where fewer than `seeds` count; `-` for None."""
    if spread is None:
        return "-"
    text = units.points(spread.mean, plus) + ("" if spread.sd is None else f" ± {spread.sd:.1f}")
    return text if spread.n >= seeds else f"{text} ({spread.n}/{seeds})"


def brief(arm: str) -> str:
    """Return an arm's name without the stages before its settings, where every setting is then still told from the others; one a line."""
    method, at, rest = arm.partition("@")
    settings = [part.partition(".")[2] or part for part in rest.split(",")]
    names = {part.partition("=")[0] for part in settings}
    # prompt.learning_rate beside model.learning_rate: without the stage two settings would have one name.
    return arm if not at or len(names) < len(settings) else "\n ".join([method, *settings])
