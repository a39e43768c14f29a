"""What pretraining reads when, and how fast it learns."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a step reads: rows of `length`, stories of up to `largest` people, and shares of the documents.

    `repeated` only repeat words, `quizzes` ask many questions on one story, `unnamed` explain a skill by demonstrations
    alone; the rest are examples of any skill. `rate` is the share of the learning rates.
    """

    length: int
    largest: int
    repeated: float
    quizzes: float
    unnamed: float = 0.0
    rate: float = 1.0


def lesson(step: int, steps: int) -> Lesson:
    """The curriculum: words and languages, then copying from what was read, then quizzes on stories, then all of it together.

    Copying appears within a hundred steps where most documents are about it (1400 to 1560), and did not appear in a
    thousand steps where a fifth of them were.
    """
    fading = max(0.04, 0.4 * (1 - step / 600))
    falling = max(0.0, (4000 - step) / 1800) ** 2
    phases = (  # each up to its step
        (300, Lesson(64, 1, fading, 0.12, rate=min(1.0, (step + 1) / 60))),
        (400, Lesson(128, 1, fading, 0.12)),
        (800, Lesson(128, 2, fading, 0.12)),
        (900, Lesson(128, 3, fading, 0.12)),
        (1400, Lesson(256, 3, fading, 0.12)),
        (1560, Lesson(64, 1, 0.85, 0.1)),
        (1760, Lesson(128, 1, 0.2, 0.2)),
        (2060, Lesson(128, 2, 0.12, 0.15)),
        (2200, Lesson(256, 3, 0.08, 0.1)),
        (2700, Lesson(128, 2, 0.1, 0.3, rate=falling)),
        (3000, Lesson(256, 3, 0.06, 0.2, rate=falling)),
        (3160, Lesson(64, 1, 0.05, 0.8, 0.1, rate=0.6)),
        (3320, Lesson(128, 2, 0.05, 0.55, 0.3, rate=0.6)),
        (3480, Lesson(128, 2, 0.05, 0.15, 0.4, rate=0.6)),
    )
    left = (steps - step) / max(1, steps - 3480)
    last = Lesson(256, 3, 0.05, 0.15, 0.2, rate=max(0.02, 0.6 * left**1.5) if 0 < left < 1 else 0.6)
    return next((plan for end, plan in phases if step < end), last)
