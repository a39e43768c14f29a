"""Example-proportional mixing with caps."""

from collections.abc import Sequence

from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.curation._mixing import Exhausted, Pool, mixed_in, mixture, pooled_rates
from holdfast.curation.base import Curation, CurationContext
from holdfast.tasks.sources import expand
from holdfast.tasks.task import Example

TARGET = "target"


@dataclass(frozen=True)
class Mix(Curation):
    """Mix training examples of other tasks into the target's, each task in proportion to its size up to a cap.

    A task of e examples has the rate min(e, cap)^(1 / temperature), over the sum of these. `others` are TASK arguments, by default
    the run's general tasks; a suite is one of them, with its own part in `shares`. Quotas are exact. Mixed-in examples are asked by
    their own task's template, behind no prompt of the target's, and take no part where a prompt alone is trained (stage 1 of ProMoT);
    those that a task of the run is measured on are left out. To let long answers count no more than short ones, `--set
    model.loss_per=target`. The cost is the time of the added examples alone.

    Source: Wei et al. 2022, "Finetuned language models are zero-shot learners" (ICLR), section 2.4; Sanh et al. 2022 (ICLR)
    """

    others: str = Field(default="", description="TASK arguments with commas; empty: the run's general tasks")
    shares: str = Field(
        default="", description="fixed parts of the mixture, such as target=0.7,lab:copy=0.1; the rest by size"
    )
    cap: int | None = Field(default=3000, ge=1, description="most examples that a task counts for; none: no cap")
    temperature: float = Field(default=1.0, gt=0, description="1: proportional to the capped sizes; higher: more even")
    size: int = Field(default=0, ge=0, description="examples of the mixture; 0: as `exhausted` says")
    exhausted: Exhausted = Field(
        default="cycle",
        description="first: no example twice; all: every example; cycle: `size`, or each of the target's once; others come again",
    )

    def __post_init__(self) -> None:
        if self.exhausted == "all" and self.size:
            raise ValueError(
                "size: exhausted=all goes on until every example was taken, whatever the size; leave one out"
            )
        self._shares()

    def tasks(self) -> tuple[str, ...]:
        """Return the tasks of `others`, suites as theirs."""
        names: list[str] = []
        for argument in _split(self.others):
            names += expand(argument)
        return tuple(names)

    def __call__(self, examples: Sequence[Example], context: CurationContext) -> Sequence[Example]:
        """Return the mixture in random order; without others, the examples as they are.

        Raises:
            ValueError: there is no other task, `shares` names none of them, or the shares do not sum to 1.
        """
        others = context.others if self.others else context.general
        arguments = _split(self.others) or [task.name for task in others]
        if not others:
            raise ValueError("mix: there is nothing to mix in; name tasks in curate.others, or give --general")
        shares = self._shares()
        for name in shares:
            if name not in (TARGET, *arguments):
                raise ValueError(
                    f"shares: {name} is no part of the mixture; there are {', '.join((TARGET, *arguments))}"
                )
        pools, rest = [Pool(TARGET, (tuple(examples),), shares.get(TARGET))], list(mixed_in(others, context))
        for argument in arguments:
            count = len(expand(argument)) if self.others else 1
            pools.append(Pool(argument, tuple(rest[:count]), shares.get(argument)))
            del rest[:count]
        parts = pooled_rates(pools, self.cap, self.temperature)
        return mixture(pools, parts, self.exhausted, self.size, context.seed)

    def _shares(self) -> dict[str, float]:
        """Return `shares` as numbers by name."""
        shares: dict[str, float] = {}
        for part in _split(self.shares):
            name, equals, value = part.rpartition("=")
            try:
                shares[name.strip()] = float(value)
            except ValueError:
                equals = ""
            if not equals or not 0 <= shares[name.strip()] <= 1 or not name:
                raise ValueError(f"shares={part!r}: write NAME=SHARE with a share from 0 to 1, such as target=0.7")
        return shares


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
