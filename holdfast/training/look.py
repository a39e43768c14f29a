"""One look at the weights while they train: the target's validation score, and what is kept of general tasks."""

from collections.abc import Callable
from dataclasses import dataclass

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from holdfast.prefix.model import PrefixModel
from holdfast.training import checkpoint

Measure = Callable[[PrefixModel], float]
GIVE_UP = 3  # looks below the floor in a row after which training ends: what is broken so long does not come back


@dataclass(frozen=True)
class Look:
    """The validation score, and the share of the untrained model's score that is kept on general tasks (None: not measured)."""

    value: float
    retention: float | None = None

    def keeps(self, floor: float | None) -> bool:
        """Return whether the weights may be chosen: all may where there is no floor."""
        return floor is None or self.retention is None or self.retention >= floor


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
