"""Methods that make sense together: checked when a stage is planned, before anything is loaded."""

from collections.abc import Sequence
from itertools import permutations

from holdfast.methods.base import Method, loss_owner, parameter_choosing_method
from holdfast.plugins import snake


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
