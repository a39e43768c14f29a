"""The two sizes of the lab model, as settings that decide the weights."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class LabSettings:
    """The settings that decide the weights. The data of a step follow from `seed` and the step alone."""

    seed: int = 0
    steps: int = 4400
    tokens: int = 4096  # of one step
    micro: int = 768  # tokens computed at once: what stays in a core's cache is faster
    layers: int = 5
    width: int = 128
    heads: int = 4
    inner: int = 384
    learning_rate: float = 3e-3
    decay: float = 0.05  # of the weights of matrices (AdamW)
    positions: int = 1024  # the longest text
    spread: float = 0.05  # standard deviation of the first random weights


SIZES = {
    "small": LabSettings(),
    # 19.1 million parameters at a vocabulary of 8,192: 38.2 MB in half precision, the most that fits into 40 MB. The steps
    # read each word of 60 MB of text about 15 times; more would be learned by heart.
    "large": LabSettings(
        steps=3000,
        tokens=131072,
        micro=65536,
        layers=9,
        width=384,
        heads=6,
        inner=1024,
        learning_rate=2e-3,
        decay=0.1,
        spread=0.02,
    ),
}


def changed(settings: LabSettings, assignments: Sequence[str]) -> LabSettings:
    """Return the settings after assignments such as `layers=2`.

    Raises:
        ValueError: there is no such field, or its value is not a number of the field's kind.
    """
    kinds = {field.name: type(getattr(settings, field.name)) for field in fields(settings)}
    for text in assignments:
        name, _, value = text.partition("=")
        if name not in kinds:
            raise ValueError(f"--set {text}: there is no setting {name!r}; there are {', '.join(kinds)}")
        try:
            settings = replace(settings, **{name: kinds[name](value)})
        except ValueError:
            raise ValueError(f"--set {text}: write {name}=NUMBER ({kinds[name].__name__})") from None
    if settings.tokens < settings.micro or settings.width % settings.heads:
        raise ValueError("tokens must be at least micro, and width a multiple of heads; change them with --set")
    return settings
