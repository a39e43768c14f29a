"""Looks at the weights while they train, and the rule by which the best of them are kept."""

from collections.abc import Callable
from dataclasses import dataclass

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from holdfast.prefix.model import PrefixModel
from holdfast.training import checkpoint
from holdfast.training.settings import TrainSettings

Measure = Callable[[PrefixModel], float]
GIVE_UP = 3  # looks below the floor in a row after which training ends: what is broken so long does not come back


@dataclass(frozen=True)
class Unit:
    """The unit of a validation score: its metric's name, and what turns its number into the points of 100 that a person reads."""

    metric: str = "score"
    points: float = 1.0


@dataclass(frozen=True)
class Look:
    """The validation score, and the share of the untrained model's score that is kept on general tasks (None: not measured)."""

    value: float
    retention: float | None = None

    def keeps(self, floor: float | None) -> bool:
        """Return whether the weights may be chosen: all may where there is no floor."""
        return floor is None or self.retention is None or self.retention >= floor


@dataclass
class Progress:
    """State of a stage's training that its checkpoints and its result hold.

    `step` counts the steps taken; `best` is the best validation score of weights that may be kept, seen after `best_step`; `broken` counts
    the last looks in a row that kept less than the floor; `token_budget` is that of the forwards, once it is known.
    """

    step: int = 0
    best: float | None = None
    best_step: int | None = None
    token_budget: int | None = None
    broken: int = 0

    def best_yet(self, step: int, seen: Look, floor: float | None) -> bool:
        """Count a look after `step`; return whether its weights are the best so far. Of equal ones the earliest have moved least."""
        keeps = seen.keeps(floor)
        self.broken = 0 if keeps else self.broken + 1
        if not keeps or (self.best is not None and seen.value <= self.best):
            return False
        self.best, self.best_step = seen.value, step
        return True

    def ended(self, settings: TrainSettings) -> bool:
        """Return whether training ends before its last step: its goal is reached, or general tasks stay broken."""
        reached = settings.stop_at is not None and self.best is not None and self.best >= settings.stop_at
        return reached or self.broken >= GIVE_UP

    def rule(self, floor: float) -> str:
        """Return the rule by which weights above a floor were kept, as a sentence begins."""
        text = f"the weights of step {self.best_step} are kept, the best target score among looks that keep {100 * floor:g} % of the "
        text += "untrained model's mean on general validation examples"
        if self.best_step == 0:
            text += "; no later ones were better and kept so much, so the model is as it was"
        if self.broken >= GIVE_UP:
            text += f"; training ended after step {self.step}, because {GIVE_UP} looks in a row kept less"
        return text


def look(model: PrefixModel, validate: Measure, retention: Measure | None, accelerator: Accelerator) -> Look:
    """Measure the weights in the main process; every process gets the same numbers, or they would stop after different steps."""
    values: list[float | None] = [0.0, None]
    if accelerator.is_main_process:
        model.eval()
        # Put back after it: looking at the weights more or less often must not change how they move.
        state = checkpoint.random_state()
        values = [float(validate(model)), None if retention is None else float(retention(model))]
        checkpoint.restore_random_state(state)
    broadcast_object_list(values)
    value, kept = values
    assert value is not None
    return Look(value, kept)
