"""GOT-D: the candidates with the lowest gradient of the optimal transport cost to the target."""

import random
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import chain
from typing import Any, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from holdfast.curation._mixing import mixed_in
from holdfast.curation._texts import in_pieces, text_of, thousands
from holdfast.curation.base import Curation, CurationContext
from holdfast.tasks.examples.nearest import INSTALL, check_measure, encoder
from holdfast.tasks.examples.splits import subset
from holdfast.tasks.sources import expand
from holdfast.tasks.task import Example, Task

ITERATIONS = 2000
WORST = 1e-3  # largest error of a marginal at which the potentials still rank


@dataclass(frozen=True)
class GotD(Curation):
    """Add the candidates that move the training data towards the target fastest: the lowest gradients of optimal transport.

    For few target examples and much other text: what is selected is not what is most like the target, but what the candidates as a
    whole have too little of. A candidate's gradient is its dual potential in the entropic transport between the target's training
    texts and the candidates, and says how the distance changes as its weight grows. As in the authors' code, texts are compared in pieces
    of 1,000 characters, each a candidate; with `form=task` the first one stands for an example. The paper trains on the selection first,
    on the target afterwards: `--method warm_up` with `curate.target=false`; otherwise both are trained together. Candidates that the run
    is measured on are left out, and so are doubles. Beside the embeddings it costs the transport: seconds for 2,000 x 2,000 texts, once.

    Source: Kang et al. 2024, "Get more for less: principled data selection for warming up fine-tuning in LLMs" (ICLR), section 3.2
    """

    candidates: str = Field(
        default="",
        description="TASK arguments with commas, from whose train splits is selected; empty: the general tasks",
    )
    count: int = Field(default=0, ge=0, description="candidates selected; 0: as many as the target has examples")
    by: Literal["gradient", "random"] = Field(
        default="gradient", description="lowest gradients, or drawn at random, which is the control"
    )
    form: Literal["text", "task"] = Field(
        default="text", description="train a candidate as running text, or as its own task asks it"
    )
    known: int = Field(
        default=0, ge=0, description="target examples that are looked at, the same as model.train_limit takes; 0: all"
    )
    target: bool = Field(default=True, description="train on the target's own examples too")
    domains: int = Field(
        default=0, ge=0, description="select from so many tasks, those nearest the target; 0: from all"
    )
    regularisation: float = Field(default=0.1, gt=0, description="entropy's weight, in parts of the largest cost")
    sample: int = Field(
        default=2000,
        ge=2,
        description="texts of either side in the transport; further ones are ranked by its potential",
    )
    embeddings: str = Field(
        default="", description="folder of a sentence-embedding model; empty: TF-IDF of runs of characters"
    )

    def __post_init__(self) -> None:
        check_measure(self.embeddings)
        if self.by == "gradient" and find_spec("ot") is None:
            raise ValueError(f"got_d: needs the package POT; {INSTALL}")

    def tasks(self) -> tuple[str, ...]:
        """Return the tasks of `candidates`, suites as theirs."""
        names = [part.strip() for part in self.candidates.split(",") if part.strip()]
        return tuple(chain.from_iterable(map(expand, names)))

    def __call__(self, examples: Sequence[Example], context: CurationContext) -> Sequence[Example]:
        """Return the target's examples and the selected ones, lowest gradient first; `origin` says the task, the row and the gradient.

        Raises:
            ValueError: there are no candidates, fewer than `count`, or the transport does not converge.
        """
        others = context.others if self.candidates else context.general
        if self.known:
            part = subset(replace(context.task, splits={"train": tuple(examples)}), self.known, 1.0, context.seed)
            examples = part.splits["train"]
        pool = _distinct(others, context, [text_of(context.task.template, example) for example in examples])
        if self.form == "text":
            pool = list(chain.from_iterable(map(in_pieces, pool)))
        count = self.count or len(examples)
        if len(pool) < count or not pool:
            raise ValueError(
                f"got_d: {count} candidates are to be selected, and there are {len(pool)}; name tasks in candidates, or lower count"
            )
        draw = random.Random(f"{context.seed}:got_d")
        if self.by == "random":
            chosen = [(0.0, example) for example in draw.sample(pool, count)]
        else:
            chosen = self._lowest(examples, pool, count, context, draw)
        rows = []
        for gradient, example in chosen:
            origin = example.origin.replace("mixed in", "selected", 1)
            origin += f", gradient {gradient:.4f}" if self.by == "gradient" else ", at random"
            rows.append(replace(example, origin=origin))
        return [*(examples if self.target else ()), *rows]

    def _lowest(
        self,
        examples: Sequence[Example],
        pool: Sequence[Example],
        count: int,
        context: CurationContext,
        draw: random.Random,
    ) -> list[tuple[float, Example]]:
        """Return the candidates with the lowest calibrated gradients, ascending, and of equal ones the earlier."""
        texts = (text_of(context.task.template, example) for example in examples)
        wanted = list(chain.from_iterable(map(thousands, texts)))
        offered = [thousands(text_of(context.task.template, example))[0] for example in pool]
        encode = encoder([*wanted, *offered], self.embeddings)
        target, vectors = encode(draw.sample(wanted, min(self.sample, len(wanted)))), encode(offered)
        rows = list(range(len(pool)))
        if self.domains:
            names = list(dict.fromkeys(example.task for example in pool))
            distances: dict[str, float] = {}
            for name in names:
                members = [i for i in rows if pool[i].task == name]
                members = draw.sample(members, min(self.sample, len(members)))
                distances[name] = transport(cost(target, vectors[members]), self.regularisation)[2]
            near = sorted(names, key=lambda name: distances[name])[: self.domains]
            rows = [i for i in rows if pool[i].task in near]
            if len(rows) < count:
                raise ValueError(
                    f"got_d: {count} candidates are to be selected, and the nearest {self.domains} tasks ({', '.join(near)}) have "
                    f"{len(rows)}; raise domains, or lower count"
                )
        solved = sorted(draw.sample(rows, min(self.sample, len(rows))))
        costs = cost(target, vectors[solved])
        scale = float(costs.max()) or 1.0
        f, _, _ = transport(costs, self.regularisation)
        # By the target's potential also those that were not in the problem: within it this is the potential that it has.
        gradients = calibrated(extended(f, cost(target, vectors[rows]) / scale, self.regularisation))
        order = np.argsort(np.round(gradients, 9), kind="stable")[:count]
        return [(float(gradients[i]), pool[rows[i]]) for i in order]


def cost(target: Any, candidates: Any) -> np.ndarray:
    """Return half the squared distance between unit vectors, 1 - cosine: `[N, M]`."""
    product = target @ candidates.T
    return 1.0 - np.asarray(product.toarray() if hasattr(product, "toarray") else product, dtype=np.float64)


def transport(costs: np.ndarray, regularisation: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the dual potentials `[N]` and `[M]` of the entropic transport between two uniform sets, and its cost.

    The potentials are those of costs divided by the largest, the cost is in its own unit. It minimises
    <P, C> + regularisation * KL(P | a b'), of whose value the second potential is the gradient by the weights of the second set (up to
    a constant).

    Raises:
        ValueError: Sinkhorn's iterations do not converge.
    """
    from ot.bregman import sinkhorn_log

    n, m = costs.shape
    scaled = costs / (float(costs.max()) or 1.0)
    a, b = np.full(n, 1 / n), np.full(m, 1 / m)
    plan, log = sinkhorn_log(a, b, scaled, regularisation, numItermax=ITERATIONS, log=True, warn=False)
    error = max(np.abs(plan.sum(1) - a).sum(), np.abs(plan.sum(0) - b).sum())
    if not error < WORST:
        raise ValueError(
            f"got_d: the transport did not converge (its marginals are off by {error:.1e}); raise regularisation above {regularisation:g}"
        )
    f, g = regularisation * (log["log_u"] - np.log(a)), regularisation * (log["log_v"] - np.log(b))
    return f, g, float((plan * costs).sum())


def extended(f: np.ndarray, scaled: np.ndarray, regularisation: float) -> np.ndarray:
    """Return the potential of any candidates against the target's: g_j = -eps log sum_i a_i exp((f_i - c_ij) / eps)."""
    from scipy.special import logsumexp

    return -regularisation * logsumexp((f[:, None] - scaled) / regularisation, axis=0, b=1 / len(f))


def calibrated(g: np.ndarray) -> np.ndarray:
    """Return g_j - sum of the others / (m - 1): the gradient along which the weights still sum to 1. The order is that of g."""
    m = len(g)
    return g if m < 2 else g - (g.sum() - g) / (m - 1)


def _distinct(tasks: Sequence[Task], context: CurationContext, taken: Sequence[str]) -> list[Example]:
    """Return the candidates, without those whose text another one or the target has."""
    seen, pool = set(taken), []
    for example in chain.from_iterable(mixed_in(tasks, context)):
        assert example.template is not None
        text = text_of(example.template, example)
        if text not in seen:
            seen.add(text)
            pool.append(example)
    return pool
