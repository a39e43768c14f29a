"""Methods that make sense together: checked when a stage is planned, before anything is loaded."""

from collections.abc import Sequence
from itertools import permutations

from holdfast.methods.base import Method
from holdfast.plugins import snake
from holdfast.tasks.error_list import Problems
from holdfast.tasks.task import Task


def check_combination(methods: Sequence[Method]) -> None:
    """Refuse methods that make no sense together, and say why.

    Raises:
        ValueError: not exactly one chooses the parameters, two replace the loss, one is there twice, or one refuses another.
    """
    parameter_choosing_method(methods)
    names = [snake(type(method).__name__) for method in methods]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"methods: {name} is there twice, and its fields are set once; name it once")
    loss_owner(methods)
    for method, other in permutations(methods, 2):
        if reason := method.beside(other):
            name, beside = (snake(type(each).__name__) for each in (method, other))
            raise ValueError(f"methods: {name} makes no sense beside {beside}: {reason}")


def loss_owner(methods: Sequence[Method]) -> Method | None:
    """Return the method of a composition that replaces the token loss; None where all keep it.

    Raises:
        ValueError: two do.
    """
    owners = [method for method in methods if method.replaces_loss]
    if len(owners) > 1:
        names = ", ".join(snake(type(method).__name__) for method in owners)
        raise ValueError(f"methods: {names} each replace the loss; keep one")
    return owners[0] if owners else None


def check_examples(methods: Sequence[Method], task: Task) -> None:
    """Refuse a task's training examples of which the method that replaces the loss makes no rows, all of them at once.

    Raises:
        ValueError: as above, with the number of each example.
    """
    if (owner := loss_owner(methods)) is None:
        return
    problems = Problems()
    for index, example in enumerate(task.splits.get("train", ())):
        try:
            owner.row_parts(example, ())
        except ValueError as error:
            problems.add(f"{task.name}/train[{index}]", error)
    problems.stop()


def parameter_choosing_method(methods: Sequence[Method]) -> Method:
    """Return the one method of a composition that chooses the parameters.

    Raises:
        ValueError: none does, or two do.
    """
    choosing = [method for method in methods if method.chooses_parameters]
    # Two choices have no meaning that everybody would expect: neither their union nor the last of them.
    if len(choosing) != 1:
        names = ", ".join(snake(type(m).__name__) for m in choosing or methods) or "nothing"
        problem = (
            "both choose which parameters move; keep one"
            if choosing
            else "chooses no parameters; add one that does, such as full (full+l2_sp)"
        )
        raise ValueError(f"methods: {names} {problem}")
    return choosing[0]
