"""The techniques of a run by name: one for each moment. Nothing here is imported but names."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Techniques:
    """The names of a run's techniques, as the options of `tune` and the arms of a study give them; a probe changes no number of it."""

    method: str = "promot"
    curate: str | None = None
    edit: str | None = None
    decode: str | None = None
    probe: str | None = None

    @property
    def label(self) -> str:
        """Return all of them in one word: `full|edit=lines`."""
        others = {"curate": self.curate, "edit": self.edit, "decode": self.decode}
        return "|".join([self.method, *(f"{moment}={name}" for moment, name in others.items() if name)])
