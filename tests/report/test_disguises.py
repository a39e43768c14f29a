"""Lost or only hidden: what a loss in plain words and the change in disguise allow one to say."""

from dataclasses import replace
from typing import Any, Literal

import pytest

from holdfast.report import sentences
from holdfast.report.run import disguises, figures
from holdfast.results.scores import Score
from holdfast.results.summary import Estimate, Summary, share


def score(
    task: str, variant: Literal["base", "tuned"], value: float, change: float | None = None, wide: float = 0.04
) -> Score:
    more: dict[str, Any] = (
        {} if change is None else {"delta": change, "delta_low": change - wide, "delta_high": change + wide}
    )
    prompt = None if variant == "base" else "off"
    return Score(
        variant,
        prompt,
        task,
        "diagnostic" if ":" in task else "general",
        0,
        "accuracy",
        value,
        value - wide,
        value + wide,
        200,
        chance=0.5 if wide < 0 else 0.0,
        **more,
    )  # pyright: ignore


def summary(disguised_change: float, base: float = 0.7, wide: float = 0.04) -> Summary:
    return Summary.of([
        score("given", "base", 0.8), score("given", "tuned", 0.3, -0.5),
        score("leetspeak:given", "base", base), score("leetspeak:given", "tuned", base + disguised_change, disguised_change, wide),
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("change", "wide", "base", "word", "said"),
    [
        (
            -0.02,
            0.04,
            0.7,
            "hidden",
            "given (0-shot) is hidden rather than gone: asked in leetspeak the change is -2.0 points",
        ),
        (
            -0.50,
            0.04,
            0.7,
            "lost",
            "given (0-shot) is gone and not only hidden: asked in leetspeak the change is -50.0 points",
        ),
        (
            -0.25,
            0.04,
            0.7,
            "unclear",
            "unclear from these items whether it is gone or hidden: in leetspeak -25.0 points",
        ),
        (-0.02, 0.40, 0.7, "unclear", "unclear from these items"),
        (-0.02, 0.04, 0.1, "unclear", "the base itself hardly solves it in leetspeak"),
    ],
)
def test_the_rule_and_its_words(change: float, wide: float, base: float, word: str, said: str) -> None:
    (pair,) = disguises.pairs(summary(change, base, wide))
    assert (pair.word, pair.spelling) == (word, "leetspeak")
    assert said in pair.sentence()


def test_what_was_not_lost_is_not_asked_about() -> None:
    kept = [score("given", "base", 0.8), score("given", "tuned", 0.8, 0.0), score("leetspeak:given", "base", 0.7)]
    assert list(disguises.pairs(Summary.of([*kept, score("leetspeak:given", "tuned", 0.1, -0.6)]))) == []


def test_a_rise_is_no_loss_to_be_hidden() -> None:
    up, down = Estimate(5, 2, 8), Estimate(-9, -12, -6)
    assert disguises.word(up, down, weak=False) == "unclear"


def test_of_the_probes_english_is_the_plain_one() -> None:
    scores = [
        *(score("probe:english", "base", 0.9), score("probe:english", "tuned", 0.2, -0.7)),
        *(score("probe:french", "base", 0.8), score("probe:french", "tuned", 0.75, -0.05)),
        *(score("leetspeak:probe:english", "base", 0.6), score("leetspeak:probe:english", "tuned", 0.05, -0.55)),
    ]
    french, leet = disguises.pairs(Summary.of(scores))
    assert (french.word, leet.word) == ("hidden", "lost")
    assert "asked in French the change is -5.0 points [-9.0, -1.0], in English -70.0" in french.sentence()
    assert "asked in leetspeak the change is -55.0 points" in leet.sentence()


def test_diagnostics_count_in_no_mean_and_in_no_sign_of_collapse() -> None:
    """The bug, planted below: the same scores as general tasks, where two disguises of one task move every number."""
    plain = [score("given", "base", 0.8), score("given", "tuned", 0.3, -0.5)]
    shares = [replace(s, metric="format_share") for s in plain]
    disguise = [score("leetspeak:given", "base", 0.7), score("leetspeak:given", "tuned", 0.7, 0.0)]
    disguise += [replace(s, metric="format_share", value=0.0) for s in disguise]

    def said(scores: list[Score]) -> tuple[Any, ...]:
        found = Summary.of(scores)
        return (
            *(found.retention, found.general_change, share(found.symptom("format_share"))),
            *(sentences.verdict_on(found), figures.heat(found), figures.forest_of_run(found)),
        )

    alone = said(plain + shares)
    assert said(plain + shares + disguise) == alone
    planted = said(plain + shares + [replace(s, role="general") for s in disguise])
    assert [one == other for one, other in zip(planted, alone, strict=True)] == [False] * 6


def test_diagnostics_have_a_section_of_their_own_behind_what_they_disguise() -> None:
    more = [score("probe:english", "base", 0.9), score("probe:english", "tuned", 0.8, -0.1)]
    found = Summary.of([*more, *(s for line in summary(-0.02).lines for s in (line.base, *line.tuned.values()) if s)])
    assert [(heading, [line.task for line in lines]) for heading, lines in disguises.groups(found)] == [
        ("In plain words and in disguise", ["given", "leetspeak:given"]),
        ("Examples in context against an instruction", ["probe:english"]),
    ]


@pytest.mark.parametrize(
    ("change", "wide", "base", "word", "text"),
    [
        (
            -0.05,
            0.04,
            0.8,
            "hidden",
            "given (0-shot) is hidden rather than gone: behind the eraser the change is -5.0 points",
        ),
        (-0.45, 0.04, 0.8, "lost", "given (0-shot) does not come back, so that nothing shows that it is only hidden"),
        (-0.25, 0.10, 0.8, "unclear", "unclear from these items whether it is gone or hidden: behind the eraser"),
        (-0.01, 0.02, 0.05, "unclear", "the base itself hardly solves it"),
    ],
)
def test_what_comes_back_behind_the_eraser_was_hidden(
    change: float, wide: float, base: float, word: str, text: str
) -> None:
    probe = replace(score("given", "tuned", base + change, change, wide), prompt="probe")
    loss = score("given", "tuned", base - 0.5, -0.5)
    scores = [score("given", "base", base), loss, probe, score("kept", "base", 0.8), score("kept", "tuned", 0.8, 0.0)]
    looked = Summary.of(scores)
    (erased,) = disguises.erased(looked)
    assert (erased.word, text in erased.sentence()) == (word, True), erased.sentence()
    assert looked.by_own_metric("general")[0].headline == loss, "the probe is no state of the model that is kept"
