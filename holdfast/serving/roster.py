"""The models that a server offers by name: a run's target with its prompt attached, the run without, and its base."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.api.load import load
from holdfast.inference.model import Model
from holdfast.prefix.attached import detached
from holdfast.prompts.load import load_prompt
from holdfast.results.run_folder import RunFolder
from holdfast.serving.trial import Trial, trial_of_model, trial_of_run
from holdfast.tasks import sources

NO_END = 2**29  # room of a model without an end


@dataclass
class Roster:
    """Models by the names that a request can give; `words` say what each is, `others` are further names for some, and
    `trial` is a question to the first of them.

    Only who computes may call `model`: a model that is not asked for is never loaded (the base, beside the tuned weights).
    """

    makers: dict[str, Callable[[], Model]] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    trial: Trial = field(default_factory=Trial)
    since: int = field(default_factory=lambda: int(time.time()))
    _loaded: dict[str, Model] = field(default_factory=dict, repr=False)

    def add(self, name: str, words: str, make: Callable[[], Model], instead: str = "") -> None:
        """Offer a model under a name, or under `instead` where the name is taken."""
        name = instead if name in self.makers else name
        self.makers[name], self.words[name] = make, words

    def full(self, name: str) -> str:
        """Return the listed name behind a name that a request gives; itself, where it is that or no name at all."""
        # A listed name is never hidden by another model's short one.
        return name if name in self.makers else self.others.get(name, name)

    def model(self, name: str) -> Model:
        """Return the model of a name, loaded when it is first asked for."""
        if name not in self._loaded:
            self._loaded[name] = self.makers[name]()
        return self._loaded[name]

    def room(self, name: str) -> int | None:
        """Return the most tokens of a text of a model; None where it is not loaded yet, or has no end."""
        loaded = self._loaded.get(name)
        return None if loaded is None or loaded.room >= NO_END else loaded.room

    @property
    def names(self) -> list[str]:
        """Return the names, the one that a user most likely wants first."""
        return list(self.makers)


def roster_of(
    argument: str,
    prompt: str | None = None,
    *,
    base: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
) -> Roster:
    """Load what a MODEL argument or a run left; return it by name.

    Of a run: each target's name has that target's prompt attached; the run's name has no prompt; the base's name is the model before
    tuning. Of a model: its name, and of a prompt's folder that of the prompt, which is attached, and that of its base, which is plain.

    Raises:
        ValueError: as `load` does.
    """
    roster, layout = Roster(), RunFolder(Path(argument))
    if layout.is_run and prompt is None:
        plain = load(argument, "off", dtype=dtype, device=device, trust_remote_code=trust_remote_code)
        _add_run(roster, layout, plain, trust_remote_code)
        return roster
    # Of a run with `--prompt`, and of every other model: what `load` makes of it.
    loaded = load(argument, prompt, base=base, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
    if loaded.prompt is None:
        roster.add(_short(argument), argument, lambda: loaded)
        roster.trial = trial_of_model(argument, loaded)
        return roster
    attached = _short(prompt if prompt and not layout.is_run else argument)
    roster.add(attached, "with the prompt attached", lambda: loaded)
    source = loaded.pretrained.source
    roster.add(_short(source), f"{source}, without a prompt", lambda: Model(loaded.pretrained), f"{attached}-off")
    roster.trial = trial_of_run(layout, layout.targets, loaded) if layout.is_run else trial_of_model(argument, loaded)
    return roster


def _add_run(roster: Roster, layout: RunFolder, plain: Model, trust: bool) -> None:
    """Offer what a run left, its own weights being loaded."""
    config, pretrained = layout.config, plain.pretrained
    prompts, moved = layout.prompts, {"model", "adapter"} & set(layout.pieces)
    for name, folder in prompts.items():
        # All share one set of weights: a prompt is only put in front of them.
        attached = Model(pretrained, detached(load_prompt(folder, pretrained)()))
        # The only prompt has no name of its own, and is for all targets.
        targets = [target for target in layout.targets if not name or name in _names(target)]
        for target in [name] if name else [sources.short(target) for target in targets]:
            roster.add(target, "tuned, with its prompt attached", lambda attached=attached: attached, f"{target}-on")
        for target in targets:
            # The task's name and that of the argument, `kind` and `lab-kind`: who tuned on `lab:kind` may think of either.
            roster.others |= dict.fromkeys(_names(target), name or sources.short(target))
    first = roster.names[0] if prompts else ""
    with_prompt = [target for target in layout.targets if not first or first in _names(target)]
    roster.trial = trial_of_run(layout, with_prompt, plain)
    run = _short(str(layout.path))
    words = "tuned, without a prompt" if prompts else "tuned"
    roster.add(run, words if moved else "without a prompt: the base", lambda: plain, f"{run}-off")
    for target in [] if prompts else layout.targets:
        roster.others |= dict.fromkeys(
            _names(target), run
        )  # Without a prompt it is the run itself that knows the target.
    base, date = str(config["model"]), config.get("date")
    # In the precision of the run, or the two would differ by more than training. A prompt alone leaves the weights as they are.
    dtype, device = pretrained.loading.dtype, pretrained.loading.device
    other = (lambda: load(base, dtype=dtype, device=device, trust_remote_code=trust, date=date)) if moved else None
    roster.add(_short(base), f"{base}, before tuning", other or (lambda: plain), f"{_short(base)}-base")


def _names(target: str) -> list[str]:
    """Return the names that a target's TASK argument goes by: with its scheme and without."""
    return [sources.short(target), sources.short(target.rpartition(":")[2]), target]


def _short(argument: str) -> str:
    """Return the name of a folder, or of a hub id without its owner."""
    return Path(argument).resolve().name if Path(argument).exists() else argument.rpartition("/")[2]
