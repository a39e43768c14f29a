"""The contract of a training method: hooks around one loop, all of them optional."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from holdfast.row import Row, total_weight
from holdfast.tasks.task import Example

if TYPE_CHECKING:
    from holdfast.inference.language_model import LanguageModel
    from holdfast.models.loading import Pretrained
    from holdfast.prefix.head import LabelLogits
    from holdfast.prefix.model import PrefixModel


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that may move, with what their learning rate is multiplied by."""

    parameters: Sequence[nn.Parameter]
    learning_rate_scale: float = 1.0
    weight_decay: bool = True


@dataclass(frozen=True, eq=False)
class Context:
    """The surroundings of a method: what it may look at, and what it may generate with.

    `model` holds the transformers model (`.model`) and the prompts that stand before its rows (`.prompts`); `rows` is a sample of
    the stage's training rows; `inputs` are the folders of the stages that stand in the method's own fields, by field name; `steps` is
    the length of the stage.
    """

    model: "PrefixModel"
    pretrained: "Pretrained"
    rows: Sequence[Row] = ()
    inputs: Mapping[str, Path] = field(default_factory=dict)
    steps: int = 0

    def language_model(self, prompt: int | None = None) -> "LanguageModel":
        """Return the model with its weights of now, text in and text out, behind the prompt of that number or none."""
        from holdfast.inference.model import Model  # not at the top: listing the methods needs no torch

        attached = None if prompt is None else self.model.attached(prompt)
        return Model(replace(self.pretrained, model=self.model.model), attached)


class Method:
    """A training technique as hooks of the one loop, all of them optional.

    A subclass is a pydantic dataclass: its fields are its configuration, checked at construction. The loop owns
    `zero_grad`, backward, clipping and the step; a method never touches the optimizer. `model` is the
    `PrefixModel`: `.model` is the transformers model and `.prompts` are its soft prompts.

    To find out how much memory a token takes, `batch` and `penalty` are called before the first step too; then `load_state_dict`
    puts back the state that `state_dict` returned before.
    """

    defaults: ClassVar[dict[str, Any]] = {}
    """Training settings (steps, learning rate, ...) that work for this method without tuning: of a method that chooses the parameters, or
    that replaces the loss. Others leave them to the method that they take part beside."""

    chooses_parameters: ClassVar[bool] = False
    """True if the method says which parameters move, so that it can stand alone; others take part beside such a method."""

    moves_the_model: ClassVar[bool] = True
    """True if the stage changes the model's weights; not where a prompt alone is trained, in front of a frozen model."""

    stages: ClassVar[tuple[str, ...]] = ()
    """RecipePlan that hold a stage which must be done before, such as one that finds a mask. A recipe fills them (`RecipePlan.train`), and
    `Context.inputs` has the stages' folders; nobody sets them."""

    instead_of_stages: ClassVar[str] = ""
    """Field that a user may set in the place of `stages`, such as a finished model's folder; `versions` refuses where neither is there."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # A listing reads the flag from the file's text, and the loop calls the method: the two must not contradict each other.
        if cls.chooses_parameters != (cls.parameters is not Method.parameters):
            raise TypeError(
                f"{cls.__name__}: define parameters() and chooses_parameters = True together; a method has both or neither"
            )

    @property
    def leaves(self) -> tuple[str, ...]:
        """Return the folders that `export` writes: of `model`, `prompt` and `adapter`. The evaluations of a run follow from them."""
        return ("model",) if self.moves_the_model else ("prompt",)

    probes: ClassVar[bool] = False
    """True if the prompt that it trains is a probe of the run (`--probe`): measured on the general tasks, and then left off."""

    replaces_loss: ClassVar[bool] = False
    """True if `objective` replaces the token loss. At most one method of a composition may say so."""

    vectors_alone: ClassVar[bool] = False
    """True if every parameter that the method moves has one dimension."""

    adds_rows: ClassVar[bool] = False
    """True if `batch` adds rows to the step's loss that are no examples of the stage's tasks."""

    shows_answer: ClassVar[bool] = False
    """True, of a method that replaces the loss, if each row is followed by a second of its group whose prompt shows the example itself,
    answered, as the last demonstration."""

    prompt: nn.Module | None = None
    """The removable prompt that this method trains, once it is prepared; None where it trains none."""

    def beside(self, other: "Method") -> str:
        """Return the reason why this method makes no sense beside another, or nothing; both are asked, before anything is loaded."""
        return ""

    def versions(self) -> Sequence[str]:
        """Return the fingerprints of what the fields name, such as a file or a task: changed content trains anew.

        Called when a run is planned, before a model is loaded.

        Raises:
            ValueError: it is not there, or cannot be read.
        """
        return ()

    def completions(self, example: Example) -> Sequence[str]:
        """Return the texts that rows of an example predict. Several make several rows that share a prompt: a group.

        Asked of the method that replaces the loss.
        """
        return (example.target,)

    def prepare(self, context: Context) -> None:
        """Add modules, keep a copy of the start or measure; called once, before anything moves."""

    def parameters(self, model: "PrefixModel") -> Iterable[ParameterGroup] | None:
        """Return the parameters that may move, or None where this method leaves the choice to another."""
        return None

    def batch(self, rows: list[Row], context: Context) -> list[Row]:
        """Return the rows of a step: with other tokens or weights, or with rows added. Rows of one `group` stay in one forward.

        An added row enters the step's loss, or with the name of the method's class in `Row.added_by` only its `own_loss`.
        """
        return rows

    def objective(self, output: "LabelLogits", rows: Sequence[Row]) -> Tensor:
        """Return the loss of one forward, a scalar: the sum over its units, of which a step takes the mean (see `units`)."""
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
        """Return the loss of rows that `batch` added for this method alone (`Row.added_by`), a scalar.

        Called once for each forward that holds such rows, with these rows and the predictions of their labels. The loop adds the parts
        as they are, so the method divides by what it counts over the step's rows.
        """
        raise AssertionError(f"{type(self).__name__} adds rows for a loss of its own and has no own_loss")

    def after_backward(self, model: "PrefixModel") -> None:
        """Mask or project the gradients; they are complete, and not clipped yet."""

    def after_step(self, model: "PrefixModel") -> None:
        """Correct the weights after the optimizer's step, such as those that a mask holds; the gradients are there still, clipped."""

    def figures(self) -> Mapping[str, float]:
        """Return numbers of the step just taken, for the log and the trackers, such as the mean reward."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs beside the parameters: tensors, numbers and strings."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""

    def export(self, model: "PrefixModel", pretrained: "Pretrained", folder: Path) -> None:
        """Write what this method trained below `folder`: `model/`, `prompt/` or `adapter/`."""
