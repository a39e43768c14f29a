"""The contract of a training method: hooks around one loop, all of them optional."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict
from torch import Tensor

from holdfast.methods._context import Context, ParameterGroup, RowParts
from holdfast.plugins import snake
from holdfast.row import Row, total_weight
from holdfast.tasks.task import Example

if TYPE_CHECKING:
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.head import LabelLogits
    from holdfast.prefix.model import PrefixModel


FOLLOW = {"chooses_parameters": "parameters", "replaces_loss": "objective", "adds_rows": "added_rows"}
"""Flags that follow from the hooks that a class defines, with the hook that decides."""


class Method:
    """A training technique as hooks of the one loop, all of them optional.

    A subclass is a pydantic dataclass: its fields are its configuration, checked at construction. The loop owns
    `zero_grad`, backward, clipping and the step; a method never touches the optimizer. `model` is the
    `PrefixModel`: `.model` is the transformers model and `.prompts` are its soft prompts.

    The hooks below stand in the order in which they are asked: when a run is planned, for each example, before the first step, in each
    step, and at the end. To find out how much memory a token takes, those of a step are called before the first step too; then
    `load_state_dict` puts back the state that `state_dict` returned before.
    """

    # A field that does not exist is refused; pydantic takes this from the base class, and would ignore it otherwise.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    # Declared by a class, and read before anything is loaded.
    defaults: ClassVar[dict[str, Any]] = {}
    """Training settings (steps, learning rate, ...) that work for this method without tuning: of a method that chooses the parameters, or
    that replaces the loss. Others leave them to the method that they take part beside."""

    moves_the_model: ClassVar[bool] = True
    """True if the stage changes the model's weights; not where a prompt alone is trained, in front of a frozen model."""

    moves_matrices: ClassVar[bool] = True
    """False if every parameter that the method moves has one dimension."""

    asks_questions: ClassVar[bool] = False
    """True if the model answers the examples' questions as it trains, so that documents, which have none, are refused."""

    stages: ClassVar[tuple[str, ...]] = ()
    """Fields that hold a stage which must be done before, such as one that finds a mask. A recipe fills them (`RecipePlan.train`), and
    `Context.inputs` has the stages' folders; nobody sets them."""

    selects: ClassVar[str] = ""
    """Field that `NAME:VALUE` sets in the place of `--set`, such as `type` of `peft:IA3`."""

    # Of the hooks that a class defines: nobody declares these.

    chooses_parameters: ClassVar[bool] = False
    """True if the method says which parameters move, so that it can stand alone; others take part beside such a method."""

    replaces_loss: ClassVar[bool] = False
    """True if `objective` replaces the token loss. At most one method of a composition does."""

    adds_rows: ClassVar[bool] = False
    """True if rows that are no examples of the stage's tasks enter the step's loss."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for flag, hook in FOLLOW.items():
            defined = getattr(cls, hook) is not getattr(Method, hook)
            value = defined and not (flag == "adds_rows" and cls.has_own_loss())
            if vars(cls).get(flag, value) != value:
                raise TypeError(
                    f"{cls.__name__}: {flag} follows from its hooks; define {hook}(), or leave the flag out"
                )
            setattr(cls, flag, value)

    @classmethod
    def has_own_loss(cls) -> bool:
        """Return whether the rows that the method adds have a loss of their own."""
        return cls.own_loss is not Method.own_loss

    # When a run is planned.

    @property
    def leaves(self) -> tuple[str, ...]:
        """Return the folders that `export` writes: of `model`, `prompt` and `adapter`. With `adapter`, the weights themselves stay."""
        return ("model",) if self.moves_the_model else ("prompt",)

    def beside(self, other: "Method") -> str:
        """Return the reason why this method makes no sense beside another, or nothing; both are asked, before anything is loaded."""
        return ""

    def in_sequence(self, before: int) -> "Method":
        """Return the method as it takes part in a stage that goes on from `before` others, one after another; most are the same there."""
        return self

    def versions(self) -> Sequence[str]:
        """Return the fingerprints of what the fields name, such as a file or a task: changed content trains anew.

        Raises:
            ValueError: it is not there or makes no sense; here, that no recipe put a stage into one of the fields `stages`.
        """
        for name in self.stages:
            if getattr(self, name) is None:
                raise ValueError(
                    f"{snake(type(self).__name__)}: needs a stage before it ({name}), which a recipe makes; see `holdfast methods`"
                )
        return ()

    def check_content(self) -> None:
        """Refuse a run for which a field must name something, and does not; a plan of methods alone need not.

        Raises:
            ValueError: nothing is named.
        """
        return None

    # For each example, where the method replaces the loss.

    def row_parts(self, example: Example, demonstrations: Sequence[Example]) -> Sequence[RowParts]:
        """Return the rows of an example. Several make a group, such as the chosen and the rejected answer of one prompt."""
        return (RowParts(demonstrations, example.target),)

    # Before the first step.

    def prepare(self, context: Context) -> None:
        """Add modules, keep a copy of the start or measure; called once, before anything moves."""

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup] | None:
        """Return the parameters that may move, or None where this method leaves the choice to another."""
        return None

    # In each step: the rows,

    def batch(self, rows: list[Row], context: Context) -> list[Row]:
        """Return the tasks' rows of a step: as they are, or with other tokens or weights. Rows of one `group` stay in one forward."""
        return rows

    def added_rows(self, rows: Sequence[Row], context: Context) -> Sequence[Row]:
        """Return rows to add to a step beside `rows`, which are the tasks'; no other method changes them.

        They enter the step's loss or, of a method that defines `own_loss`, that alone.
        """
        return ()

    # the loss of each forward,

    def objective(self, output: "LabelLogits", rows: Sequence[Row]) -> Tensor:
        """Return the loss of one forward in the place of the token loss, a scalar: the sum over its units (see `units`)."""
        raise AssertionError(f"{type(self).__name__} has no objective of its own")

    def units(self, rows: Sequence[Row]) -> float:
        """Return the number that the objective of these rows is divided by; in a step, that of all its rows."""
        return total_weight(rows)

    def token_factors(self, output: "LabelLogits", rows: Sequence[Row]) -> Tensor | None:
        """Return what the token loss of each label is multiplied by, [N] without gradient, or None. Penalties do not see it."""
        return None

    def penalty(self, model: "PrefixModel", rows: Sequence[Row], output: "LabelLogits") -> Tensor | None:
        """Return a scalar to add to the loss, or None. Called once for each forward, and weighted by its share of the step's tokens."""
        return None

    def own_loss(self, model: "PrefixModel", rows: Sequence[Row], output: "LabelLogits") -> Tensor:
        """Return the loss of the rows that this method added, a scalar.

        Called once for each forward that holds such rows, with these rows and the predictions of their labels. The loop adds the parts
        as they are, so the method divides by what it counts over the step's rows.
        """
        raise AssertionError(f"{type(self).__name__} adds rows for a loss of its own and has no own_loss")

    # and the weights.

    def after_backward(self, model: "PrefixModel") -> None:
        """Mask or project the gradients, complete and not clipped yet; one of None freezes in this step, and one of 0 does not."""

    def after_step(self, model: "PrefixModel") -> None:
        """Correct the weights after the optimizer's step, such as those that a mask holds; the gradients are there still, clipped."""

    def figures(self) -> Mapping[str, float]:
        """Return numbers of the step just taken, for the log and the trackers, such as the mean reward."""
        return {}

    # At a checkpoint, and at the end.

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs beside the parameters: tensors, numbers and strings."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write what this method trained below `folder`: `model/`, `prompt/` or `adapter/`."""
