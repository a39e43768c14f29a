"""Load the models that are measured; evaluations of equal weights share one."""

from pathlib import Path

from holdfast.models import resolve
from holdfast.models.loading import Pretrained
from holdfast.results.run_folder import RunFolder


class Loader:
    """Keep the model that was loaded last. Whoever asks for the same weights again is given it, and must leave it as it is.

    Only one is held, so that memory does not grow with the evaluations of a run; `measure` asks in an order that needs no more.
    """

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._pretrained: Pretrained | None = None

    def load(
        self, argument: str, stage: Path | None = None, *, trust_remote_code: bool = False, date: str | None = None
    ) -> Pretrained:
        """Return the model that a MODEL argument names, or what the stage in a folder made of it (`resolve.load`)."""
        # By the weights and not by the stage: after a prompt alone was trained they are the base's.
        key = (argument, weights_of(stage), trust_remote_code, date)
        if key != self._key or self._pretrained is None:
            self._pretrained = None  # Before the next one comes: two may not fit into memory.
            self._pretrained = resolve.load(argument, stage, trust_remote_code=trust_remote_code, date=date)
            self._key = key
        return self._pretrained


def weights_of(stage: Path | None) -> Path | None:
    """Return the folder of a stage that left weights; None where the weights are the base's, as after a prompt alone was trained."""
    return stage if stage is not None and {"model", "adapter"} & set(RunFolder(stage).pieces) else None
