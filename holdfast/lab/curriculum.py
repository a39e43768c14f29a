"""The curriculum of pretraining: the mixture of documents and the learning rate of each step."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Lesson:
    """The data of a step: rows of `length` tokens, items of up to `largest` people or words, and shares of the documents.

    `repeated` documents only repeat words, `paired` ones ask for the partner of a word, `quizzes` ask many questions on one
    story, `unnamed` explain a skill by demonstrations alone, `sorting` names kinds by invented labels, `verdicts` judge many
    claims about one story; the rest are examples of any skill. `rate` is the share of the learning rate.
    """

    length: int
    largest: int
    repeated: float
    paired: float
    quizzes: float
    unnamed: float
    sorting: float = 0.0
    verdicts: float = 0.0
    rate: float = 1.0


WARM, DECAY = 60, 0.6  # steps of rising; share of the run over which the rate falls
PHASES = (  # up to this share of the run; short texts with dense questions first, because binding begins there
    (0.10, Lesson(64, 3, 0.2, 0.3, 0.5, 0.0)),
    (0.16, Lesson(64, 2, 0.1, 0.1, 0.35, 0.0, verdicts=0.1)),
    (0.34, Lesson(128, 3, 0.04, 0.04, 0.12, 0.2, sorting=0.08, verdicts=0.12)),
    (1.00, Lesson(256, 3, 0.02, 0.02, 0.06, 0.22, sorting=0.06, verdicts=0.12)),
)


def lesson(step: int, steps: int) -> Lesson:
    """Return the lesson of a step: first looking back and binding, then every skill on short texts, then on long ones."""
    plan = next(plan for end, plan in PHASES if step < end * steps or end == 1.0)
    return replace(plan, rate=rate(step, steps))


def rate(step: int, steps: int) -> float:
    """Return the share of the learning rate of a step: rising, level, falling to zero."""
    # The lowest of the three lines; + 1, because a first step at rate zero would learn nothing.
    rising, falling = (step + 1) / WARM, (steps - step) / (DECAY * steps)
    return max(0.0, min(1.0, rising, falling))
