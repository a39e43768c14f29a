"""Load the models of a run; stages that need equal weights share one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.models import resolve
from holdfast.models.loading import Pretrained
from holdfast.models.precision import AUTO, Loading
from holdfast.results.run_folder import RunFolder


class Loader:
    """Keep the model that was loaded last. Whoever asks for the same weights again is given it, and must leave it as it is.

    Only one is held, so that memory does not grow with the stages of a run; `tune` and `measure` ask in an order that needs no more.
    Training changes a model in place: it takes the model out, and gives it back where a prompt alone was trained.
    """

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._held: Any = None

    def load(
        self,
        argument: str,
        stage: Path | None = None,
        *,
        base: str | None = None,
        loading: Loading = AUTO,
        trust_remote_code: bool = False,
        date: str | None = None,
    ) -> Pretrained:
        """Return the model that a MODEL argument names, or what the stage in a folder made of it (`resolve.load`)."""
        # By the weights and not by the stage: after a prompt alone was trained they are the base's.
        # `trained` tells no folders apart, and what is held in memory.
        key = (argument, base, weights_of(stage), loading, loading.trained, trust_remote_code, date)
        return self.shared(
            key,
            lambda: resolve.load(
                argument, stage, base=base, loading=loading, trust_remote_code=trust_remote_code, date=date
            ),
        )

    def release(self) -> None:
        """Let go of what is held, for whoever loads models of its own."""
        self._key, self._held = (), None

    def shared(self, key: tuple[object, ...], make: Callable[[], Any]) -> Any:
        """Return what is held under a key; where that is something else, let it go and make the one that is asked for."""
        if key != self._key or self._held is None:
            self.release()  # Before the next one comes: two may not fit into memory.
            self._key, self._held = key, make()
        return self._held

    def lend(self, pretrained: Pretrained) -> Callable[[], None]:
        """Leave the model that was loaded last to whoever asked for it, to be changed at will; return what gives it back, unchanged."""
        assert pretrained is self._held, "another model was loaded since"
        key, before = self._key, _state(pretrained)
        self.release()

        def give_back() -> None:
            # By the counters of changes in place, which cost nothing: a method of a user's may do what it says it does not.
            if _state(pretrained) == before:
                self._key, self._held = key, pretrained

        return give_back


def _state(pretrained: Pretrained) -> dict[str, tuple[object, ...]]:
    """Return what changes with any tensor that is added to a model, exchanged, moved, or written into."""
    # Not of `state_dict`: the scales of a quantised weight are made anew for each.
    tensors = {**dict(pretrained.model.named_parameters()), **dict(pretrained.model.named_buffers())}
    # What is laid on the disk is made anew whenever a forward has used it, within inference mode without a counter.
    return {n: (id(t), t.device, 0 if t.is_inference() else t._version) for n, t in tensors.items()}


def weights_of(stage: Path | None) -> Path | None:
    """Return the folder of a stage that left weights; None where the weights are the base's, as after a prompt alone was trained."""
    return stage if stage is not None and {"model", "adapter"} & set(RunFolder(stage).pieces) else None
