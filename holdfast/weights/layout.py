"""Locate tensors in their model by name alone: the block, its stack, and the siblings."""

import random
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain

_BLOCK = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")

# Behind the last block, as transformers names them.
FINAL_NORMS = ("norm", "final_layernorm", "final_layer_norm", "ln_f", "final_norm")


@dataclass(frozen=True, slots=True)
class TensorLocation:
    """Position of a tensor: block `block` (from 0) of `blocks` in its stack; None and 0 where it is in no block."""

    name: str
    block: int | None
    blocks: int
    layout: "Layout"


@dataclass(frozen=True, eq=False)
class Layout:
    """The tensors of a model, by name, with their shapes. Layouts are the same only if they are the same object."""

    shapes: Mapping[str, tuple[int, ...]]

    @cached_property
    def stacks(self) -> dict[str, int]:
        """Return the number of blocks of each stack; an encoder and a decoder are two stacks."""
        counts: dict[str, int] = {}
        for name in self.shapes:
            if (inside := locate(name)) is not None:
                stack, index = inside
                counts[stack] = max(counts.get(stack, 0), index + 1)
        return counts

    def locate(self, name: str) -> TensorLocation:
        """Return the location of the tensor called `name`."""
        inside = locate(name)
        if inside is None:
            return TensorLocation(name, None, 0, self)
        stack, index = inside
        return TensorLocation(name, index, self.stacks[stack], self)


def locate(name: str) -> tuple[str, int] | None:
    """Split off the outermost numbered block, or return None: `model.layers.3.mlp.experts.0.w1.weight` -> `("model.layers", 3)`."""
    match = _BLOCK.search(name)
    return (name[: match.start(1) - 1], int(match[1])) if match else None


@lru_cache(maxsize=16)
def half_of_each_block(layout: Layout, seed: int) -> frozenset[str]:
    """Return the names of a random half of the tensors inside blocks: within every block, half of each category.

    A category is what shares a parent module and is a matrix (or is none): the projections of an attention, those of a
    feed-forward, the norms of a block. A bias goes with its weight. Of three feed-forward matrices, two are chosen in a
    random half of the blocks and one in the others (one in the odd block that is left over).
    """
    units: dict[str, list[str]] = defaultdict(list)
    for name in layout.shapes:
        if locate(name) is not None:
            units[name.rpartition(".")[0]].append(name)
    categories: dict[tuple[str, str, bool], dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for unit, names in sorted(units.items()):
        stack, index = locate(names[0]) or ("", 0)
        # Without the block's number, so that the same projections of all blocks share a category.
        inside = unit.removeprefix(f"{stack}.{index}").rpartition(".")[0]
        matrix = any(len(layout.shapes[name]) > 1 for name in names)
        categories[stack, inside, matrix][index].append(unit)
    chosen: set[str] = set()
    for category, blocks in sorted(categories.items()):
        # A generator for each category: what one draws does not depend on which others the model has, or on their order.
        draw = random.Random(f"{seed} {category}")
        odd = sorted(index for index, members in blocks.items() if len(members) % 2)
        one_more = set(draw.sample(odd, len(odd) // 2))
        for index, members in sorted(blocks.items()):
            chosen.update(draw.sample(members, len(members) // 2 + (index in one_more)))
    return frozenset(chain.from_iterable(units[unit] for unit in chosen))
