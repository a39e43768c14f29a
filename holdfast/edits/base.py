"""The contract of an edit: from a tensor of the base and those of tuned models, the tensor of the edited model."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from pydantic import ConfigDict
from torch import Tensor

from holdfast.weights.largest import Bits, TopKSelector, magnitudes, select_top
from holdfast.weights.layout import TensorLocation

Apply = Callable[[Tensor, Sequence[Tensor]], Tensor]
"""From a slice of the base and the same slice of each tuned model, the edited slice."""


@dataclass(frozen=True, slots=True)
class Slices:
    """A tensor of `size` numbers in the base and in `models` tuned models.

    `read(n, numbers)` goes over each n-th of its slices: the base's, and one of each of the tuned models with these numbers. A slice is
    valid until the next one comes: all are read into the same buffers.
    """

    size: int
    read: Callable[[int, Sequence[int]], Iterable[tuple[Tensor, Sequence[Tensor]]]]
    models: int = 1

    def every(self, step: int) -> Iterable[tuple[Tensor, Sequence[Tensor]]]:
        """Return each `step`-th slice: the base's, and those of all tuned models."""
        return self.read(step, range(self.models))

    def magnitudes(self, step: int, stride: int = 1, model: int = 0) -> Iterator[Bits]:
        """Yield |tuned - base| of each `step`-th slice of a tuned model, each `stride`-th number of it, as `select_top` takes it."""
        # The others stay unread: a pass for each model over the files of all would be the square of their number.
        for base, (tuned,) in self.read(step, [model]):
            if stride == 1:
                yield magnitudes(base, tuned)
            else:
                yield magnitudes(base.reshape(-1)[::stride], tuned.reshape(-1)[::stride])

    def select_top(self, keep: int, model: int = 0) -> TopKSelector:
        """Return a selector of the `keep` largest |tuned - base| of a tuned model."""
        return select_top(partial(self.magnitudes, model=model), self.size, keep)


class Edit(ABC):
    """Change the difference between tuned models and their base, one tensor at a time.

    A subclass is a frozen pydantic dataclass: its fields are its configuration, checked at construction, and all have
    defaults. The first line of its docstring says what it does, and a line `Source:` where it comes from. It is a pure
    function: the same tensors at the same location give the same result, and its arguments are not changed.
    """

    # A field that does not exist is refused; pydantic takes this from the base class, and would ignore it otherwise.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    EXAMPLES_OFF: ClassVar[Sequence[Mapping[str, Any]]] = ()
    """Fields with which the edit returns the tuned tensor bit by bit, where all tuned models are equal; empty where there are none."""

    EXAMPLES_BASE: ClassVar[Sequence[Mapping[str, Any]]] = ()
    """Fields with which the edit returns the base's tensor bit by bit; empty where there are none."""

    takes_several: ClassVar[bool] = False
    """True if the edit is defined for several tuned models; without it, exactly one is accepted."""

    fewest: ClassVar[int] = 1
    """The smallest number of tuned models that the edit is defined for."""

    needs_blocks: ClassVar[bool] = False
    """True if the edit is meaningless for a model whose tensor names show no numbered blocks."""

    takes_16_bits: ClassVar[bool] = False
    """True if float16 and bfloat16 of one tuned model may come as they are stored, because the result is bit by bit that of
    float32, rounded. This holds for `torch.lerp`, and not for a difference."""

    @property
    def sliceable(self) -> bool:
        """Return whether a tensor can be edited a run of rows at a time, so that memory stays small."""
        return False  # The safe default: an edit that looks at the whole tensor would silently rank or draw within each run.

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return what the edit learned of the models in `prepare`, for `edit.json`."""
        return {}

    def prepare(self, model: "Sequence[tuple[Slices, TensorLocation]]") -> "Edit":
        """Return the edit to use, after a look at the whole model: its tensors, each once (of tied weights the first).

        Called once, before any tensor is edited. An edit that goes by the tensor alone returns itself.
        """
        return self

    @abstractmethod
    def __call__(self, base: Tensor, tuned: Sequence[Tensor], location: TensorLocation) -> Tensor:
        """Return the edited tensor, of the shape and dtype of `base`.

        Args:
            base: float32 or float64 (see also `takes_16_bits`). A sliceable edit may be given a run of rows: numbers
                `[n, N]` of a tensor `[..., N]`.
            tuned: one tensor for each tuned model, of the base's shape and dtype.
            location: the tensor's name, and where it is in the model.
        """

    def over(self, slices: Slices, location: TensorLocation) -> Apply:
        """Return a function that is called once for each slice of the tensor, in order, and returns the edited slice.

        An edit that needs a property of the whole tensor, or that draws, overrides this (see `Streamed`).
        """
        return lambda base, tuned: self(base, tuned, location)


class Streamed(Edit):
    """An edit that needs more than a slice and less than the whole tensor at once: it defines `over` alone."""

    @property
    def sliceable(self) -> bool:
        return True  # `over` goes over all slices before the first of them is edited.

    @abstractmethod
    def over(self, slices: Slices, location: TensorLocation) -> Apply:
        """Go over the slices as often as needed, then return the function that edits each of them."""

    def __call__(self, base: Tensor, tuned: Sequence[Tensor], location: TensorLocation) -> Tensor:
        """Return the edited tensor, all of it at once."""
        # A single slice is the first of any stride, so it is given whatever that is.
        whole = Slices(base.numel(), lambda step, models: [(base, [tuned[m] for m in models])], len(tuned))
        return self.over(whole, location)(base, tuned)


def only(tuned: Sequence[Tensor]) -> Tensor:
    """Return the tensor of a single tuned model, for edits that take no more.

    Raises:
        ValueError: there are several.
    """
    if len(tuned) != 1:
        raise ValueError(f"this edit takes one tuned model, not {len(tuned)}")
    return tuned[0]
